"""What the image networks promise beyond the parity of their checkpoints."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seesay.networks.resnet import ResNet, ResNetConfig
from seesay.networks.vit import AttentionPooling, ViT, VitConfig, resample_positions

VIT = VitConfig(
    image_size=(24, 40), patch_size=8, width=20, depth=2, num_heads=2, mlp_width=30, eps=1e-6
)
RESNET = ResNetConfig(image_size=(64, 64), depths=(1, 2, 1, 1), width=8, num_heads=4)


def test_images_need_not_be_square() -> None:
    torch.manual_seed(0)
    network = ViT(VIT).eval()
    assert network.position_embedding.shape == (1 + 3 * 5, 20)
    assert network(torch.randn(2, 3, 24, 40)).shape == (2, 16, 20)
    assert network(torch.randn(2, 3, 40, 24)).shape == (2, 16, 20)
    # the same number of patches in another arrangement must not read the same positions
    assert not torch.equal(network.positions(5, 3), network.positions(3, 5))


@pytest.mark.parametrize("facts", [{}, {"pre_norm": True, "patch_bias": False}])
def test_published_facts_decide_which_parameters_there_are(facts: dict[str, bool]) -> None:
    names = dict(
        ViT(
            VitConfig(patch_size=8, width=20, depth=1, num_heads=2, mlp_width=30, **facts)
        ).named_parameters()
    )
    assert ("patch_embedding.bias" in names) is not bool(facts)
    assert ("pre_norm.weight" in names) is bool(facts)


def test_resampling_keeps_the_class_position_and_smooth_maps() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    table = torch.cat([torch.tensor([[9.0, 9.0]]), torch.stack([rows, columns], -1).flatten(0, 1)])
    larger = resample_positions(table, (6, 8), (12, 16))
    assert larger.shape == (1 + 12 * 16, 2)
    assert larger[0].tolist() == [9, 9]
    inside = larger[1:].view(12, 16, 2)[3:-3, 3:-3]  # away from the border it is close to linear
    expected = (torch.arange(3, 9) + 0.5) / 2 - 0.5
    torch.testing.assert_close(inside[:, 0, 0], expected, atol=0.06, rtol=0)
    same = resample_positions(table, (6, 8), (6, 8))
    torch.testing.assert_close(same, table)


def test_a_network_without_a_class_token_has_patches_alone() -> None:
    torch.manual_seed(0)
    network = ViT(dataclasses.replace(VIT, class_token=False)).eval()
    assert "class_embedding" not in dict(network.named_parameters())
    assert network.position_embedding.shape == (3 * 5, 20)
    assert network(torch.randn(2, 3, 24, 40)).shape == (2, 15, 20)
    assert network(torch.randn(2, 3, 40, 48)).shape == (2, 30, 20)
    pooling = AttentionPooling(network.config).eval()
    tokens = network(torch.randn(2, 3, 24, 40))
    assert pooling(tokens).shape == (2, 20)
    # patches have told their place already: the pooling itself does not see their order
    torch.testing.assert_close(pooling(tokens), pooling(tokens.flip(1)), atol=1e-5, rtol=1e-5)


def test_bilinear_positions_of_a_coarser_grid_average_the_table() -> None:
    table = torch.zeros(8 * 8, 1)
    table[::2] = 1.0  # stripes, of which every second column is left
    halved = resample_positions(table, (8, 8), (4, 4), "bilinear").view(4, 4)
    torch.testing.assert_close(halved[:, 1:3], torch.full((4, 2), 0.5))
    assert float((halved - 0.5).abs().max()) < 0.1  # at the border there is less to average
    same = resample_positions(table, (8, 8), (8, 8), "bilinear")
    torch.testing.assert_close(same, table)


def test_a_resnet_takes_other_sizes_and_shows_its_last_stage() -> None:
    torch.manual_seed(0)
    network = ResNet(RESNET, out_width=12).eval()
    assert network.features(torch.randn(2, 3, 64, 96)).shape == (2, 256, 2, 3)
    assert network(torch.randn(2, 3, 64, 96)).shape == (2, 12)


def test_a_fresh_resnet_block_is_its_shortcut() -> None:
    torch.manual_seed(0)
    block = ResNet(RESNET, out_width=12).eval().stages[1][1]
    x = torch.rand(1, 64, 4, 4)
    torch.testing.assert_close(block(x), x)
