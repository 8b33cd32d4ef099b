"""A small BLIP that knows the words of your data: `python examples/small_blip.py DATA OUT`.

With random weights, to be trained from scratch in minutes on a processor: most of what a step costs
is otherwise the 30,522 tokens of BERT, of which a small data set has a few dozen.

    python examples/small_blip.py examples/drawings small --split train
    seesay train caption --data examples/drawings --set data.split=train --model small --out run
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from seesay import registry
from seesay.data import open_dataset, open_questions
from seesay.data.readers import asked
from seesay.families.blip.configs import small
from seesay.families.blip.processing import published_settings
from seesay.model import Model
from seesay.networks.vit import VitConfig
from seesay.processing.wordpiece import ADDED, SPECIAL

PROMPT = "a picture of"


def build(words: Iterable[str], *, image_size: int = 64, patch_size: int = 8) -> Model:
    """Return a pre-training model of random weights that knows some words."""
    known = sorted({*words, *PROMPT.split(), "?", ",", "-", "'"})
    vocabulary = [*SPECIAL, *known, *ADDED]
    config = small("pretraining", image_size)
    image = VitConfig(
        image_size=(image_size, image_size),
        patch_size=patch_size,
        width=128,
        depth=4,
        num_heads=4,
        mlp_width=512,
        eps=1e-6,
    )
    text = dataclasses.replace(
        config.text,
        vocab_size=len(vocabulary),
        width=128,
        depth=3,
        mlp_width=512,
        source_width=128,
    )
    config = dataclasses.replace(config, image=image, text=text)
    family = registry.family("blip")
    settings = published_settings(image_size, start_id=vocabulary.index(ADDED[0]))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "vocab.txt").write_text("\n".join(vocabulary) + "\n")
        processor = family.make_processor(config, settings, Path(folder))
    torch.manual_seed(0)
    module = family.build(config)
    with torch.no_grad():  # BERT's weights are drawn for width 768; narrower layers would whisper
        for layer in module.text.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight *= (768 / config.text.width) ** 0.5
    return Model(module, processor, family, config, name="small", fingerprint="random")


def texts(path: str, split: str | None) -> Iterator[str]:
    """Yield the captions of a dataset, or its questions and answers."""
    if asked.recognises(path):
        for question in open_questions(path, split=split):
            yield from (question.text, *question.answers)
    else:
        for record in open_dataset(path, split=split):
            yield from record.texts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--split")
    told = parser.parse_args()
    words = {w for text in texts(told.data, told.split) for w in re.findall(r"\w+", text.lower())}
    model = build(words)
    model.save(told.out)
    count = sum(p.numel() for p in model.module.parameters())
    print(f"wrote {told.out}: {len(words)} words, {count:,} parameters")
