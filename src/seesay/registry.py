"""The families seesay knows. A new family is one folder and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from seesay.errors import UsageError, nearest

if TYPE_CHECKING:
    from seesay.family import Family, Variant

FAMILIES: dict[str, str] = {
    "clip": "seesay.families.clip",
    "florence": "seesay.families.florence",
    "siglip": "seesay.families.siglip",
    "blip": "seesay.families.blip",
    "florence2": "seesay.families.florence2",
    "mini": "seesay.families.mini",
}
"""Family name -> the module whose `FAMILY` declares it. Importing one does not import torch."""

DEFAULT_MODEL = "seesay/mini"
PAGE_MODEL = "seesay/page"
PAGE_TASKS = ("document", "read", "detect", "ground")
"""What `PAGE_MODEL` is the default of; `document` is the switch of questions about one."""


def family(name: str) -> Family:
    """Return the declared family.

    Raises:
        UsageError: No family has this name.
    """
    if name not in FAMILIES:
        raise UsageError(f"there is no family {name!r}.{nearest(name, FAMILIES)}")
    declared: Family = import_module(FAMILIES[name]).FAMILY
    return declared


def families() -> list[Family]:
    """Return every declared family, in the order of the registry."""
    return [family(name) for name in FAMILIES]


def variants() -> dict[str, tuple[Family, Variant]]:
    """Return every variant by its name."""
    return {
        name: (declared, variant)
        for declared in families()
        for name, variant in declared.variants.items()
    }


def default_model(*asked: str) -> str:
    """Return the model that does a task when none is named.

    Args:
        asked: The task, and the switches that were turned on with it.
    """
    known = variants().get(PAGE_MODEL)
    able = known is not None and known[1].weights is not None and known[1].weights.exists()
    return PAGE_MODEL if able and not set(asked).isdisjoint(PAGE_TASKS) else DEFAULT_MODEL


def variant(name: str) -> tuple[Family, Variant]:
    """Return the family and variant of this variant name or hub id.

    Raises:
        UsageError: No variant has this name; the nearest names are given.
    """
    known = variants()
    for key, (declared, found) in known.items():
        if name in (key, found.hub):
            return declared, found
    raise UsageError(
        f"there is no model {name!r}.{nearest(name, known)}", "seesay models lists them all"
    )
