"""The loss that transformers' Florence-2 returns for a batch, and its gradient, are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from parity.florence2_models import V, asked, build, pixels_for, saved, theirs
from seesay.checkpoints.load import read
from seesay.train.config import DataConfig, ObjectiveConfig, TrainConfig
from seesay.train.parallel import World
from seesay.train.writing import Called, Texts, Writing
from seesay.types import Prompt

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LENGTHS = (6, 3, 9)
"""Tokens of the answers, `<s>` and `</s>` included."""


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_loss_is_the_mean_over_all_tokens_but_padding(
    tmp_path: Path, micro_batch: int | None
) -> None:
    model = build().eval()
    module: Any = read(saved(model, tmp_path)).module.eval()
    pixels, (ids, mask) = pixels_for((52, 90)), asked()
    answers, counted = asked(LENGTHS)
    labels = answers.masked_fill(~counted, -100)
    out = model(**theirs(model, pixels, ids, mask), labels=labels)
    torch.testing.assert_close(out.loss, cross_entropy(out.logits.flatten(0, 1), labels.flatten()))
    # theirs has rows for tokens that do not exist
    wanted = cross_entropy(out.logits[..., :V].flatten(0, 1), labels.flatten())
    wanted.backward()

    start = torch.full((3, 1), 2)  # what starts the decoder: all that is learnt comes after it
    written = torch.cat([start, answers], 1)
    learnt = torch.cat([start >= 0, counted], 1)
    prompt = Prompt(pixels, written, learnt, ids, mask)
    starts = torch.ones(3, dtype=torch.long)
    batch = Texts(prompt, starts, torch.ones(3), [0, 1, 2])
    config = TrainConfig(
        precision="fp32",
        data=DataConfig(micro_batch=micro_batch),
        objective=ObjectiveConfig(name="instruct"),
    )
    steps = Writing(Called(module, module.forward), config, World(), over=lambda t: t.tokens)
    found = steps.learn(batch)["loss"]
    assert int(batch.tokens) == sum(LENGTHS)
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-5, atol=0)
    language, head = model.model.language_model, model.model.multi_modal_projector
    pairs = [
        (module.text.token_embedding.weight, language.shared.weight[:V]),
        (module.projector.projection.weight, head.image_projection.weight),
        (module.text.decoder.layers[0].mlp.fc1.weight, language.decoder.layers[0].fc1.weight),
        (
            module.text.encoder.layers[1].attention.q_proj.weight,
            language.encoder.layers[1].self_attn.q_proj.weight,
        ),
        (
            module.image.stages[2].blocks[0].spatial.mlp.fc1.weight,
            model.model.vision_tower.blocks[2][0].spatial_block.ffn.fc1.weight,
        ),
    ]
    for ours, other in pairs:
        gradient = (language.shared.weight if other.shape[0] == V else other).grad[: len(ours)]
        scale = float(gradient.abs().max())
        assert scale > 0
        torch.testing.assert_close(ours.grad, gradient, rtol=1e-3, atol=1e-4 * scale)
