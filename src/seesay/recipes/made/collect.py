"""Where the words and the fonts of made pages come from; rebuilds `texts/` and `fonts/`.

    python -m seesay.recipes.made.collect --work DIR

Needs the clients npm, pip and apt. What is collected is small and lies in the repository, so pages
can be made without this and without a network.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from seesay.recipes.made.faces import FACES
from seesay.recipes.mini.sources import WORDNET, Package, unpacked

HERE = Path(__file__).parent
FONTSOURCE = "5.3.0"
NAMES = Package(
    name="names",
    version="0.3.0",
    registry="pip",
    licence="MIT (data: public domain)",
    use="first and last names of the 1990 census of the USA, most frequent first",
)
SPELLING = Package(
    name="wamerican-small",
    version="",
    registry="debian",
    licence="public domain (SCOWL)",
    use="which words are common",
)
ZONES = Package(
    name="tzdata",
    version="2026.6",
    registry="pip",
    licence="Apache-2.0 (data: public domain)",
    use="names of cities",
)
MOST = {"sentences": 6000, "compounds": 4000, "words": 9000}
_PLAIN = re.compile(r"[A-Za-z0-9 ,.;:'?!-]+")
_RUDE = re.compile(
    r"\b(sex|nude|naked|rape|whore|bitch|slut|nigger|negro|jew|penis|breast|kill|murder|drug|corpse"
    r"|suicide|hell|damn|bastard|fuck|shit|piss|idiot|slave|nazi|drunk|dead|genital|anus|vagin"
    r"|testic|urin|feces|faeces|prostitut|bomb|terror|gun|tortur|execut)",
    re.I,
)


def fontsource(folder: str) -> Package:
    """The package of a font family."""
    version = "5.3.1" if folder.startswith("source-") else FONTSOURCE
    return Package(
        name=f"@fontsource/{folder}",
        version=version,
        registry="npm",
        licence="OFL-1.1 or Apache-2.0, see NOTICE.md",
        use="a font family, Latin letters",
    )


def collect(work: Path) -> None:
    """Write `texts/` and `fonts/` from packages under WORK/packages, fetching what is missing."""
    wordnet = unpacked(WORDNET, work) / "usr/share/wordnet"
    spelled = unpacked(SPELLING, work) / "usr/share/dict/american-english-small"
    common = {w for w in spelled.read_text("utf-8").split() if re.fullmatch("[a-z]+", w)}
    _write("sentences", _sentences(wordnet, common))
    counts = _counts(wordnet)
    nouns = _nouns(wordnet)
    _write("words", (word for word, _ in counts.most_common() if word in common and len(word) > 1))
    _write("compounds", _compounds(nouns, common))
    census = unpacked(NAMES, work) / "names"
    _write("last", _census(census / "dist.all.last", 2500))
    first = zip(
        _census(census / "dist.female.first", 400),
        _census(census / "dist.male.first", 400),
        strict=True,
    )
    _write("first", dict.fromkeys(name for both in first for name in both))
    _write("cities", _cities(unpacked(ZONES, work) / "tzdata/zones"))
    for folder in dict.fromkeys(face.family for face in FACES):
        files = unpacked(fontsource(folder), work)
        for face in FACES:
            if face.family == folder:
                shutil.copyfile(files / "files" / face.file, HERE / "fonts" / face.file)


def _write(name: str, lines: Iterable[str]) -> None:
    """Write texts/NAME.txt.gz without a time stamp, so that equal lines are equal bytes."""
    kept = [line for line in lines if not _RUDE.search(line)][: MOST.get(name)]
    data = ("\n".join(kept) + "\n").encode()
    (HERE / "texts" / f"{name}.txt.gz").write_bytes(gzip.compress(data, 9, mtime=0))


def _sentences(wordnet: Path, common: set[str]) -> list[str]:
    """Examples of use that are made of common words, in an order that mixes their subjects."""
    found = []
    for part in ("noun", "verb", "adj", "adv"):
        for line in (wordnet / f"data.{part}").read_text("latin-1").splitlines():
            for example in re.findall(r'"([^"]{14,90})"', line.partition("|")[2]):
                text = " ".join(example.split())
                words = re.findall("[A-Za-z]+", text)
                known = sum(word.lower() in common for word in words)
                if _PLAIN.fullmatch(text) and len(words) >= 4 and known == len(words):
                    found.append(text[0].upper() + text[1:])
    # keep every k-th of the whole, spread over all subjects
    found = list(dict.fromkeys(found))
    step = max(1, len(found) // (MOST["sentences"] + 600))
    return found[::step]


def _counts(wordnet: Path) -> Counter[str]:
    """How often each word was met in the texts that WordNet's makers tagged."""
    counts: Counter[str] = Counter()
    for line in (wordnet / "cntlist.rev").read_text("latin-1").splitlines():
        sense, _, count = line.split()
        counts[sense.split("%")[0]] += int(count)
    return counts


def _nouns(wordnet: Path) -> dict[str, list[str]]:
    """Nouns by the number of WordNet's file of subjects, spaces for underscores."""
    nouns: dict[str, list[str]] = {}
    for line in (wordnet / "data.noun").read_text("latin-1").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            names = [fields[4 + 2 * i] for i in range(int(fields[3], 16))]
            nouns.setdefault(fields[1], []).extend(name.replace("_", " ") for name in names)
    return nouns


_MATTERS = ("04", "06", "09", "10", "14", "15", "17", "21")
"""Acts, artefacts, knowledge, messages, groups, places, nature and possessions."""


def _compounds(nouns: dict[str, list[str]], common: set[str]) -> list[str]:
    """Terms of two or three common words: titles and subjects are made of them."""
    found = [
        name
        for kind in _MATTERS
        for name in nouns[kind]
        if 2 <= len(name.split()) <= 3
        and 8 <= len(name) <= 26
        and all(word in common and len(word) > 2 for word in name.split())
    ]
    found = sorted(set(found))
    step = max(1, len(found) // (MOST["compounds"] + 200))
    return found[::step]


def _census(path: Path, most: int) -> list[str]:
    return [line.split()[0].capitalize() for line in path.read_text().splitlines()[:most]]


def _cities(zones: Path) -> list[str]:
    regions = ("Africa", "America", "Asia", "Australia", "Europe", "Pacific", "Atlantic", "Indian")
    found = set()
    for zone in zones.read_text().split():
        region, _, rest = zone.partition("/")
        city = rest.split("/")[-1].replace("_", " ")
        if region in regions and re.fullmatch("[A-Z][a-z]{2,}( [A-Z][a-z]{2,})?", city):
            found.add(city)
    return sorted(found)


def main() -> None:
    """Collect, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where packages are kept")
    collect(parser.parse_args().work)


if __name__ == "__main__":
    main()
