"""A decoder that remembers gives what one that reads everything again would give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seesay.networks.bert import Bert, BertConfig

SIZES = BertConfig(
    vocab_size=50,
    max_length=40,
    width=12,
    depth=2,
    num_heads=3,
    mlp_width=20,
    source_width=10,
    eps=1e-6,
)


def redrawn(config: BertConfig = SIZES, seed: int = 0) -> Bert:
    """A network whose every parameter matters."""
    generator = torch.Generator().manual_seed(seed)
    module = Bert(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.normal_(std=0.4, generator=generator)
    return module


def alone(module: Bert, ids: list[int], source: Tensor, source_mask: Tensor) -> Tensor:
    """The features of the last of some tokens, read all at once about what counts of a source."""
    seen = source[source_mask][None]
    return module(torch.tensor([ids]), torch.ones(1, len(ids)).bool(), seen, causal=True)[0, -1]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_beams_equal_reading_each_text_from_its_start(data: st.DataObject) -> None:
    module = redrawn()
    images = data.draw(st.integers(1, 3), "images")
    beams = data.draw(st.integers(1, 3), "beams")
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=images, max_size=images), "lengths")
    torch.manual_seed(data.draw(st.integers(0, 99), "seed"))
    source = torch.randn(images, 6, 10)
    source_mask = torch.rand(images, 6) > 0.4
    source_mask[:, 0] = True
    prefix = torch.randint(50, (images, max(lengths)))
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    hidden, cache = module.begin(prefix, mask, source, source_mask)
    texts = [row[kept].tolist() for row, kept in zip(prefix, mask, strict=True)]
    for row, text in enumerate(texts):
        expected = alone(module, text, source[row], source_mask[row])
        torch.testing.assert_close(hidden[row], expected, atol=1e-5, rtol=1e-5)

    texts = [list(text) for text in texts for _ in range(beams)]
    looking = list(range(images))
    for _ in range(data.draw(st.integers(1, 20), "steps")):
        ids = torch.randint(50, (len(looking), beams))
        hidden = module.extend(ids, cache)
        for text, new in zip(texts, ids.flatten().tolist(), strict=True):
            text.append(new)
        for row, image in enumerate(looking):
            for beam in range(beams):
                text = texts[row * beams + beam]
                expected = alone(module, text, source[image], source_mask[image])
                torch.testing.assert_close(hidden[row, beam], expected, atol=1e-5, rtol=1e-5)
        # any beam may go on from any other of its image, and an image may be left out
        kept = list(range(len(looking)))
        if len(kept) > 1 and data.draw(st.booleans()):
            kept.pop(data.draw(st.integers(0, len(kept) - 1)))
        rows = [
            row * beams + data.draw(st.integers(0, beams - 1)) for row in kept for _ in range(beams)
        ]
        cache = cache.reorder(torch.tensor(rows))
        texts = [list(texts[row]) for row in rows]
        looking = [looking[row] for row in kept]


def test_the_prefix_is_held_once_however_many_beams_there_are() -> None:
    module = redrawn()
    source = torch.randn(2, 6, 10)
    _, cache = module.begin(torch.ones(2, 4).long(), torch.ones(2, 4).bool(), source)
    module.extend(torch.ones(2, 5).long(), cache)
    assert cache.visible.shape == (2, 5, 4 + 5)
    assert all(read[0].shape[0] == 2 for read in cache.reads)


def test_a_text_longer_than_the_positions_is_refused() -> None:
    module = redrawn()
    with pytest.raises(ValueError, match="41 tokens"):
        module(torch.ones(1, 41).long(), torch.ones(1, 41).bool())
    _, cache = module.begin(torch.ones(1, 40).long(), torch.ones(1, 40).bool())
    with pytest.raises(ValueError, match="41 tokens, but there are 40"):
        module.extend(torch.ones(1, 1).long(), cache)
