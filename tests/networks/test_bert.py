"""BERT with cross-attention against definitions, and against transformers' encoder."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nn.test_cache import SIZES, redrawn
from seesay.networks.bert import Bert, LanguageHead, TwinAttention
from seesay.nn.attention import SourceAttention
from seesay.nn.packed import pack

WHOLE = torch.ones(2, 5).bool()


def asked() -> tuple[Tensor, Tensor]:
    """Ids [2, 5] and a source [2, 6, 10]."""
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(50, (2, 5), generator=generator)
    return ids, torch.randn(2, 6, 10, generator=generator)


def by_definition(layer: SourceAttention, x: Tensor, source: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V, head by head, in float64."""
    query, key, value = (
        F.linear(t.double(), p.weight.double(), p.bias.double())
        for t, p in ((x, layer.q_proj), (source, layer.k_proj), (source, layer.v_proj))
    )
    width = query.shape[-1] // layer.num_heads
    found = []
    for head in range(layer.num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[..., part] @ key[..., part].transpose(-1, -2) / width**0.5
        found.append(scores.softmax(-1) @ value[..., part])
    out = layer.out_proj
    return F.linear(torch.cat(found, -1), out.weight.double(), out.bias.double())


def test_cross_attention_is_its_definition() -> None:
    layer = SourceAttention(12, 3, 10).requires_grad_(False)
    x, source = torch.randn(2, 5, 12), torch.randn(2, 6, 10)
    expected = by_definition(layer, x, source)
    torch.testing.assert_close(
        layer(x, layer.read(source)).double(), expected, atol=1e-6, rtol=1e-5
    )


def test_several_texts_of_one_source_equal_one_by_one() -> None:
    module = redrawn()
    ids, source = asked()
    together = module(ids, WHOLE, source[:1])
    for row in range(2):
        single = module(ids[row : row + 1], WHOLE[:1], source[:1])
        torch.testing.assert_close(together[row], single[0], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing_whichever_way_it_reads() -> None:
    module = redrawn()
    ids, source = asked()
    longer = F.pad(ids, (0, 3), value=49), F.pad(WHOLE, (0, 3))
    seen = torch.tensor([[1, 1, 1, 1, 0, 0]] * 2).bool()
    for causal in (False, True):
        plain = module(ids, WHOLE, source[:, :4], causal=causal)
        padded = module(*longer, source, seen, causal=causal)
        torch.testing.assert_close(padded[:, :5], plain, atol=1e-5, rtol=1e-5)


def test_causal_reading_sees_nothing_that_comes() -> None:
    module = redrawn()
    ids, source = asked()
    other = ids.clone()
    other[:, 3:] = (other[:, 3:] + 1) % 50
    before, after = (module(some, WHOLE, source, causal=True) for some in (ids, other))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3:], after[:, 3:])


def test_two_ways_share_all_but_self_attention() -> None:
    module = redrawn(dataclasses.replace(SIZES, two_way=True))
    ids, source = asked()
    module.requires_grad_(True)
    for causal in (False, True):
        module.zero_grad(set_to_none=True)
        module(ids, WHOLE, source, causal=causal).square().sum().backward()
        unused = {name for name, p in module.named_parameters() if p.grad is None}
        own = ".attention" if causal else ".causal_attention"
        assert unused
        assert all(own in name for name in unused)


def test_twin_attention_averages_low_and_merges_high() -> None:
    module = redrawn(dataclasses.replace(SIZES, sources=2))
    low, high = (layer.cross_attention for layer in module.layers)
    assert isinstance(low, TwinAttention)
    assert isinstance(high, TwinAttention)
    x, source = torch.randn(2, 5, 12), torch.randn(2, 2, 6, 10)
    for layer in (low, high):
        parts = [by_definition(layer.first, x, source[:, 0])]
        parts.append(by_definition(layer.second, x, source[:, 1]))
        if layer.merge is None:
            expected = sum(parts) / 2
        else:
            weight, bias = layer.merge.weight.double(), layer.merge.bias.double()
            expected = F.linear(torch.cat(parts, -1), weight, bias)
        found = layer(x, layer.read(source)).double()
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert low.merge is None
    assert high.merge is not None


