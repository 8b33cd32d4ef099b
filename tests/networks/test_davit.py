"""DaViT: windows that are filled up, channels that look at each other, norms before or after."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seesay.families.florence2.configs import tiny
from seesay.networks.davit import ChannelAttention, Davit, WindowAttention


def drawn(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


@pytest.mark.parametrize("size", [(64, 64), (97, 41), (32, 120)])
def test_the_configuration_tells_the_map_of_any_image(size: tuple[int, int]) -> None:
    config = tiny().image
    module = drawn(Davit(config))
    with torch.no_grad():
        found = module(torch.randn(2, 3, *size))
    assert found.shape == (2, *config.grid(*size), config.widths[-1])


def test_zeros_that_fill_a_window_up_are_attended_to() -> None:
    torch.manual_seed(0)
    module = drawn(WindowAttention(8, 2, 4))
    x = torch.randn(1, 3, 3, 8)
    padded = torch.zeros(1, 16, 8)
    padded[0].view(4, 4, 8)[:3, :3] = x[0]
    query, key, value = (
        p(padded).view(16, 2, 4).transpose(0, 1)
        for p in (module.q_proj, module.k_proj, module.v_proj)
    )
    weights = (query @ key.transpose(1, 2) / 2).softmax(-1)
    expected = module.out_proj((weights @ value).transpose(0, 1).reshape(4, 4, 8))[:3, :3]
    with torch.no_grad():
        torch.testing.assert_close(module(x)[0], expected, atol=1e-5, rtol=1e-5)


def test_channels_attend_with_a_scale_of_the_number_of_tokens() -> None:
    torch.manual_seed(0)
    module = drawn(ChannelAttention(6, 2))
    x = torch.randn(1, 2, 5, 6)
    tokens = x.view(10, 6)
    query, key, value = (p(tokens) for p in (module.q_proj, module.k_proj, module.v_proj))
    groups = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = ((query[:, part].T @ key[:, part]) * 10**-0.5).softmax(-1)  # [c, c]
        groups.append((weights @ value[:, part].T).T)
    expected = module.out_proj(torch.cat(groups, 1)).view(1, 2, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)


def test_the_first_stage_is_normalised_after_its_convolution_and_others_before() -> None:
    module = Davit(tiny().image)
    widths = [stage.embedding.norm.normalized_shape[0] for stage in module.stages]
    assert widths == [8, 8, 12, 16]  # 8 -> 12 -> 16 -> 24


def test_settings_that_do_not_cover_all_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="4 stages"):
        dataclasses.replace(tiny().image, strides=(4, 2, 2))
