"""Drawings with their captions: emoji art of several vendors under CLDR names, and clip art.

A concept is what is split, never an image: 12 % of concepts are held out everywhere, chosen by
the SHA-1 of the concept, so every vendor's drawing and every caption of it goes the same way.
People who differ in gender or skin alone are one concept. For clip art the concept is the title
without its numbers.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from seesay.recipes.mini.sources import CLDR, CLIPART, SOLID, UNSEEN_VENDOR, VENDORS, Package

HELD_OUT_PERCENT = 12


@dataclass(frozen=True)
class Drawing:
    """One picture before it is rendered.

    Attributes:
        source: The vendor, or "openclipart".
        key: Which one: icon name, or file.
        concept: What is split.
        english: Captions; the first is the name.
        chinese: Likewise; empty for clip art.
        flag: Whether it is a country's or region's flag.
        licence: Of the art.
    """

    source: str
    key: str
    concept: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    flag: bool
    licence: str

    @property
    def held_out(self) -> bool:
        """Whether the concept is kept from all training."""
        return held_out(self.concept)


def held_out(concept: str) -> bool:
    """Whether a concept belongs to the 12 % that no training sees."""
    return int(hashlib.sha1(concept.encode()).hexdigest()[:8], 16) % 100 < HELD_OUT_PERCENT


@dataclass(frozen=True)
class Emoji:
    """One emoji: captions in both languages, concept, and whether it is a plain one."""

    concept: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    flag: bool
    plain: bool


_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")
_GENDER_SIGN = re.compile("\u200d[\u2640\u2642]")
_PERSON = {"\U0001f468": "\U0001f9d1", "\U0001f469": "\U0001f9d1"}


def emojis(packages: Path) -> dict[str, Emoji]:
    """Return the emoji of CLDR by their characters (without variation selectors)."""
    names: dict[str, dict[str, Any]] = {"en": {}, "zh": {}}
    for package, word in zip(CLDR, ("annotations", "annotationsDerived"), strict=True):
        for language, table in names.items():
            path = packages / package.folder / word / language / "annotations.json"
            for characters, entry in json.loads(path.read_text())[word]["annotations"].items():
                table.setdefault(characters.replace("\ufe0f", ""), entry)
    found = {}
    for characters, entry in names["en"].items():
        if _SKIN.search(characters) or "tts" not in entry or characters not in names["zh"]:
            continue
        neutral = _GENDER_SIGN.sub("", characters)
        if "\u200d" in neutral:
            swapped = "".join(_PERSON.get(c, c) for c in neutral)
            neutral = swapped if swapped in names["en"] else neutral
        concept = names["en"].get(neutral, entry)["tts"][0].lower()
        found[characters] = Emoji(
            concept=concept,
            english=_captions(entry, ", "),
            chinese=_captions(names["zh"][characters], "，"),
            flag=concept.startswith("flag: "),
            plain=neutral == characters,
        )
    return found


def _captions(entry: dict[str, Any], comma: str) -> tuple[str, ...]:
    """The name (turned round when it is "flag: France"), and the keywords."""
    name = entry["tts"][0]
    captions = [name]
    words = [w for w in entry.get("default", ()) if w != name]
    if words:
        captions.append(comma.join(words[:6]))
    return tuple(captions)


def emoji_drawings(packages: Path, vendor: str, *, plain: bool = False) -> list[Drawing]:
    """Return the drawings of one vendor that have a CLDR name."""
    package = {"openmoji": UNSEEN_VENDOR, "solid": SOLID}.get(vendor) or VENDORS[vendor]
    table = emojis(packages)
    drawings = []
    by_key = _solid_characters if vendor == "solid" else _icon_characters
    for key, characters in by_key(packages, package, table).items():
        emoji = table[characters]
        if plain and not emoji.plain:
            continue
        drawings.append(
            Drawing(
                source=vendor,
                key=key,
                concept=emoji.concept,
                english=emoji.english,
                chinese=emoji.chinese,
                flag=emoji.flag,
                licence=package.licence,
            )
        )
    return drawings


def _icon_characters(packages: Path, package: Package, table: dict[str, Emoji]) -> dict[str, str]:
    """Icon name -> emoji, by the package's own table of characters or by the CLDR name."""
    folder = packages / package.folder
    icons = json.loads((folder / "icons.json").read_text())
    characters: dict[str, str] = {}
    if (folder / "chars.json").exists():
        for code, name in json.loads((folder / "chars.json").read_text()).items():
            text = "".join(chr(int(c, 16)) for c in code.split("-")).replace("\ufe0f", "")
            if text in table and name in icons["icons"]:
                characters.setdefault(name, text)
    by_name = {_slug(e.english[0]): text for text, e in table.items()}
    for name in icons["icons"]:
        named = by_name.get(_slug(re.sub(r"-\d$", "", name)))
        if named is not None and named not in characters.values():
            characters.setdefault(name, named)
    # One icon an emoji: a set may draw the same one under several names.
    once: dict[str, str] = {}
    for name, text in characters.items():
        once.setdefault(text, name)
    return {name: text for text, name in once.items()}


