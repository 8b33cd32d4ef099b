"""Packed modules compute what the plain ones do, and say clearly what they cannot."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.errors import UsageError
from seesay.networks.vit import AttentionPooling, ViT, VitConfig
from seesay.nn.attention import MultiHeadAttention
from seesay.nn.blocks import PreNormBlock
from seesay.nn.masks import causal, padding
from seesay.nn.mlp import ACTIVATIONS, Mlp
from seesay.nn.packed import pack, plain, quantised
from seesay.nn.patches import PatchEmbedding

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
DTYPES = list(TOLERANCE)


def redrawn(module: nn.Module, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """The module with every parameter random, so that a swapped or forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        scale = 0.2 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
        parameter.data.normal_(generator=generator).mul_(scale)
    for norm in module.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.weight.data += 1
    return module.eval().requires_grad_(False).to(dtype)


def tower(activation: str = "quick_gelu", width: int = 64, patch_bias: bool = False) -> ViT:
    return ViT(
        VitConfig(
            image_size=(32, 32),
            patch_size=8,
            width=width,
            depth=2,
            num_heads=4,
            mlp_width=120,
            activation=activation,
            pre_norm=True,
            patch_bias=patch_bias,
        )
    )


class Encoder(nn.Module):
    """The smallest thing with an image tower and a block outside it."""

    def __init__(self) -> None:
        super().__init__()
        self.image = tower(width=128)
        self.project = nn.Linear(128, 48, bias=False)
        self.text = PreNormBlock(24, 3, 40, "gelu")

    def encode_image(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.image(pixels)
        return tokens

    def embed_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.project(self.encode_image(pixels)[:, 0]), dim=-1)


def noise(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def agree(packed: Tensor, wanted: Tensor) -> None:
    assert packed.shape == wanted.shape
    assert packed.dtype == wanted.dtype
    error = (packed.float() - wanted.float()).norm() / wanted.float().norm().clamp_min(1e-9)
    assert error < TOLERANCE[wanted.dtype], f"relative error {error:.2e}"


@pytest.fixture(params=[True, False], ids=["onednn", "without onednn"])
def either_build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(plain, "has_onednn", lambda: False)
        monkeypatch.setattr(quantised, "has_onednn", lambda: False)


@pytest.mark.usefixtures("either_build")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
class TestSameResults:
    @pytest.mark.parametrize("bias", [True, False])
    def test_linear(self, dtype: torch.dtype, bias: bool) -> None:
        layer = redrawn(nn.Linear(33, 17, bias=bias), dtype)
        packed = pack(copy.deepcopy(layer))
        assert isinstance(packed, plain.PackedLinear)
        for shape in ((33,), (5, 33), (2, 3, 33), (0, 33)):
            agree(packed(noise(*shape, dtype=dtype)), layer(noise(*shape, dtype=dtype)))

    @pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
    def test_feed_forward(self, dtype: torch.dtype, activation: str) -> None:
        mlp = redrawn(Mlp(48, 100, activation), dtype)
        x = noise(3, 7, 48, dtype=dtype) * 3
        agree(pack(copy.deepcopy(mlp))(x), mlp(x))

    @pytest.mark.parametrize("case", ["itself", "masked", "source"])
    def test_attention(self, dtype: torch.dtype, case: str) -> None:
        layer = redrawn(MultiHeadAttention(48, 4, out_width=20), dtype)
        packed = pack(copy.deepcopy(layer))
        x, source, mask = noise(2, 6, 48, dtype=dtype), None, None
        if case == "masked":
            mask = causal(6) & padding(torch.arange(6) < torch.tensor([[6], [4]]))
        if case == "source":
            source = noise(2, 9, 48, dtype=dtype, seed=2)
        agree(packed(x, mask, source), layer(x, mask, source))

    def test_block_leaves_its_input_alone(self, dtype: torch.dtype) -> None:
        block = redrawn(PreNormBlock(48, 4, 100, "quick_gelu"), dtype)
        packed = pack(copy.deepcopy(block))
        x = noise(6, 2, 48, dtype=dtype).transpose(0, 1)
        before = x.clone()
        agree(packed(x, causal(6)), block(x, causal(6)))
        assert torch.equal(x, before)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
    def test_patches_of_any_picture(
        self, dtype: torch.dtype, bias: bool, layout: torch.memory_format
    ) -> None:
        patches = redrawn(PatchEmbedding(3, 20, 4, bias), dtype)
        packed = pack(copy.deepcopy(patches))
        assert isinstance(packed, plain.PackedPatches)
        pixels = noise(2, 3, 19, 22, dtype=dtype).contiguous(memory_format=layout)
        agree(packed(pixels), patches(pixels))

    @pytest.mark.parametrize("relu6", [True, False])
    @pytest.mark.parametrize("groups", [1, 8])
    def test_convolution_with_its_clamp(self, dtype: torch.dtype, relu6: bool, groups: int) -> None:
        conv = redrawn(nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups), dtype)
        x = (noise(2, 8, 9, 11, dtype=dtype) * 8).contiguous(memory_format=torch.channels_last)
        wanted = F.relu6(conv(x)) if relu6 else conv(x)
        agree(plain.PackedConv(conv, relu6)(x), wanted)

    @pytest.mark.parametrize("activation", list(ACTIVATIONS))
    def test_tower(self, dtype: torch.dtype, activation: str) -> None:
        vit = redrawn(tower(activation, patch_bias=activation == "gelu"), dtype)
        packed = pack(copy.deepcopy(vit))
        pixels = noise(3, 3, 32, 32, dtype=dtype)
        wanted, got = vit(pixels), packed(pixels)
        agree(got, wanted)
        cosines = F.cosine_similarity(got[:, 0].float(), wanted[:, 0].float())
        assert cosines.min() > 0.9999

    def test_attention_pooling(self, dtype: torch.dtype) -> None:
        pooling = redrawn(AttentionPooling(tower("gelu_tanh").config), dtype)
        tokens = noise(3, 17, 64, dtype=dtype)
        agree(pack(copy.deepcopy(pooling))(tokens), pooling(tokens))


