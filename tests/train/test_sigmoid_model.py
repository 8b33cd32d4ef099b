"""A model of the sigmoid loss learns eight pairs, and its probabilities say which they are."""

from __future__ import annotations

from typing import Any

import torch

import seesay
from contract.probes import picture
from seesay.processing.image import open_picture
from seesay.train.objectives import sigmoid


def test_eight_pairs_are_learnt_and_told_apart_by_their_probabilities() -> None:
    model: Any = seesay.create("siglip-tiny", seed=1)
    images = [picture(seed=i) for i in range(8)]
    texts = ["one", "two dogs", "3", "four", "five cats", "a six", "seven", "eight"]
    pixels = model.processor.images([open_picture(image) for image in images])
    ids, mask = model.processor.texts(texts)
    module = model.module.train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(60):
        vectors = module.embed_image(pixels), module.embed_text(ids, mask)
        loss = sigmoid(*vectors, module.logit_scale, module.logit_bias)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()
    for i, image in enumerate(images):
        likely = [pair.probability for pair in model.match(image, texts)]
        assert likely[i] > 0.5
        assert all(other < 0.5 for j, other in enumerate(likely) if j != i)
