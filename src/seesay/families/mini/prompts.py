"""How seesay/mini is asked: prompt sets for zero-shot classification, and what begins its texts."""

from __future__ import annotations

from collections.abc import Mapping

from seesay.families.mini.configs import MiniConfig
from seesay.family import Asking
from seesay.generation.options import Options

# the bare label comes first, as most training texts
TEMPLATES: dict[str, list[str]] = {
    "short": ["{}", "a photo of a {}"],
    "none": ["{}"],
    "photo": ["a photo of a {}"],
    "chinese": ["{}", "{}的照片"],
}

PROMPTS = {
    "caption": Asking(
        template="{}", options=Options(num_beams=3, max_new_tokens=24, no_repeat_ngram_size=3)
    ),
    "answer": Asking(template="{}", options=Options(max_new_tokens=24)),
}


def prompts(config: MiniConfig) -> Mapping[str, Asking]:
    """Return how a model of this configuration is asked, by task."""
    return PROMPTS if config.writer else {}
