"""Names of BLIP's tensors that its releases share: all of them name the text networks alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from seesay.checkpoints.keymap import Assumed, Drop, Rename, Reshape, Rule, Shared, Split
from seesay.families.blip.configs import BlipConfig

_QKV = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
_HEAD = "text_decoder.cls.predictions"
TEMPERATURE = 0.07
"""What a temperature begins with that is not stored."""


def vision_rules(width: int, top: dict[str, str], layer: str, parts: dict[str, str]) -> list[Rule]:
    """Return the rules of the vision transformer.

    Args:
        width: D.
        top: What lies outside the blocks: our names to theirs.
        layer: A block of theirs, with a hole `{i}`.
        parts: What lies in a block: our names to theirs.
    """
    block = "image.blocks.{i}"
    rules: list[Rule] = [
        Reshape((top["class"],), ("image.class_embedding",), into=(width,), back=(1, 1, width)),
        Reshape(
            (top["positions"],),
            ("image.position_embedding",),
            into=(-1, width),
            back=(1, -1, width),
        ),
        Rename(f"{top['patches']}.{{p}}", "image.patch_embedding.{p}"),
        Rename(f"{top['norm']}.{{p}}", "image.final_norm.{p}"),
        Split(
            f"{layer}.{parts['qkv']}.{{p}}",
            [f"{block}.attention.{part}.{{p}}" for part in _QKV.values()],
        ),
    ]
    named = {"attention.out_proj": "out", "attention_norm": "norm1", "mlp_norm": "norm2"}
    rules += [
        Rename(f"{layer}.{parts[theirs]}.{{p}}", f"{block}.{ours}.{{p}}")
        for ours, theirs in named.items()
    ]
    return [*rules, Rename(f"{layer}.mlp.{{part}}.{{p}}", f"{block}.mlp.{{part}}.{{p}}")]


def text_rules(config: BlipConfig, *, copies: bool) -> list[Rule]:
    """Return the rules of the text networks and of the head that writes.

    Args:
        config: Says which of them there are.
        copies: Whether tensors that are one are written under all the names they have.
    """
    kind, decoder = config.kind, ["text_decoder.bert"]
    if kind == "captioning":
        return [*_head("text", decoder, copies), *_text(decoder, "text")]
    if kind == "vqa":
        return [
            *_head("decoder", decoder, copies),
            *_text(decoder, "decoder"),
            *_text(["text_encoder"], "encoder"),
        ]
    if kind == "pretraining":
        both = ["text_encoder", *decoder]
        return [
            *_head("text", both, copies),
            *_attention("text_encoder", "attention", "attention"),
            *_attention("text_decoder.bert", "attention", "causal_attention"),
            *_text(both, "text"),
        ]
    twin = _twin() if kind == "nlvr" else []
    return [*twin, *_text(["text_encoder"], "text")]


def _head(text: str, networks: Sequence[str], copies: bool) -> list[Rule]:
    """The head that writes, whose last matrix is the token table of a network."""
    tables = [f"{name}.embeddings.word_embeddings.weight" for name in networks]
    tables.append(f"{_HEAD}.decoder.weight")
    biases = [f"{_HEAD}.bias", f"{_HEAD}.decoder.bias"]
    return [
        Shared(tables, f"{text}.token_embedding.weight", len(tables) if copies else 1),
        Shared(biases, "lm_head.bias", 2 if copies else 1),
        Rename(f"{_HEAD}.transform.dense.{{p}}", "lm_head.transform.{p}"),
        Rename(f"{_HEAD}.transform.LayerNorm.{{p}}", "lm_head.norm.{p}"),
    ]


def _text(networks: Sequence[str], ours: str) -> list[Rule]:
    """A text network; several names for one whose encoder and decoder share their tensors."""

    def one(theirs: str, mine: str) -> Rule:
        names = [f"{network}.{theirs}" for network in networks]
        mine = f"{ours}.{mine}"
        return Rename(names[0], mine) if len(names) == 1 else Shared(names, mine, len(names))

    layer, own = "encoder.layer.{i}", "layers.{i}"
    attentions = [("crossattention", "cross_attention")]
    if len(networks) == 1:
        attentions.append(("attention", "attention"))
    rules = [
        one("embeddings.word_embeddings.weight", "token_embedding.weight"),
        one("embeddings.position_embeddings.weight", "position_embedding"),
        one("embeddings.LayerNorm.{p}", "embedding_norm.{p}"),
        one(f"{layer}.intermediate.dense.{{p}}", f"{own}.mlp.fc1.{{p}}"),
        one(f"{layer}.output.dense.{{p}}", f"{own}.mlp.fc2.{{p}}"),
        one(f"{layer}.output.LayerNorm.{{p}}", f"{own}.mlp_norm.{{p}}"),
    ]
    for theirs, mine in attentions:
        rules += [one(f"{layer}.{name}", f"{own}.{n}") for name, n in _parts(theirs, mine).items()]
    why = "0, 1, 2 ...; older releases stored it"
    return [*rules, *(Drop(f"{network}.embeddings.position_ids", why) for network in networks)]


def _attention(network: str, theirs: str, ours: str) -> list[Rule]:
    """An attention that one of two networks has for itself."""
    named = _parts(theirs, ours).items()
    layer, own = f"{network}.encoder.layer.{{i}}", "text.layers.{i}"
    return [Rename(f"{layer}.{name}", f"{own}.{mine}") for name, mine in named]


def _parts(theirs: str, ours: str) -> dict[str, str]:
    return {
        **{f"{theirs}.self.{a}.{{p}}": f"{ours}.{b}.{{p}}" for a, b in _QKV.items()},
        f"{theirs}.output.dense.{{p}}": f"{ours}.out_proj.{{p}}",
        f"{theirs}.output.LayerNorm.{{p}}": f"{ours}_norm.{{p}}",
    }


def _twin() -> list[Rule]:
    """The attention to two images."""
    theirs, ours = (
        "text_encoder.encoder.layer.{i}.crossattention",
        "text.layers.{i}.cross_attention",
    )
    rules: list[Rule] = [Rename(f"{theirs}.output.merge_layer.{{p}}", f"{ours}.merge.{{p}}")]
    for number, mine in enumerate(("first", "second")):
        rules += [
            Rename(f"{theirs}.self{number}.{a}.{{p}}", f"{ours}.{mine}.{b}.{{p}}")
            for a, b in _QKV.items()
        ]
        out = f"{theirs}.output.dense{number}.{{p}}"
        rules.append(Rename(out, f"{ours}.{mine}.out_proj.{{p}}"))
    return rules


def head_rules(config: BlipConfig) -> list[Rule]:
    """Return the rules of the heads that compare and judge, but for the temperature."""
    if config.kind in ("nlvr", "classification"):
        return [Rename("cls_head.{i}.{p}", "head.{i}.{p}")]
    if config.kind not in ("pretraining", "retrieval"):
        return []
    return [
        Rename("vision_proj.{p}", "image_projection.{p}"),
        Rename("text_proj.{p}", "text_projection.{p}"),
        Rename("itm_head.{p}", "itm_head.{p}"),
        Assumed("logit_scale", lambda: torch.tensor(-math.log(TEMPERATURE))),
    ]
