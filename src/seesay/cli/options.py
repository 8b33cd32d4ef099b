"""The options that commands share, and the model they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from seesay.registry import DEFAULT_MODEL, variants

if TYPE_CHECKING:
    from seesay.model import Model

F = TypeVar("F", bound=Callable[..., Any])


def complete_model(
    _ctx: click.Context, _param: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Complete the names of models; imports no torch."""
    names = {name: variant.hub for name, (_, variant) in variants().items()}
    known = [*names, *(hub for hub in names.values() if hub)]
    return [CompletionItem(name) for name in known if name.startswith(begun)]


def model_options(command: F, default: str = DEFAULT_MODEL) -> F:
    """Add --model, --device and --dtype."""
    for option in (
        click.option(
            "--dtype", default="auto", help="auto, float32, bfloat16, float16.", show_default=True
        ),
        click.option("--device", default="auto", help="auto, cpu, cuda.", show_default=True),
        click.option(
            "--model",
            "-m",
            default=None,
            shell_complete=complete_model,
            help=f"Hub id, folder, file or built-in.  [default: {default}]",
        ),
    ):
        command = option(command)
    return command


def output_options(command: F) -> F:
    """Add --json, --quiet and --strict."""
    for option in (
        click.option("--strict", is_flag=True, help="Exit with 3 when an item was skipped."),
        click.option("--quiet", "-q", is_flag=True, help="No progress, no notes on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    ):
        command = option(command)
    return command


def load_model(
    name: str | None,
    device: str,
    dtype: str,
    *,
    optimize: bool = True,
    decode: Any = "exact",
    image_size: tuple[int, int] | None = None,
) -> Model:
    """Load the model that the options name, ready for inference."""
    from seesay.model import load

    how: dict[str, Any] = {"optimize": optimize, "decode": decode, "image_size": image_size}
    return load(name or DEFAULT_MODEL, device=device, dtype=dtype, **how)
