"""`seesay convert`: checkpoints between published layouts, collections to clip-retrieval's."""

from __future__ import annotations

from pathlib import Path

import click

from seesay.cli.output import note, print_json
from seesay.errors import UsageError, nearest

COLLECTIONS = ("clip-retrieval", "seesay")


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path())
@click.option(
    "--to",
    "layout",
    help="native, hf, open_clip, openai for checkpoints; clip-retrieval or seesay for collections."
    "  [default: native; openai where TARGET ends in .pt, .pth or .bin]",
)
@click.option("--revision", help="The hub commit, tag or branch of a checkpoint.")
@click.option("--model", "-m", default=None, help="The model that made a clip-retrieval folder.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def convert(
    source: str,
    target: str,
    layout: str | None,
    revision: str | None,
    model: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Rewrite SOURCE (a checkpoint or a collection) as TARGET in another layout."""
    if layout is None:
        layout = "openai" if Path(target).suffix in (".pt", ".pth", ".bin") else "native"
    if layout in COLLECTIONS and revision is not None:
        raise UsageError(f"a collection has no revision {revision!r}", "leave out --revision")
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
        from seesay.checkpoints.convert import layout_names

        known = [*layout_names(), *COLLECTIONS]
        if layout not in known:
            raise UsageError(
                f"there is no layout {layout!r}.{nearest(layout, known)}",
                f"known: {', '.join(known)}",
            )
        convert_checkpoint(source, target, layout, revision=revision)
    if as_json:
        print_json({"source": source, "target": target, "layout": layout})
    note(f"wrote {target} ({layout})", quiet=quiet or as_json)
