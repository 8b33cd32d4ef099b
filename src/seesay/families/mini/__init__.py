"""seesay/mini, the default model: small, bilingual, shipped with the library. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from seesay.family import Family, Variant, deferred

_CONFIGS = "seesay.families.mini.configs:"

FAMILY = Family(
    name="mini",
    summary="The default: finds and names pictures in English and Chinese, writes in English.",
    paper="none; made for this library, see families/mini/README.md",
    licence="Apache-2.0",
    config=_CONFIGS + "MiniConfig",
    module="seesay.families.mini.model:Mini",
    processor="seesay.families.mini.processing:make_processor",
    layouts="seesay.families.mini.weights:LAYOUTS",
    templates="seesay.families.mini.prompts:TEMPLATES",
    prompts="seesay.families.mini.prompts:prompts",
    variants={
        "mini-tiny": Variant(
            config=deferred(_CONFIGS + "tiny"), settings=deferred(_CONFIGS + "settings", size=64)
        ),
        "seesay/mini": Variant(
            config=deferred(_CONFIGS + "mini"),
            settings=deferred(_CONFIGS + "settings"),
            weights=Path(__file__).with_name("weights"),
        ),
    },
)
