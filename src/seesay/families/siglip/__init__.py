"""SigLIP and SigLIP 2: dual encoders of a sigmoid loss. The declaration; it imports no torch."""

from __future__ import annotations

from typing import Any

from seesay.family import Family, Variant, deferred

_CONFIGS = "seesay.families.siglip.configs:"
_SETTINGS = "seesay.families.siglip.processing:published_settings"
_ENGLISH, _I18N, _GEMMA, _BYTES = 32000, 250000, 256000, 262
"""Sizes of the vocabularies."""


def _released(
    function: str, hub: str, revision: str | None, vocab_size: int = _ENGLISH, **arguments: Any
) -> Variant:
    # what the name on the hub says: google/siglip2-base-patch16-224
    patch, size = hub.removesuffix("-i18n").removesuffix("-multilingual").split("-")[-2:]
    any_size = size == "naflex"
    if any_size:
        arguments["any_size"] = True
    side = 256 if any_size else int(size)
    return Variant(
        config=deferred(
            _CONFIGS + function,
            patch_size=int(patch.removeprefix("patch")),
            image_size=side,
            vocab_size=vocab_size,
            **arguments,
        ),
        settings=deferred(
            _SETTINGS, size=side, vocab_size=vocab_size, max_patches=256 if any_size else None
        ),
        hub=hub,
        revision=revision,
    )


def _tiny(function: str, max_patches: int | None = None) -> Variant:
    return Variant(
        config=deferred(_CONFIGS + function),
        settings=deferred(_SETTINGS, size=32, vocab_size=_BYTES, max_patches=max_patches),
    )


FAMILY = Family(
    name="siglip",
    summary="Dual encoders whose match is a probability of its own; SigLIP 2 is multilingual.",
    paper="arXiv 2303.15343, Sigmoid Loss for Language Image Pre-Training",
    licence="Apache-2.0",
    config=_CONFIGS + "SiglipConfig",
    module="seesay.families.siglip.model:Siglip",
    processor="seesay.families.siglip.processing:make_processor",
    layouts="seesay.families.siglip.weights:LAYOUTS",
    templates="seesay.families.siglip.prompts:TEMPLATES",
    variants={
        "siglip-tiny": _tiny("tiny"),
        "siglip-tiny-naflex": _tiny("tiny_any_size", max_patches=16),
        "siglip-b-16-224": _released(
            "base", "google/siglip-base-patch16-224", "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"
        ),
        "siglip-b-16-256": _released(
            "base", "google/siglip-base-patch16-256", "b078df89e446d623010d890864d4207fe6399f61"
        ),
        "siglip-b-16-384": _released(
            "base", "google/siglip-base-patch16-384", "41aec1c83b32e0a6fca20ad88ba058aa5b5ea394"
        ),
        "siglip-b-16-512": _released(
            "base", "google/siglip-base-patch16-512", "753a949581523b60257d93e18391e8c27f72eb22"
        ),
        "siglip-b-16-256-i18n": _released(
            "base",
            "google/siglip-base-patch16-256-multilingual",
            "8952a4eafcde3cb7ab46b1dd629b33f8784ca9c6",
            _I18N,
        ),
        "siglip-l-16-256": _released(
            "large", "google/siglip-large-patch16-256", "d0da9f876e7d66b4e250cd2450c3ba2ce735e447"
        ),
        "siglip-l-16-384": _released(
            "large", "google/siglip-large-patch16-384", "ce005573a40965dfd21fd937fbdeeebf2439fc35"
        ),
        "siglip-so400m-14-224": _released(
            "so400m",
            "google/siglip-so400m-patch14-224",
            "d04cf29fca7b6374f74d8bea1969314492266b5e",
            max_length=16,
        ),
        "siglip-so400m-14-384": _released(
            "so400m", "google/siglip-so400m-patch14-384", "9fdffc58afc957d1a03a25b10dba0329ab15c2a3"
        ),
        "siglip-so400m-16-256-i18n": _released(
            "so400m",
            "google/siglip-so400m-patch16-256-i18n",
            "365d321c0cfdea96bc28e3a29787a11a062681a1",
            _I18N,
        ),
        "siglip2-b-32-256": _released(
            "base",
            "google/siglip2-base-patch32-256",
            "94dffa8cb1179de3e03f091dbc3917e5d5a9ae84",
            _GEMMA,
        ),
        "siglip2-b-16-224": _released(
            "base",
            "google/siglip2-base-patch16-224",
            "75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
            _GEMMA,
        ),
        "siglip2-b-16-256": _released(
            "base",
            "google/siglip2-base-patch16-256",
            "3f9f96cb90da5dbc758b01813f2f6f1aee24c1ab",
            _GEMMA,
        ),
        "siglip2-b-16-384": _released(
            "base",
            "google/siglip2-base-patch16-384",
            "f775b65a79762255128c981547af89addcfe0f88",
            _GEMMA,
        ),
        "siglip2-b-16-512": _released(
            "base",
            "google/siglip2-base-patch16-512",
            "a89f5c5093f902bf39d3cd4d81d2c09867f0724b",
            _GEMMA,
        ),
        "siglip2-l-16-256": _released(
            "large",
            "google/siglip2-large-patch16-256",
            "787800c8990e6f058423089178e718139608408c",
            _GEMMA,
        ),
        "siglip2-l-16-384": _released(
            "large",
            "google/siglip2-large-patch16-384",
            "1b426889ea62b5a72bf9839009a1b184bfc9c178",
            _GEMMA,
        ),
        "siglip2-l-16-512": _released(
            "large",
            "google/siglip2-large-patch16-512",
            "49488218e80259885f3be61d7a9455faf833b7a8",
            _GEMMA,
        ),
        "siglip2-so400m-14-224": _released(
            "so400m",
            "google/siglip2-so400m-patch14-224",
            "78e403963a4f6a3640d07803284752326fdf4edf",
            _GEMMA,
        ),
        "siglip2-so400m-14-384": _released(
            "so400m",
            "google/siglip2-so400m-patch14-384",
            "e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
            _GEMMA,
        ),
        "siglip2-so400m-16-256": _released(
            "so400m",
            "google/siglip2-so400m-patch16-256",
            "e8708ab72d125807e45b36fb7d4e0aacbb59f379",
            _GEMMA,
        ),
        "siglip2-so400m-16-384": _released(
            "so400m",
            "google/siglip2-so400m-patch16-384",
            "dd658faac399427308559e2c3ac1e99cbe43845d",
            _GEMMA,
        ),
        "siglip2-so400m-16-512": _released(
            "so400m",
            "google/siglip2-so400m-patch16-512",
            "ceea1cba8130d8271436da4828633198c176a775",
            _GEMMA,
        ),
        "siglip2-g-16-256": _released(
            "giant",
            "google/siglip2-giant-opt-patch16-256",
            "46d7129e1aa1527cc5a44d86fb35250df3abf0aa",
            _GEMMA,
        ),
        "siglip2-g-16-384": _released(
            "giant",
            "google/siglip2-giant-opt-patch16-384",
            "a713301b217d38485fb2204c808367d10bc3cc40",
            _GEMMA,
        ),
        "siglip2-b-16-naflex": _released(
            "base",
            "google/siglip2-base-patch16-naflex",
            "b53b807d3a2d5e2b3911292f2d69e5341cdc064c",
            _GEMMA,
        ),
        "siglip2-so400m-16-naflex": _released(
            "so400m", "google/siglip2-so400m-patch16-naflex", None, _GEMMA
        ),
    },
)
