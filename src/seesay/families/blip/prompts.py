"""How BLIP is asked, as published with its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

from seesay.families.blip.configs import BlipConfig
from seesay.family import Asking
from seesay.generation.options import Options

PROMPTS = {
    "caption": Asking(
        template="a picture of {}",
        options=Options(num_beams=3, max_length=20, min_length=5),
        drawn={"top_p": 0.9, "repetition_penalty": 1.1},
    ),
    "answer": Asking(template="{}", options=Options(num_beams=3, max_length=10, min_length=1)),
}
"""Lengths count the start token and the prompt. salesforce/BLIP, configs/caption_coco.yaml,
models/blip.py (the nucleus and its penalty) and models/blip_vqa.py."""

WRITTEN_BY = {"pretraining": "caption", "captioning": "caption", "vqa": "answer"}
"""Kind of checkpoint -> the task it writes for; the others write nothing."""


def prompts(config: BlipConfig) -> Mapping[str, Asking]:
    """Return how a checkpoint of this configuration is asked, by task."""
    return {task: PROMPTS[task] for task in PROMPTS if WRITTEN_BY.get(config.kind) == task}
