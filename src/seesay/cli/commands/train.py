"""`seesay train` and `seesay cp`: run a recipe, or copy one to change it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from seesay.cli.options import complete_model
from seesay.cli.output import note, print_json
from seesay.errors import UsageError
from seesay.recipes import RECIPES, recipe, source


def complete_recipe(
    _ctx: click.Context, _param: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the names of recipes."""
    return [CompletionItem(name) for name in RECIPES if name.startswith(begun)]


USES = {
    "captioning": "seesay caption IMAGE",
    "vqa": "seesay ask IMAGE 'question'",
    "nlvr": "seesay compare FIRST SECOND 'statement'",
    "classification": "seesay entail IMAGE 'text'",
    "instruct": "seesay prompt IMAGE '<TASK>text'",
}
"""What a model is good for that was trained for an objective, where it is not search."""

_EPILOG = "\n\n".join(
    ["Recipes:", "\b\n" + "\n".join(f"{name:22} {about}" for name, (_, about) in RECIPES.items())]
)


@click.command(epilog=_EPILOG)
@click.argument("name", metavar="RECIPE", shell_complete=complete_recipe)
@click.option("--data", "path", help="The pictures and captions to train on (data.path).")
@click.option("--model", "-m", shell_complete=complete_model, help="The model to go on from.")
@click.option("--eval", "held_out", help="Data to measure the model on (evaluate.path).")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting.")
@click.option("--out", type=click.Path(), help="The folder of the run.  [required]")
@click.option(
    "--resume",
    default="auto",
    show_default=True,
    metavar="auto|PATH|never",
    help="auto goes on with the run in OUT, PATH with another checkpoint.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda.")
@click.option("--print", "only_print", is_flag=True, help="Print the settings and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no notes on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print how it ended as one JSON document.")
def train(
    name: str,
    path: str | None,
    model: str | None,
    held_out: str | None,
    settings: tuple[str, ...],
    out: str | None,
    resume: str,
    device: str,
    only_print: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train or fine-tune a model as RECIPE says, and leave it in OUT.

    RECIPE is one of those below, a .py file with a function recipe(), or the config.json of a run.
    Run the same command again after a crash, and it goes on where it was. Under torchrun several
    processes share the work:

        torchrun --nproc-per-node 8 -m seesay train clip --data 'shards-{0000..0999}.tar' --out run
    """
    from seesay.config import override, to_dict

    shorthand = {"data.path": path, "model": model, "evaluate.path": held_out}
    told = [f"{key}={value}" for key, value in shorthand.items() if value is not None]
    config = override(recipe(name), [*told, *_alternatives(settings)])
    if only_print:
        print_json(to_dict(config))
        return
    if out is None:
        raise UsageError("where shall the run go?", "--out FOLDER")
    from seesay.train.run import run

    outcome = run(config, out, resume=resume, device=device, quiet=quiet)
    if os.environ.get("RANK", "0") != "0":
        return
    best = Path(out) / "best"
    kept = best if best.exists() else Path(out) / "last"
    if as_json:
        print_json({**dataclasses.asdict(outcome), "out": out, "model": str(kept)})
        return
    click.echo(_summary(outcome))
    use = USES.get(config.objective.name, "seesay search FOLDER 'words'") + f" --model {out}"
    if config.objective.name == "probe":
        use = f"seesay.train.probe.load_probe({out!r}).classify(images)"
    note(f"wrote {kept}; use it: {use}", quiet=quiet)


@click.command()
@click.argument("name", metavar="RECIPE", shell_complete=complete_recipe)
@click.argument("target", type=click.Path())
def cp(name: str, target: str) -> None:
    """Copy RECIPE to the Python file TARGET, to be changed and run: seesay train TARGET."""
    path = Path(target)
    if path.suffix != ".py":
        raise UsageError(f"{target} is no Python file", "end it in .py")
    text = source(name)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} is there already", "give a new name") from None
    note(f"wrote {target}; run it: seesay train {target} --data PATH --out RUN")


def _alternatives(settings: Sequence[str]) -> list[str]:
    """Let steps take the place of a recipe's epochs, and the other way round."""
    keys = {setting.partition("=")[0].strip() for setting in settings}
    pairs = (("steps", "epochs"), ("epochs", "steps"))
    others = [f"{b}=null" for a, b in pairs if a in keys and b not in keys]
    return [*settings, *others]


def _summary(outcome: Any) -> str:
    parts = [f"{outcome.step} steps, last loss {outcome.loss:.4g}"]
    shown = {k: v for k, v in outcome.metrics.items() if not k.endswith("_rank")}
    parts += [f"{name} {value:.3f}" for name, value in shown.items()]
    if outcome.best is not None:
        parts.append(f"best {outcome.best:.3f} at step {outcome.best_step}")
    return ", ".join(parts)
