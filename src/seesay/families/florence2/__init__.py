"""Florence-2: describes, detects, grounds, segments and reads. Declared without torch."""

from __future__ import annotations

from pathlib import Path

from seesay.family import Family, Variant, deferred

_CONFIGS = "seesay.families.florence2.configs:"
_SETTINGS = "seesay.families.florence2.processing:published_settings"


def _on_hub(hub: str, size: str, max_length: int = 1024) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + size, max_length=max_length),
        settings=deferred(_SETTINGS),
        hub=hub,
    )


FAMILY = Family(
    name="florence2",
    summary="Describes images and pages, finds and reads what is in them, and says where it is.",
    paper="arXiv 2311.06242, Florence-2: Advancing a Unified Representation for a Variety of "
    "Vision Tasks",
    licence="MIT",
    config=_CONFIGS + "Florence2Config",
    module="seesay.families.florence2.model:Florence2",
    processor="seesay.families.florence2.processing:make_processor",
    layouts="seesay.families.florence2.weights:LAYOUTS",
    prompts="seesay.families.florence2.prompts:prompts",
    compats=("hf", "hub"),
    resizable=True,
    health="seesay.families.florence2.health:health",
    variants={
        "florence2-tiny": Variant(
            config=deferred(_CONFIGS + "tiny"), settings=deferred(_SETTINGS, size=64)
        ),
        "florence2-base": _on_hub("microsoft/Florence-2-base", "base"),
        "florence2-base-ft": _on_hub("microsoft/Florence-2-base-ft", "base"),
        "florence2-large": _on_hub("microsoft/Florence-2-large", "large", 4096),
        "florence2-large-ft": _on_hub("microsoft/Florence-2-large-ft", "large"),
        "seesay/page": Variant(
            config=deferred(_CONFIGS + "page"),
            settings=deferred(_SETTINGS, size=256),
            weights=Path(__file__).with_name("weights"),
            limits="reads sheets of about ten lines and finds drawings of 36 kinds of things; for "
            "scans and photographs say --model microsoft/Florence-2-base-ft",
        ),
    },
)
