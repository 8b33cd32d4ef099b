"""Results as one page that needs nothing else: thumbnails, style and script are inside.

File names are text from strangers. Everything is escaped, and the page's security policy allows
no request at all, no other style or script than the two whose digests it names, and no images but
those written into it: markup that slipped through would still do nothing.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from seesay.index.publish import replace, storing
from seesay.index.thumbnails import data_uri, thumbnail
from seesay.names import shown, uri

EDGE = 320
"""Longest side of a thumbnail in pixels."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d21; --soft: #6b6f7a; --page: #f6f6f4;
  --card: #fff; --line: #e3e3df; --mark: #c2452d; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --soft: #9a9eab; --page: #141518;
  --card: #1e2025; --line: #2e3138; --mark: #ff8f6b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .4em 1.2em;
  align-items: baseline; padding: 1em 1.6em; background: var(--page);
  border-bottom: 1px solid var(--line); }
h1 { margin: 0; font-size: 1.35em; font-weight: 650; overflow-wrap: anywhere; }
header p { margin: 0; color: var(--soft); overflow-wrap: anywhere; }
input { margin-left: auto; min-width: 12em; padding: .4em .9em; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: 2em; }
h2 { margin: 1.6em 1.6rem 0; font-size: 1em; color: var(--soft); font-weight: 600; }
main { padding: .6em 0 3em; }
.grid { display: grid; gap: 1em; padding: 1em 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); }
figure { margin: 0; overflow: hidden; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; transition: transform .15s, box-shadow .15s; }
figure:hover { transform: translateY(-2px); box-shadow: 0 6px 22px #0002; }
figure[hidden], section[hidden] { display: none; }
.frame { position: relative; display: grid; place-items: center; aspect-ratio: 4 / 3;
  background: #8881; }
.frame img { position: absolute; width: 100%; height: 100%; object-fit: contain; }
.frame span { color: var(--soft); font-size: .9em; }
figcaption { padding: .6em .9em .8em; }
.name { display: block; overflow: hidden; color: inherit; font-weight: 600; text-decoration: none;
  text-overflow: ellipsis; white-space: nowrap; }
.name:hover { color: var(--mark); }
.facts { display: flex; justify-content: space-between; color: var(--soft); font-size: .86em;
  font-variant-numeric: tabular-nums; }
footer { padding: 0 1.6rem 2em; color: var(--soft); font-size: .86em; }
"""

_SCRIPT = """
const box = document.querySelector("input");
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const card of document.querySelectorAll("figure"))
    card.hidden = !words.every(word => card.dataset.text.includes(word));
  for (const part of document.querySelectorAll("section"))
    part.hidden = !part.querySelector("figure:not([hidden])");
});
"""


@dataclass(frozen=True)
class Card:
    """One picture on the page."""

    path: str
    score: float
    label: str
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Section:
    """Pictures under a heading; an empty heading is left out."""

    heading: str
    cards: Sequence[Card]


def write_page(path: Path, title: str, about: str, sections: Sequence[Section]) -> None:
    """Write the page in one step.

    Raises:
        StorageError: It cannot be written.
    """
    with storing(path):
        replace(path, page(title, about, sections).encode("utf-8"))


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the whole page."""
    count = sum(len(section.cards) for section in sections)
    body = "".join(_section(section) for section in sections)
    return document(title, about, body, f"{count} pictures", hint="Filter by name")


def document(
    title: str, about: str, body: str, end: str, *, hint: str = "Filter", style: str = ""
) -> str:
    """Return a page around a body.

    Args:
        title: Its name, as text.
        about: Stands beside it, as text.
        body: Markup; its figures have `data-text`, lower-case text for the filter.
        end: What the footer says, as text.
        hint: What the filter's box says while it is empty.
        style: Rules beside those of every page.
    """
    rules = _STYLE + style
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src '{_digest(rules)}'; script-src '{_digest(_SCRIPT)}'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{escaped(title)}</title>
<style>{rules}</style>
</head>
<body>
<header><h1>{escaped(title)}</h1><p>{escaped(about)}</p>
<input type="search" placeholder="{escaped(hint)}" aria-label="{escaped(hint)}"></header>
<main>
{body}</main>
<footer>{escaped(end)} · made by seesay</footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _section(section: Section) -> str:
    heading = f"<h2>{escaped(section.heading)}</h2>\n" if section.heading else ""
    cards = "".join(_card(card) for card in section.cards)
    return f'<section>{heading}<div class="grid">\n{cards}</div></section>\n'


def _card(card: Card) -> str:
    image = thumbnail(card.path, EDGE)
    name = shown(os.path.basename(card.path))
    picture = "<span>no longer readable</span>"
    if image is not None:
        picture = f'<img src="{data_uri(image)}" alt="{escaped(name)}" loading="lazy">'
    size = f"{card.size[0]}×{card.size[1]}" if any(card.size) else ""
    return f"""<figure data-text="{escaped(shown(card.path).lower())}">
<div class="frame">{picture}</div>
<figcaption><a class="name" href="{escaped(uri(card.path))}" title="{escaped(shown(card.path))}">\
{escaped(name)}</a>
<div class="facts"><span>{escaped(card.label)}</span><span>{size}</span>\
<span>{card.score:.3f}</span></div></figcaption></figure>
"""


def escaped(text: str) -> str:
    """Escape text for a page, also inside quotes; what is no valid Unicode is shown as escapes."""
    return escape(text.encode("utf-8", "backslashreplace").decode("utf-8"), quote=True)


def _digest(source: str) -> str:
    """Return what a security policy calls an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode("ascii")
