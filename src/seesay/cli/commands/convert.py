"""`seesay convert`: checkpoints between published layouts, collections to clip-retrieval's."""

from __future__ import annotations

from pathlib import Path

import click

from seesay.cli.output import note


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path())
@click.option(
    "--to",
    "layout",
    default="native",
    show_default=True,
    help="native, hf, open_clip, openai for checkpoints; clip-retrieval or seesay for collections.",
)
@click.option("--model", "-m", default=None, help="The model that made a clip-retrieval folder.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
def convert(source: str, target: str, layout: str, model: str | None, quiet: bool) -> None:
    """Rewrite SOURCE (a checkpoint or a collection) as TARGET in another layout."""
    if layout == "clip-retrieval":
        from seesay.index import Collection
        from seesay.index.clip_retrieval import write_clip_retrieval

        write_clip_retrieval(Collection.open(source), Path(target))
    elif layout == "seesay":
        from seesay.index.clip_retrieval import read_clip_retrieval
        from seesay.model import load
        from seesay.registry import DEFAULT_MODEL

        read_clip_retrieval(Path(source), Path(target), load(model or DEFAULT_MODEL))
    else:
        from seesay.checkpoints.convert import convert as convert_checkpoint

        convert_checkpoint(source, target, layout)
    note(f"wrote {target} ({layout})", quiet=quiet)
