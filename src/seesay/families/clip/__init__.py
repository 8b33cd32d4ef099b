"""CLIP: images and texts in one space. The declaration; it imports no torch."""

from __future__ import annotations

from seesay.family import Family, Variant, deferred

_CONFIGS = "seesay.families.clip.configs:"
_SETTINGS = "seesay.families.clip.processing:published_settings"
_HALF = (0.5, 0.5, 0.5)


def _openai(
    function: str, hub: str | None, revision: str | None = None, size: int = 224, **arguments: int
) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + function, **arguments),
        settings=deferred(_SETTINGS, size=size),
        hub=hub,
        revision=revision,
    )


def _laion(function: str, hub: str, revision: str, **arguments: str) -> Variant:
    # this one release was trained with another normalisation than all others
    centred = {"mean": _HALF, "std": _HALF} if hub.endswith("L-14-laion2B-s32B-b82K") else {}
    return Variant(
        config=deferred(_CONFIGS + function, **arguments),
        settings=deferred(_SETTINGS, size=224, **centred),
        hub=hub,
        revision=revision,
    )


FAMILY = Family(
    name="clip",
    summary="Images and texts in one space: search, match, classify without training.",
    paper="arXiv 2103.00020, Learning Transferable Visual Models From Natural Language Supervision",
    licence="MIT",
    config=_CONFIGS + "ClipConfig",
    module="seesay.families.clip.model:Clip",
    processor="seesay.families.clip.processing:make_processor",
    layouts="seesay.families.clip.weights:LAYOUTS",
    templates="seesay.families.clip.prompts:TEMPLATES",
    variants={
        "clip-tiny": _openai("tiny", None, size=32),
        "clip-tiny-resnet": _openai("tiny_resnet", None, size=64),
        "clip-small": _openai("small", None, size=64),
        "clip-vit-b-32": _openai(
            "vit_b_32", "openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
        ),
        "clip-vit-b-16": _openai(
            "vit_b_16", "openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3"
        ),
        "clip-vit-l-14": _openai(
            "vit_l_14", "openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41"
        ),
        "clip-vit-l-14-336": _openai(
            "vit_l_14",
            "openai/clip-vit-large-patch14-336",
            "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
            image_size=336,
            size=336,
        ),
        "clip-rn50": _openai(
            "rn50", "timm/resnet50_clip.openai", "ec3d92cf63a5f9d591f0d611b736895966c73076"
        ),
        "clip-rn101": _openai("rn101", "timm/resnet101_clip.openai"),
        "clip-rn50x4": _openai("rn50x4", "timm/resnet50x4_clip.openai", size=288),
        "clip-rn50x16": _openai("rn50x16", "timm/resnet50x16_clip.openai", size=384),
        "clip-rn50x64": _openai("rn50x64", "timm/resnet50x64_clip.openai", size=448),
        "clip-vit-b-32-laion2b": _laion(
            "vit_b_32",
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            "1a25a446712ba5ee05982a381eed697ef9b435cf",
            activation="gelu",
        ),
        "clip-vit-b-16-laion2b": _laion(
            "vit_b_16",
            "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
            "7288da5a0d6f0b51c4a2b27c624837a9236d0112",
            activation="gelu",
        ),
        "clip-vit-l-14-laion2b": _laion(
            "vit_l_14",
            "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
            "1627032197142fbe2a7cfec626f4ced3ae60d07a",
            activation="gelu",
        ),
        "clip-vit-h-14-laion2b": _laion(
            "vit_h_14",
            "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
            "1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        ),
        "clip-vit-g-14-laion2b": _laion(
            "vit_g_14",
            "laion/CLIP-ViT-g-14-laion2B-s12B-b42K",
            "4b0305adc6802b2632e11cbe6606a9bdd43d35c9",
        ),
        "clip-vit-bigg-14-laion2b": _laion(
            "vit_bigg_14",
            "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
            "bc7788f151930d91b58474715fdce5524ad9a189",
        ),
    },
)
