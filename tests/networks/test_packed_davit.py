"""DaViT packed for inference computes what it did, for any image, and leaves its input alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from seesay.errors import UsageError
from seesay.networks import packed_davit
from seesay.networks.davit import Davit, DavitConfig
from seesay.networks.packed_davit import PackedHalf
from seesay.nn.packed import pack, plain

CONFIG = DavitConfig(
    image_size=(96, 96),
    widths=(8, 12, 16, 24),
    depths=(1, 1, 2, 1),
    num_heads=(2, 3, 2, 4),
    num_groups=(1, 2, 4, 3),
    window_size=3,
)
SIZES = {"whole windows": (96, 96), "filled up": (52, 90), "one token": (20, 20)}


def network(dtype: torch.dtype = torch.float32) -> Davit:
    generator = torch.Generator().manual_seed(0)
    davit = Davit(CONFIG).eval().requires_grad_(False)
    for parameter in davit.parameters():
        scale = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.normal_(generator=generator).mul_(scale)
    return davit.to(dtype)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.fixture(params=[True, False], ids=["onednn", "without onednn"])
def either_build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(plain, "has_onednn", lambda: False)


@pytest.mark.usefixtures("either_build")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
class TestSameResults:
    def test_in_fp32(self, size: tuple[int, int]) -> None:
        davit, pixels = network(), noise(3, 3, *size)
        torch.testing.assert_close(pack(copy.deepcopy(davit))(pixels), davit(pixels))

    def test_in_bf16_as_close_to_fp32_as_before(self, size: tuple[int, int]) -> None:
        exact = network()(noise(3, 3, *size).bfloat16().float())
        davit, pixels = network(torch.bfloat16), noise(3, 3, *size, dtype=torch.bfloat16)
        before = (davit(pixels).float() - exact).norm()
        after = (pack(copy.deepcopy(davit))(pixels).float() - exact).norm()
        assert after < 1.3 * before
        assert after < 0.05 * exact.norm()


def test_alone_as_in_a_batch() -> None:
    packed, pixels = pack(network()), noise(3, 3, 96, 96)
    alone = torch.cat([packed(image[None]) for image in pixels])
    torch.testing.assert_close(packed(pixels), alone)


def test_rows_of_tokens_that_are_cut_anywhere_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed, pixels = pack(network()), noise(2, 3, 96, 96)
    whole = packed(pixels)
    monkeypatch.setattr(packed_davit, "ROWS", 5)
    torch.testing.assert_close(packed(pixels), whole)


def test_pixels_and_maps_are_left_alone() -> None:
    packed, pixels = pack(network()), noise(2, 3, 96, 96)
    before = pixels.clone()
    packed(pixels)
    assert torch.equal(pixels, before)
    half = packed.stages[0].blocks[0].spatial
    assert isinstance(half, PackedHalf)
    x = noise(2, 6, 6, 8)
    before = x.clone()
    half(x)
    assert torch.equal(x, before)


def test_nothing_is_left_that_could_be_trained() -> None:
    packed = pack(network())
    kinds = {type(part) for part in packed.modules()}
    assert not kinds & {nn.Linear, nn.Conv2d}
    with pytest.raises(UsageError, match="cannot be trained"):
        packed.train()
