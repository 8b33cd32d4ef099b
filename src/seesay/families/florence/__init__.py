"""Florence: images, texts and labels in one space. The declaration; it imports no torch."""

from __future__ import annotations

from seesay.family import Family, Variant, deferred

_RELEASED = "https://github.com/microsoft/UniCL/releases/tag/v1.0"
_CONFIGS = "seesay.families.florence.configs:"


def _variant(function: str, size: int = 224, released: str | None = _RELEASED) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + function),
        settings=deferred("seesay.families.florence.processing:published_settings", size=size),
        released=released,
    )


FAMILY = Family(
    name="florence",
    summary="Florence-1's dual encoder, trained with labels (UniCL). Not Florence-2.",
    paper="arXiv 2111.11432, Florence: A New Foundation Model for Computer Vision",
    licence="MIT",
    config=_CONFIGS + "FlorenceConfig",
    module="seesay.families.florence.model:Florence",
    processor="seesay.families.florence.processing:make_processor",
    layouts="seesay.families.florence.weights:LAYOUTS",
    templates="seesay.families.florence.prompts:TEMPLATES",
    variants={
        "florence-tiny": _variant("tiny", size=48, released=None),
        "unicl-swin-t": _variant("unicl_swin_t"),
        "unicl-swin-b": _variant("unicl_swin_b"),
    },
)
