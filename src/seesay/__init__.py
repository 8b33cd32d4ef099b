"""seesay: vision-language models in one library. `import seesay` imports neither torch nor PIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Box", "Collection", "Model", "Region", "__version__", "create", "list_models", "load"]

if TYPE_CHECKING:
    from seesay.index import Collection
    from seesay.model import Model, create, load
    from seesay.regions import Box, Region

_LAZY = {
    "Box": "seesay.regions",
    "Collection": "seesay.index",
    "Model": "seesay.model",
    "Region": "seesay.regions",
    "create": "seesay.model",
    "load": "seesay.model",
}


def list_models() -> list[str]:
    """Return the names of all models seesay can build, in the order of the registry."""
    from seesay.registry import variants

    return list(variants())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'seesay' has no attribute {name!r}")
