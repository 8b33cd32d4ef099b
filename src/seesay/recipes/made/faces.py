"""Real fonts; each split has families of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from seesay.recipes.made.vocabulary import Split

FOLDER = Path(__file__).parent / "fonts"


@dataclass(frozen=True)
class Face:
    """One font file.

    Attributes:
        family: Its package's name.
        weight: 400 or 700.
        kind: "sans", "serif", "mono" or "hand".
        split: Whose pages are set in it.
    """

    family: str
    weight: int
    kind: str
    split: Split

    @property
    def file(self) -> str:
        """Name of the file, as in its package."""
        return f"{self.family}-latin-{self.weight}-normal.woff2"

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / self.file


FAMILIES: dict[Split, dict[str, str]] = {
    "train": {
        "sans": "arimo noto-sans open-sans roboto lato montserrat source-sans-3 nunito "
        "ibm-plex-sans fira-sans roboto-condensed work-sans dm-sans",
        "serif": "tinos noto-serif lora caladea eb-garamond libre-baskerville ibm-plex-serif "
        "roboto-slab crimson-text bitter",
        "mono": "roboto-mono courier-prime ibm-plex-mono",
        "hand": "patrick-hand kalam",
    },
    "validation": {"sans": "cabin", "serif": "gelasio", "mono": "inconsolata"},
    "test": {
        "sans": "karla libre-franklin mulish archivo-narrow",
        "serif": "spectral source-serif-4 zilla-slab",
        "mono": "cousine anonymous-pro",
    },
}
"""No family is in two splits."""

_ONE_WEIGHT = {"patrick-hand"}

FACES = tuple(
    Face(family, weight, kind, split)
    for split, table in FAMILIES.items()
    for kind, families in table.items()
    for family in families.split()
    for weight in ((400,) if family in _ONE_WEIGHT else (400, 700))
)


@cache
def families(kind: str, split: Split) -> tuple[tuple[Face, Face], ...]:
    """Return the families of a kind as (regular, bold); one without a bold face stands for it."""
    faces = {(f.family, f.weight): f for f in FACES if (f.kind, f.split) == (kind, split)}
    names = dict.fromkeys(family for family, _ in faces)
    return tuple((faces[n, 400], faces.get((n, 700), faces[n, 400])) for n in names)
