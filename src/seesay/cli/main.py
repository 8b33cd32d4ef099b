"""The entry point: a table of commands loaded when used, and exit codes for everything.

0 ok, 1 a bug of ours, 2 usage, 3 some items failed under --strict, 4 a bad model, index or data,
5 reading or writing failed, 130 and 143 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any

import click

from seesay import __version__
from seesay.cli.output import note
from seesay.errors import SeesayError, nearest
from seesay.family import resolve
from seesay.tasks.task import TASKS

COMMANDS: dict[str, tuple[str, str]] = {
    "models": ("seesay.cli.commands.models:models", "List the models and what they can do."),
    "info": ("seesay.cli.commands.models:info", "Show what a model or checkpoint is."),
    "doctor": (
        "seesay.cli.commands.doctor:doctor",
        "Check this machine for what often goes wrong.",
    ),
    "index": ("seesay.cli.commands.index:index", "Make or update the index of a folder of images."),
    "search": ("seesay.cli.commands.search:search", "Find images by words, by image, or by both."),
    "data": ("seesay.cli.commands.data:data", "Look through data before training on it."),
    "convert": (
        "seesay.cli.commands.convert:convert",
        "Rewrite a checkpoint or index in another layout.",
    ),
    "train": ("seesay.cli.commands.train:train", "Train or fine-tune a model on your data."),
    "cp": ("seesay.cli.commands.train:cp", "Copy a training recipe to change it."),
    "eval": ("seesay.cli.commands.eval:evaluate", "Measure a model on your data."),
    "bench": ("seesay.cli.commands.bench:bench", "Time a model on this machine."),
}
"""Commands that are no tasks: where they are, and their line of help."""


class _Commands(click.Group):
    """Tasks and commands by name; the module of one is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        tasks = [task.command for task in TASKS.values()]
        return [*list(COMMANDS)[:3], *tasks, *list(COMMANDS)[3:]]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for task in TASKS.values():
            if task.command == cmd_name:
                from seesay.cli.bind import command

                return command(task)
        if cmd_name in COMMANDS:
            found: click.Command = resolve(COMMANDS[cmd_name][0])
            return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known:
            ctx.fail(f"there is no command {args[0]!r}.{nearest(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        tasks = [(task.command, task.summary) for task in TASKS.values()]
        others = [(name, summary) for name, (_, summary) in COMMANDS.items()]
        with formatter.section("Ask a model"):
            formatter.write_dl(tasks)
        with formatter.section("Collections, models, this machine"):
            formatter.write_dl(others)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: seesay search ~/Pictures 'a red bicycle'",
)
@click.version_option(__version__, prog_name="seesay")
@click.option("--debug", is_flag=True, help="Show the traceback of an error (any position).")
def cli(debug: bool) -> None:
    """看图说话: describe, ask, find and classify pictures, with no network."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command line and return its exit code; every error is one line on stderr."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # an old terminal shows an escape where it has no character, and nothing breaks
            stream.reconfigure(errors="backslashreplace")
    # a picture too large is refused with an error of ours; Pillow would warn first
    warnings.filterwarnings("ignore", message=".*decompression bomb.*")
    end = args.index("--") if "--" in args else len(args)
    debug = "--debug" in args[:end]
    args = [arg for arg in args[:end] if arg != "--debug"] + args[end:]
    try:
        result: Any = cli.main(args=args, prog_name="seesay", standalone_mode=False)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else 0
    except click.exceptions.Abort:
        return _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has had enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except _Terminated:
        return _say("terminated", 143)
    except SeesayError as error:
        _trace(debug)
        return _say(str(error), error.exit_code)
    except OSError as error:
        _trace(debug)
        return _say(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), 5)
    except Exception as error:
        _trace(debug)
        hint = "\n  hint: this is a bug in seesay; --debug shows where"
        return _say(f"{type(error).__name__}: {error}{hint}", 1)


class _Terminated(BaseException):
    """SIGTERM arrived; a BaseException, so that no handler of ours swallows it."""


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _trace(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def _say(message: str, code: int) -> int:
    note(f"seesay: {message}")
    return code


if __name__ == "__main__":
    main()
