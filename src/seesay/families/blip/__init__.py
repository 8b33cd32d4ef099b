"""BLIP: describes, answers, matches. The declaration; it imports no torch."""

from __future__ import annotations

from typing import Any

from seesay.family import Family, Variant, deferred

_CONFIGS = "seesay.families.blip.configs:"
_SETTINGS = "seesay.families.blip.processing:published_settings"
_BLIP = "https://github.com/salesforce/BLIP#finetuned-checkpoints"
_PRETRAINED = "https://github.com/salesforce/BLIP#pre-trained-checkpoints"
_LAVIS = "https://github.com/salesforce/LAVIS#model-zoo"


def _on_hub(hub: str, kind: str, image: str = "base") -> Variant:
    return Variant(
        config=deferred(_CONFIGS + "on_hub", kind=kind, image=image),
        settings=deferred(_SETTINGS),
        hub=hub,
    )


def _original(page: str, kind: str, size: int, function: str = "base", **told: Any) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + function, kind=kind, image_size=size, **told),
        settings=deferred(_SETTINGS, size=size),
        released=page,
    )


def _tiny(kind: str) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + "tiny", kind=kind), settings=deferred(_SETTINGS, size=32)
    )


FAMILY = Family(
    name="blip",
    summary="Describes images, answers questions about them, and judges whether texts fit them.",
    paper="arXiv 2201.12086, BLIP: Bootstrapping Language-Image Pre-training",
    licence="BSD-3-Clause",
    config=_CONFIGS + "BlipConfig",
    module="seesay.families.blip.model:module_class",
    processor="seesay.families.blip.processing:make_processor",
    layouts="seesay.families.blip.weights:LAYOUTS",
    prompts="seesay.families.blip.prompts:prompts",
    begun="seesay.families.blip.initial:begun",
    compats=("hf", "lavis"),
    variants={
        "blip-tiny": _tiny("pretraining"),
        "blip-tiny-captioning": _tiny("captioning"),
        "blip-tiny-vqa": _tiny("vqa"),
        "blip-tiny-retrieval": _tiny("retrieval"),
        "blip-tiny-nlvr": _tiny("nlvr"),
        "blip-tiny-classification": _tiny("classification"),
        "blip-small": Variant(
            config=deferred(_CONFIGS + "small", kind="pretraining", image_size=96),
            settings=deferred(_SETTINGS, size=96),
        ),
        "blip-image-captioning-base": _on_hub(
            "Salesforce/blip-image-captioning-base", "captioning"
        ),
        "blip-image-captioning-large": _on_hub(
            "Salesforce/blip-image-captioning-large", "captioning", "large"
        ),
        "blip-vqa-base": _on_hub("Salesforce/blip-vqa-base", "vqa"),
        "blip-vqa-capfilt-large": _on_hub("Salesforce/blip-vqa-capfilt-large", "vqa"),
        "blip-itm-base-coco": _on_hub("Salesforce/blip-itm-base-coco", "retrieval"),
        "blip-itm-base-flickr": _on_hub("Salesforce/blip-itm-base-flickr", "retrieval"),
        "blip-itm-large-coco": _on_hub("Salesforce/blip-itm-large-coco", "retrieval", "large"),
        "blip-itm-large-flickr": _on_hub("Salesforce/blip-itm-large-flickr", "retrieval", "large"),
        "blip-base": _original(_PRETRAINED, "pretraining", 224),
        "blip-large": _original(_PRETRAINED, "pretraining", 224, "large"),
        "blip-vqa-base-480": _original(_BLIP, "vqa", 480),
        "blip-nlvr-base": _original(_BLIP, "nlvr", 384),
        "blip-okvqa-base": _original(_LAVIS, "vqa", 480),
        "blip-aokvqa-base": _original(_LAVIS, "vqa", 480),
    },
)
