"""A report as one page that needs nothing else: figures, settings, the worst and the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError
from seesay.evaluate.report import label, shown
from seesay.index.report_html import EDGE, document, escaped
from seesay.index.thumbnails import data_uri, thumbnail
from seesay.names import shown as one_line

if TYPE_CHECKING:
    from seesay.data.record import Dataset
    from seesay.evaluate.report import Example, Report, Table

LONGEST = 600
"""Characters of a text that are shown."""

LISTED = 200
"""Skipped items, and rows of a table, that are shown."""

TITLES = {
    "retrieval": "Retrieval",
    "zeroshot": "Zero-shot classification",
    "matching": "Image-text matching",
    "cra": "Caption-to-caption retrieval",
    "captioning": "Captioning",
    "answering": "Answers to questions",
    "comparing": "Statements about two pictures",
    "instructed": "Prompts",
}

_STYLE = """
.numbers { display: flex; flex-wrap: wrap; gap: 1em 4em; align-items: flex-start;
  padding: 1em 1.6rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { padding: .6em 0; color: var(--soft); font-weight: 600; text-align: left; }
th, td { padding: .3em 1.4em .3em 0; border-bottom: 1px solid var(--line); text-align: right; }
th { color: var(--soft); font-size: .86em; font-weight: 500; }
.note { margin: 0; padding: 1em 1.6rem 0; }
.text { text-align: left; overflow-wrap: anywhere; }
details { margin: 1.2em 1.6rem 0; }
summary { cursor: pointer; color: var(--soft); font-weight: 600; }
pre { margin: .6em 0; overflow-x: auto; white-space: pre-wrap; font-size: .86em; }
.frames { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 1px; }
.frames b { position: absolute; left: .6em; bottom: .5em; z-index: 1; padding: .1em .7em;
  border-radius: 1em; background: var(--card); font-size: .78em; font-weight: 500; }
.title { color: var(--mark); font-size: .86em; font-variant-numeric: tabular-nums; }
dl { margin: .3em 0 0; }
dt { color: var(--soft); font-size: .78em; }
dd { margin: 0 0 .4em; overflow-wrap: anywhere; }
@media (min-width: 700px) {
  .grid { grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); } }
"""


def page(report: Report) -> str:
    """Return the whole page; the pictures are read again for their thumbnails."""
    model, dataset = report.model, report.dataset
    rows = [[name, value, between, guess] for name, value, between, guess in report.rows()]
    figures = _table("", ("", "figure", "95 % interval", "chance"), rows)
    counts = _table("", ("", "count"), [[k.replace("_", " "), v] for k, v in report.counts.items()])
    tables = "".join([figures, counts, *map(_listing, report.tables)])
    body = [
        *(f'<p class="note">{escaped(note)}</p>\n' for note in report.notes),
        f'<div class="numbers">{tables}</div>\n',
        *(_section(heading, found, report.source) for heading, found in report.examples.items()),
        _details("Settings", {**report.settings, "seconds": round(report.seconds, 1)}),
        _details("Model", model),
        _details("Data", dataset),
        _details("Machine", report.machine),
        _skipped(report.skipped),
    ]
    title = f"{TITLES.get(report.task, report.task)} on {one_line(str(dataset['name']))}"
    about = one_line(str(model["name"]))
    if "dtype" in model:
        about += f" · {model['dtype']} on {model['device']}"
    examples = sum(map(len, report.examples.values()))
    return document(
        title, about, "".join(body), f"{examples} examples", hint="Filter examples", style=_STYLE
    )


def _section(heading: str, examples: Sequence[Example], source: Dataset | None) -> str:
    if not examples:
        return ""
    figures = "".join(_figure(example, source) for example in examples)
    return f'<section><h2>{escaped(heading)}</h2>\n<div class="grid">\n{figures}</div></section>\n'


def _figure(example: Example, source: Dataset | None) -> str:
    lines = "".join(
        f"<dt>{escaped(name)}</dt><dd>{_text(text)}</dd>" for name, text in example.lines
    )
    several = len(example.pictures) > 1
    frames = "".join(_frame(name if several else "", r, source) for name, r in example.pictures)
    told = " ".join([example.title, *(text for _, text in example.lines)]).lower()
    return f"""<figure data-text="{_text(told)}">
<div class="frames">{frames}</div>
<figcaption><div class="title">{escaped(example.title)}</div><dl>{lines}</dl></figcaption></figure>
"""


def _frame(name: str, row: int, source: Dataset | None) -> str:
    """A picture, or a word in its place; its name is shown where there are several."""
    picture = "<span>no longer readable</span>"
    image = None
    if source is not None:
        record = source[row]
        try:
            item = record.image if isinstance(record.image, str) else source.image_bytes(row)
            image = thumbnail(item, EDGE)
        except InputError:
            image = None
        if image is not None:
            alt = escaped(one_line(record.where))
            picture = f'<img src="{data_uri(image)}" alt="{alt}" title="{alt}" loading="lazy">'
    mark = f"<b>{escaped(name)}</b>" if name else ""
    return f'<div class="frame">{picture}{mark}</div>'


def _listing(table: Table) -> str:
    """A table of the report; what does not fit is in report.json."""
    rows = [
        [shown(name, v) if isinstance(v, float) else v for name, v in zip(names, row, strict=True)]
        for names, row in ((table.columns, row) for row in table.rows[:LISTED])
    ]
    more = len(table.rows) - LISTED
    heading = table.heading + (f" (the first {LISTED} of {len(table.rows)})" if more > 0 else "")
    return _table(heading, [label(name) for name in table.columns], rows)


def _table(heading: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    caption = f"<caption>{escaped(heading)}</caption>" if heading else ""
    texts = [not i or any(_wordy(row[i]) for row in rows) for i in range(len(columns))]
    kinds = [' class="text"' if text else "" for text in texts]
    head = "".join(f"<th{k}>{escaped(name)}</th>" for k, name in zip(kinds, columns, strict=True))
    lines = "".join(
        "<tr>"
        + "".join(f"<td{k}>{_text(str(v))}</td>" for k, v in zip(kinds, row, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table>"


def _wordy(value: Any) -> bool:
    return isinstance(value, str) and any(char.isalpha() for char in value)


def _details(heading: str, told: dict[str, Any]) -> str:
    lines = "\n".join(f"{key}: {value}" for key, value in told.items())
    return f"<details><summary>{escaped(heading)}</summary><pre>{escaped(lines)}</pre></details>\n"


def _skipped(items: Sequence[tuple[str, str, str]]) -> str:
    if not items:
        return ""
    more = f"\nand {len(items) - LISTED} more" if len(items) > LISTED else ""
    lines = "\n".join(
        one_line(f"{where}: {what}" if what else f"{where}: {why}")
        for where, why, what in items[:LISTED]
    )
    return (
        f"<details><summary>Skipped: {len(items)}</summary>"
        f"<pre>{escaped(lines + more)}</pre></details>\n"
    )


def _text(text: str) -> str:
    """Escape a text; a very long one is cut."""
    return escaped(text if len(text) <= LONGEST else text[:LONGEST] + " …")