def test_an_image_gets_one_vector_however_batched() -> None:
    encoder = pack(redrawn(Encoder()))
    pixels = noise(5, 3, 32, 32)
    together = encoder.embed_image(pixels)
    alone = torch.cat([encoder.embed_image(p[None]) for p in pixels])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_a_layer_used_twice_is_packed_once() -> None:
    layer = nn.Linear(8, 8)
    packed = pack(nn.Sequential(layer, nn.ReLU(), layer))
    assert packed[0] is packed[2]


def test_a_subclass_with_its_own_forward_is_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    module = redrawn(nn.Sequential(Doubled(8, 8)))
    x = noise(3, 8)
    wanted = module(x)
    agree(pack(module)(x), wanted)


def test_an_adapter_in_a_block_is_not_lost() -> None:
    class Adapted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    block = redrawn(PreNormBlock(24, 3, 40, "gelu"))
    adapted = redrawn(Adapted(24, 24))
    adapted.load_state_dict(block.attention.v_proj.state_dict())
    block.attention.v_proj = adapted
    x = noise(2, 5, 24)
    wanted = block(x)
    agree(pack(block)(x), wanted)


def test_an_activation_without_an_operator_is_applied_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(plain.ACTIVATIONS, "sine", torch.sin)
    monkeypatch.setitem(plain._ACTIVATIONS, "sine", torch.sin)
    mlp = redrawn(Mlp(24, 40, "sine"))
    x = noise(2, 5, 24)
    agree(pack(copy.deepcopy(mlp))(x), mlp(x))


def test_a_module_can_say_how_it_is_packed() -> None:
    class Own(nn.Module):
        def packed(self) -> nn.Module:
            return nn.Identity()

    assert isinstance(pack(nn.Sequential(Own()))[0], nn.Identity)