def _solid_characters(packages: Path, package: Package, table: dict[str, Emoji]) -> dict[str, str]:
    """File name -> emoji: the files are named by code points."""
    found = {}
    for path in sorted((packages / package.folder / "assets").glob("*.webp")):
        codes = path.stem.split("-")
        if not all(re.fullmatch("[0-9a-f]{4,5}", code) for code in codes):
            continue
        text = "".join(chr(int(code, 16)) for code in codes).replace("\ufe0f", "")
        if text in table:
            found[path.name] = text
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def icon_svg(packages: Path, vendor: str) -> dict[str, str]:
    """Return the SVG of each icon of a vendor by icon name."""
    package = UNSEEN_VENDOR if vendor == "openmoji" else VENDORS[vendor]
    data = json.loads((packages / package.folder / "icons.json").read_text())
    svgs = {}
    for name, icon in data["icons"].items():
        width = icon.get("width", data.get("width", 16))
        height = icon.get("height", data.get("height", 16))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        svgs[name] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}"><g>{icon["body"]}</g></svg>'
        )
    return svgs


_DUBLIN = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_BORING = re.compile(
    r"button|arrow|shape|jigsaw|flowchart|border|frame|logo|icon\b|symbol|template|pattern"
    r"|^unsorted|untitled|cartoon$",
    re.IGNORECASE,
)
_PER_CONCEPT = 4


def clipart_drawings(packages: Path) -> list[Drawing]:
    """Return the clip art with a usable title, in the public domain by its own statement."""
    root = packages / CLIPART.folder / "usr/share/openclipart/svg"
    taken: dict[str, int] = {}
    drawings = []
    for path in sorted([*root.rglob("*.svg"), *root.rglob("*.svgz")]):
        described = _describe(path)
        if described is None:
            continue
        title, words, description = described
        concept = re.sub(r"[\d#_\-]+", " ", title).strip().lower()
        flag = "flag" in concept or "/flags/" in str(path)
        if len(concept) < 3 or _BORING.search(concept) or len(title) > 60:
            continue
        if taken.get(concept, 0) >= _PER_CONCEPT:
            continue
        taken[concept] = taken.get(concept, 0) + 1
        captions = [re.sub(r"[\d#_]+", " ", title).strip()]
        if words:
            captions.append(", ".join(words[:6]))
        if 12 <= len(description) <= 100 and "by" not in description.split():
            captions.append(description)
        drawings.append(
            Drawing(
                source="openclipart",
                key=str(path.relative_to(root)),
                concept=concept,
                english=tuple(captions),
                chinese=(),
                flag=flag,
                licence="public domain",
            )
        )
    return drawings


def _describe(path: Path) -> tuple[str, list[str], str] | None:
    """Title, keywords and description of a clip, or None unless it is in the public domain."""
    try:
        text = read_clip(packages=None, path=path)
        tree = ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeDecodeError, OSError):
        return None
    if not re.search(r"web\.resource\.org/cc/PublicDomain|licenses/publicdomain", text):
        return None
    title = tree.find(f".//{_DUBLIN}title")
    if title is None or not (title.text or "").strip():
        return None
    bag = [(li.text or "").strip().lower() for li in tree.iter(f"{_RDF}li")]
    words = [w for w in bag if 0 < len(w) < 25 and "@" not in w and w != "hash"]
    words = [w for w in words if not _BORING.search(w)]
    described = tree.find(f".//{_DUBLIN}description")
    description = " ".join(((described.text if described is not None else "") or "").split())
    return (title.text or "").strip(), words, description


def read_clip(packages: Path | None, path: Path | str) -> str:
    """Return the SVG text of a clip; `path` is relative to the package when `packages` is given."""
    if packages is not None:
        path = packages / CLIPART.folder / "usr/share/openclipart/svg" / path
    data = Path(path).read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")


def write(path: Path, drawings: list[Drawing]) -> None:
    """Write drawings as JSON lines."""
    path.write_text("".join(json.dumps(asdict(d), ensure_ascii=False) + "\n" for d in drawings))


def read(path: Path) -> Iterator[Drawing]:
    """Read what `write` wrote."""
    for line in path.read_text().splitlines():
        data = json.loads(line)
        data["english"], data["chinese"] = tuple(data["english"]), tuple(data["chinese"])
        yield Drawing(**data)
