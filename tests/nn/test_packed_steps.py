"""8-bit weights for the steps of a generator: close, each row for itself, and refused in time."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import seesay
from seesay.errors import UsageError
from seesay.generation import Options, decode
from seesay.model import Model, pack
from seesay.nn.packed import dynamic, plain
from seesay.nn.packed.dynamic import DynamicLinear
from seesay.nn.packed.plain import PackedLinear
from seesay.types import Prompt

pytestmark = pytest.mark.skipif(not dynamic.can_quantise(), reason="this torch multiplies no bytes")
WRITERS = ("blip-tiny-captioning", "blip-tiny-vqa", "florence2-tiny")


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(bias: bool = True, activation: str | None = None, width: int = 96) -> PackedLinear:
    return PackedLinear(noise(width, 64) / 8, noise(width, seed=2) if bias else None, activation)


def writer(name: str, dtype: str = "float32") -> Model:
    """A generator with larger weights than fresh ones, which write one word for ever."""
    model = seesay.create(name, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    model.module.eval().requires_grad_(False)
    for parameter in model.module.parameters():
        if parameter.ndim > 1:
            parameter.normal_(generator=generator).mul_(parameter[0].numel() ** -0.5)
    return model


def prompt(model: Model, count: int = 3) -> Prompt:
    prefix, ids = torch.full((count, 1), 2), torch.arange(5, 12).expand(count, -1)
    return Prompt(
        noise(count, 3, 64, 64).to(model.dtype),
        prefix,
        torch.ones_like(prefix).bool(),
        ids,
        torch.ones_like(ids).bool(),
    )


class TestLayer:
    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("activation", [None, "gelu"])
    def test_close_to_what_it_replaces(self, bias: bool, activation: str | None) -> None:
        exact, x = layer(bias, activation), noise(2, 5, 64) * 3
        found = DynamicLinear(exact)(x)
        assert found.shape == (2, 5, 96)
        assert F.cosine_similarity(found, exact(x), dim=-1).min() > 0.9995

    def test_bf16_in_and_out(self) -> None:
        exact = PackedLinear(noise(96, 64).bfloat16(), noise(96).bfloat16())
        found = DynamicLinear(exact)(noise(4, 64).bfloat16())
        assert found.dtype == torch.bfloat16

    def test_a_row_does_not_depend_on_those_beside_it(self) -> None:
        quantised, x = DynamicLinear(layer(width=700)), noise(40, 64)
        x[::3] *= 100  # loud company
        whole = quantised(x)
        for count in (1, 3, 12, 17):
            parts = torch.cat([quantised(rows) for rows in x.split(count)])
            assert torch.equal(parts, whole)

    def test_a_row_of_zeros_gives_the_bias(self) -> None:
        quantised, x = DynamicLinear(layer()), noise(3, 64)
        x[1] = 0
        assert torch.equal(quantised(x)[1], noise(96, seed=2))

    def test_no_rows(self) -> None:
        assert DynamicLinear(layer())(noise(0, 64)).shape == (0, 96)

    def test_a_number_that_is_none_stays_none(self) -> None:
        x = noise(2, 64)
        x[1, 5] = torch.nan
        found = DynamicLinear(layer())(x)
        assert found[1].isnan().all()
        assert not found[0].isnan().any()

    def test_adds_to_a_stream(self) -> None:
        quantised, x, stream = DynamicLinear(layer()), noise(3, 64), noise(3, 96)
        torch.testing.assert_close(quantised.add_to(stream, x), stream + quantised(x))

    def test_scores_of_a_vocabulary_come_in_fp32(self) -> None:
        exact = PackedLinear(noise(700, 64).bfloat16(), None)
        assert DynamicLinear(exact)(noise(2, 64).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", WRITERS)
class TestWriters:
    def test_only_what_a_step_runs_through_is_quantised(self, name: str) -> None:
        model = writer(name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pack(model, int8=True)
        kinds: dict[str, set[type]] = {}
        for path, part in model.module.named_modules():
            if isinstance(part, DynamicLinear | PackedLinear):
                once = path.startswith(("image", "projector", "encoder", "text.encoder"))
                place = "read once" if once else path.split(".")[-1]
                kinds.setdefault(place, set()).add(type(part))
        assert kinds.pop("read once") == {PackedLinear}
        assert kinds.pop("kv_proj") == {PackedLinear}  # of the image, read once as well
        assert all(types == {DynamicLinear} for types in kinds.values())

    def test_the_likeliest_tokens_stay(self, name: str) -> None:
        exact, model = writer(name), writer(name)
        pack(model, int8=True)
        asked = prompt(model)
        texts = [row[0].ids for row in decode(exact.module, asked, Options(), end_ids=())]
        prefix = torch.cat([asked.prefix, torch.tensor(texts)], 1)
        asked = asked._replace(prefix=prefix, prefix_mask=torch.ones_like(prefix).bool())
        with torch.no_grad():
            wanted, found = exact.module(asked), model.module(asked)
        assert F.cosine_similarity(found, wanted, dim=-1).min() > 0.995
        assert (found.argmax(-1) == wanted.argmax(-1)).float().mean() > 0.85

    def test_a_text_is_the_same_alone_and_in_a_batch(self, name: str) -> None:
        model = writer(name)
        pack(model, int8=True)
        asked, options = prompt(model), Options(num_beams=3, max_new_tokens=8)
        together = decode(model.module, asked, options, end_ids=())
        for i, texts in enumerate(together):
            one = Prompt(*(None if part is None else part[i : i + 1] for part in asked))
            alone = decode(model.module, one, options, end_ids=())[0]
            assert [text.ids for text in alone] == [text.ids for text in texts]


class TestWhatIsNotQuantised:
    def test_a_layer_that_bytes_would_change(self) -> None:
        model = writer("blip-tiny-captioning")
        mlp = model.module.text.layers[0].mlp
        # one hidden unit a thousand times louder than the others takes all the steps
        mlp.fc1.weight[0] *= 1000
        mlp.fc2.weight[:, 0] /= 1000
        pack(model, int8=True)
        first, *others = (layer.mlp for layer in model.module.text.layers)
        assert type(first.fc2) is PackedLinear
        assert {type(other.fc2) for other in others} == {DynamicLinear}

    def test_a_model_that_bytes_would_change(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dynamic, "SCORES_COSINE", 1.1)
        with pytest.raises(UsageError, match=r"scores of tokens too much.*\n.*optimize=True"):
            pack(writer("blip-tiny-captioning"), int8=True)

    def test_anything_where_the_operators_are_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dynamic, "can_quantise", lambda: False)
        model = writer("blip-tiny-captioning")
        with pytest.warns(UserWarning, match="int8 applies to nothing here"):
            pack(model, int8=True)
        assert not any(isinstance(part, DynamicLinear) for part in model.module.modules())


def test_the_weight_of_a_packed_layer_can_be_had_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        weight = noise(17, 33).to(dtype)
        assert torch.equal(PackedLinear(weight, None).plain_weight(), weight)
    monkeypatch.setattr(plain, "has_onednn", lambda: False)
    assert torch.equal(PackedLinear(weight, None).plain_weight(), weight)