def test_the_head_follows_the_table_when_weights_are_assigned() -> None:
    module = redrawn()
    head = LanguageHead(module)
    both = nn.ModuleDict({"text": module, "head": head})
    assert sum(value.shape == (50, 12) for value in both.state_dict().values()) == 1
    state = {name: torch.randn_like(value) for name, value in both.state_dict().items()}
    both.load_state_dict(state, assign=True)
    x = torch.randn(3, 12)
    hidden = F.gelu(F.linear(x, state["head.transform.weight"], state["head.transform.bias"]))
    hidden = F.layer_norm(hidden, (12,), state["head.norm.weight"], state["head.norm.bias"], 1e-6)
    expected = hidden @ state["text.token_embedding.weight"].T + state["head.bias"]
    torch.testing.assert_close(head(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"sources": 2}, {"two_way": True}, {"token_width": 8}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_it_computes_the_same(changes: dict[str, int], dtype: torch.dtype) -> None:
    module = redrawn(dataclasses.replace(SIZES, **changes)).to(dtype)
    head = LanguageHead(module).to(dtype).eval().requires_grad_(False)
    ids, source = asked()
    source = source.to(dtype)
    if "sources" in changes:
        source = torch.stack([source, source.flip(1)], 1)
    exact = head(module(ids, WHOLE, source, causal=True))
    both = pack(nn.ModuleDict({"text": module, "head": head}))
    quick = both["head"](both["text"](ids, WHOLE, source, causal=True))  # type: ignore[index]
    cosine = F.cosine_similarity(quick.double().flatten(0, 1), exact.double().flatten(0, 1), dim=-1)
    assert float(cosine.min()) > (0.999 if dtype == torch.bfloat16 else 0.999999)
    last, cache = both["text"].begin(ids, WHOLE, source)  # type: ignore[index]
    again = both["text"].extend(ids[:, :1], cache)  # type: ignore[index]
    longer = torch.cat([ids, ids[:, :1]], 1), torch.ones(2, 6).bool()
    full = both["text"](*longer, source, causal=True)  # type: ignore[index]
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(last, full[:, 4], atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(again[:, 0], full[:, 5], atol=tolerance, rtol=tolerance)


def test_it_computes_what_transformers_bert_computes() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
        layer_norm_eps=1e-6,
    )
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval().requires_grad_(False)
    ours = Bert(dataclasses.replace(SIZES, source_width=None)).eval().requires_grad_(False)
    names = {
        "token_embedding.weight": "embeddings.word_embeddings.weight",
        "position_embedding": "embeddings.position_embeddings.weight",
        "embedding_norm": "embeddings.LayerNorm",
    }
    parts = {
        "attention.q_proj": "attention.self.query",
        "attention.k_proj": "attention.self.key",
        "attention.v_proj": "attention.self.value",
        "attention.out_proj": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "mlp_norm": "output.LayerNorm",
    }
    state = theirs.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.normal_(std=0.3)
    state["embeddings.token_type_embeddings.weight"].zero_()  # which BLIP's text network lacks
    theirs.load_state_dict(state)
    filled = {}
    for name, value in ours.state_dict().items():
        if name in names:
            filled[name] = state[names[name]]
        elif name.startswith("embedding_norm"):
            filled[name] = state[name.replace("embedding_norm", names["embedding_norm"])]
        else:
            _, layer, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            filled[name] = state[f"encoder.layer.{layer}.{parts[part]}.{kind}"]
        assert filled[name].shape == value.shape
    ours.load_state_dict(filled)
    ids, _ = asked()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    found, expected = ours(ids, mask), theirs(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_dropout_is_for_training_alone() -> None:
    module = redrawn(dataclasses.replace(SIZES, dropout=0.5))
    ids, source = asked()
    assert torch.equal(module(ids, WHOLE, source), module(ids, WHOLE, source))
    module.train()
    assert not torch.equal(module(ids, WHOLE, source), module(ids, WHOLE, source))
