"""What the Swin network promises beyond the parity with transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from seesay.networks.swin import Swin, SwinConfig, window_of
from seesay.nn.droppath import set_drop_path

CONFIG = SwinConfig(
    image_size=(48, 48), width=12, depths=(2, 2, 2), num_heads=(3, 2, 4), window_size=3
)


def network(**fields: object) -> Swin:
    torch.manual_seed(0)
    made = Swin(replace(CONFIG, **fields))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("position_bias"):
                parameter.normal_()
    return made.eval()


@pytest.mark.parametrize("size", [(48, 48), (4, 4), (9, 70), (30, 22), (1, 1)])
def test_images_of_any_size_are_read_and_alone_as_in_a_batch(size: tuple[int, int]) -> None:
    swin = network()
    pixels = torch.randn(3, 3, *size)
    with torch.no_grad():
        found = swin(pixels)
        alone = torch.cat([swin(image[None]) for image in pixels])
    rows, columns = (-(-side // 16) for side in size)
    assert found.shape == (3, 48, rows, columns)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def test_a_small_image_leaves_nothing_behind_for_the_next() -> None:
    """As it does in transformers, which goes on with the window it shrank to."""
    swin = network()
    pixels = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        before = swin(pixels)
        swin(torch.randn(1, 3, 20, 20))
        assert torch.equal(swin(pixels), before)


def test_maps_that_one_window_covers_are_not_shifted() -> None:
    assert window_of(CONFIG, 12, 9) == (3, 1)
    assert window_of(CONFIG, 12, 3) == (3, 0)
    assert window_of(CONFIG, 2, 9) == (2, 0)
    assert CONFIG.grids == [(12, 12), (6, 6), (3, 3)]
    assert replace(CONFIG, image_size=(50, 90)).grids == [(13, 23), (7, 12), (4, 6)]


def test_what_is_far_is_not_seen_by_one_pair_of_blocks() -> None:
    """A token of the first stage knows its window, and after the shift those around it."""
    swin = network(depths=(2,), num_heads=(3,))
    pixels = torch.randn(1, 3, 48, 48)
    other = pixels.clone()
    other[..., 47, 47] += 10
    with torch.no_grad():
        changed = (swin(pixels) != swin(other)).any(1)[0]
    assert changed[-1, -1]
    assert bool(changed[5:, 5:].sum() == changed.sum()), "it went further than two windows"
    assert not changed[0, 0], "it went around the border"


def test_stochastic_depth_needs_training_and_spares_the_first_block() -> None:
    plain, dropped = network(), network()
    assert set_drop_path(dropped, 0.5) == 6
    pixels = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(plain(pixels), dropped(pixels))
        dropped.train()
        assert not torch.equal(dropped(pixels), dropped(pixels))
    rates = [block.drop_path.rate for stage in dropped.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_last_stage_is_as_wide_as_the_configuration_says() -> None:
    assert network().final_norm.normalized_shape == (CONFIG.out_width,)
    with pytest.raises(ValueError, match="differ"):
        network(num_heads=(3, 2))


def test_weights_in_bfloat16_give_nearly_the_same() -> None:
    swin = network()
    pixels = torch.randn(2, 3, 40, 56)
    with torch.no_grad():
        exact = swin(pixels)
        rounded = swin.to(torch.bfloat16)(pixels.bfloat16())
    assert rounded.dtype is torch.bfloat16
    similar = torch.cosine_similarity(exact.flatten(1), rounded.float().flatten(1))
    assert float(similar.min()) > 0.99


def test_gradients_in_bfloat16_are_nearly_those_in_float32() -> None:
    """On processors a different way through attention is taken then."""
    exact, rounded = network(), network().to(torch.bfloat16)
    pixels = torch.randn(2, 3, 40, 56)
    weights = torch.randn(2, 48, 3, 4)
    (exact(pixels) * weights).sum().backward()
    (rounded(pixels.bfloat16()) * weights).sum().backward()
    for (name, a), b in zip(exact.named_parameters(), rounded.parameters(), strict=True):
        if not name.endswith("k_proj.bias"):  # softmax does not see it: zero but for rounding
            assert a.grad is not None
            assert b.grad is not None
            similar = torch.cosine_similarity(a.grad.flatten(), b.grad.float().flatten(), 0)
            assert float(similar) > 0.95, name