def test_threads_share_a_packed_module() -> None:
    encoder, pixels = pack(redrawn(Encoder())), noise(4, 3, 32, 32)
    wanted = encoder.embed_image(pixels)
    results: list[Tensor] = []

    def work() -> None:
        with torch.inference_mode():
            results.extend(encoder.embed_image(pixels) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 15
    assert all(torch.equal(result, wanted) for result in results)


class TestRefusals:
    @pytest.fixture(params=[False, True], ids=["plain", "int8"])
    def packed(self, request: pytest.FixtureRequest) -> nn.Module:
        return pack(redrawn(Encoder()), int8=request.param)

    def test_training(self, packed: nn.Module) -> None:
        with pytest.raises(UsageError, match="cannot be trained"):
            packed.train()
        packed.eval()

    def test_saving(self, packed: nn.Module) -> None:
        with pytest.raises(UsageError, match="cannot be saved"):
            packed.state_dict()

    def test_loading(self, packed: nn.Module) -> None:
        with pytest.raises(UsageError, match="cannot be loaded into"):
            packed.load_state_dict(Encoder().state_dict())

    def test_moving(self, packed: nn.Module) -> None:
        with pytest.raises(UsageError, match="cannot be moved"):
            packed.to(torch.float64)
        packed.to("cpu", torch.float32)

    def test_gradients(self, packed: nn.Module) -> None:
        with pytest.raises(UsageError, match="cannot be differentiated"):
            packed.embed_image(noise(1, 3, 32, 32).requires_grad_())


@pytest.mark.skipif(not quantised.can_quantise(), reason="this torch multiplies no bytes")
class TestInt8:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_vectors_stay_close(self, dtype: torch.dtype) -> None:
        encoder = redrawn(Encoder(), dtype)
        packed = pack(copy.deepcopy(encoder), int8=True)
        blocks = [type(block) for block in packed.image.blocks]
        assert blocks == [quantised.QuantisedBlock] * 2
        pixels = noise(6, 3, 32, 32, dtype=dtype)
        wanted, got = encoder.embed_image(pixels), packed.embed_image(pixels)
        assert got.dtype == dtype
        assert F.cosine_similarity(got.float(), wanted.float()).min() > 0.999

    def test_an_image_gets_one_vector_however_batched(self) -> None:
        packed = pack(redrawn(Encoder()), int8=True)
        pixels = noise(5, 3, 32, 32)
        together = packed.embed_image(pixels)
        alone = torch.cat([packed.embed_image(p[None]) for p in pixels])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)

    def test_what_pictures_do_not_reach_keeps_its_precision(self) -> None:
        assert isinstance(pack(redrawn(Encoder()), int8=True).text, plain.PackedBlock)

    def test_a_block_that_bytes_would_change_keeps_its_precision(self) -> None:
        encoder = redrawn(Encoder())
        mlp = encoder.image.blocks[0].mlp
        # one hidden unit a thousand times louder than the others takes all the steps
        mlp.fc1.weight[0] *= 1000
        mlp.fc2.weight[:, 0] /= 1000
        packed = pack(copy.deepcopy(encoder), int8=True)
        kinds = [type(block) for block in packed.image.blocks]
        assert kinds == [plain.PackedBlock, quantised.QuantisedBlock]
        pixels = noise(4, 3, 32, 32)
        cosines = F.cosine_similarity(packed.embed_image(pixels), encoder.embed_image(pixels))
        assert cosines.min() > 0.999

    def test_a_model_that_bytes_would_change_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = redrawn(Encoder())
        for block in encoder.image.blocks:
            block.mlp.fc1.weight[0] *= 1000
            block.mlp.fc2.weight[:, 0] /= 1000
        monkeypatch.setattr(quantised, "BLOCK_COSINE", -1.0)
        with pytest.raises(
            UsageError, match=r"features too much: cosine 0\.\d+.*\n.*optimize=True"
        ):
            pack(encoder, int8=True)

    def test_packing_twice_gives_the_same_vectors(self) -> None:
        first, second = (pack(redrawn(Encoder()), int8=True) for _ in range(2))
        pixels = noise(2, 3, 32, 32)
        assert torch.equal(first.embed_image(pixels), second.embed_image(pixels))

    def test_without_the_operators_blocks_are_packed_in_full_precision(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quantised, "can_quantise", lambda: False)
        packed = pack(redrawn(Encoder()), int8=True)
        assert all(type(block) is plain.PackedBlock for block in packed.image.blocks)
