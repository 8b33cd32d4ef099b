"""Names of Florence-2's tensors that its releases share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seesay.checkpoints.files import Source
from seesay.checkpoints.keymap import Chosen, Rename, Rule, Split
from seesay.families.florence2.configs import Florence2Config

_log = logging.getLogger("seesay")

OFFSET = 2
"""Rows of positions in front of the first: BART counted from 2, fairseq's padding id + 1."""

TABLES = ("shared", "encoder.embed_tokens", "decoder.embed_tokens")


@dataclass(frozen=True, init=False)
class Positions(Rule):
    """A table of positions whose first rows are never used."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__((theirs,), (ours,))

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Cut the first rows off."""
        return [tensors[0][OFFSET:]]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Put rows of zeros in front."""
        return [torch.cat([tensors[0].new_zeros(OFFSET, tensors[0].shape[1]), tensors[0]])]


@dataclass(frozen=True, init=False)
class Tables(Chosen):
    """The tables of tokens, which may have more rows than there are tokens.

    Attributes:
        count: How many tokens there are.
        stored: How many rows are written; those that no token has are the mean of the others, whose
            logit is never the highest.
        copies: Under how many names a table that is the only one is written.
    """

    count: int
    stored: int
    copies: int

    def __init__(
        self,
        theirs: Sequence[str],
        wanted: Mapping[str, Sequence[str]],
        count: int,
        stored: int,
        copies: int,
    ) -> None:
        super().__init__(theirs, wanted)
        for name, value in (("count", count), ("stored", stored), ("copies", copies)):
            object.__setattr__(self, name, value)

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Cut off the rows that no token has."""
        cut = [tensor[: self.count] for tensor in tensors]
        # one that stands in for another must not share its memory: it could not be saved
        return cut if len(cut) == 1 else [tensor.clone() for tensor in cut]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Put them back."""
        made = [self._longer(tensor) for tensor in tensors]
        return made if len(made) > 1 else [made[0].clone() for _ in range(self.copies)]

    def _longer(self, table: Tensor) -> Tensor:
        mean = table.float().mean(0, keepdim=True).to(table.dtype)
        return torch.cat([table, mean.expand(self.stored - self.count, -1)])


def tables(
    config: Florence2Config, network: str, head: str, *, stored: int, copies: int = 1
) -> Rule:
    """Return the rule of the tables of tokens; where all are one, any one of them will do.

    Args:
        config: Says how many tokens there are, and whether the tables are one.
        network: What BART is called.
        head: What the table is called that predicts.
        stored: How many rows are written.
        copies: Under how many names a table is written that is the only one.
    """
    shared, encoder, decoder, last = _names(network, head)
    count = config.text.vocab_size
    if config.text.tied:
        names = (shared, last, encoder, decoder)
        return Tables(names, {"text.token_embedding.weight": names}, count, stored, copies)
    wanted = {
        "text.token_embedding.weight": (encoder, shared, decoder, last),
        "text.decoder_embedding.weight": (decoder, shared, encoder, last),
        "text.lm_head.weight": (last, shared, decoder, encoder),
    }
    return Tables((encoder, decoder, last, shared), wanted, count, stored, copies)


def stored_tables(source: Source, network: str, head: str, count: int) -> dict[str, Tensor]:
    """Return the tables of tokens that are stored, without rows beyond so many tokens."""
    names = [name for name in _names(network, head) if name in source.tensors]
    return {name: source.tensors[name][:count] for name in names}


def are_tied(found: Mapping[str, Tensor], path: Path) -> bool:
    """Whether the tables of tokens are one, as far as they are stored; tells where not.

    Tables that were meant to be one and differ were damaged when they were saved. Which of them is
    right cannot be known from here, so each is used where it stands.
    """
    alike: dict[str, list[str]] = {}
    for name, table in found.items():
        same = (first for first in alike if _same(found[first], table))
        alike.setdefault(next(same, name), []).append(name)
    if len(alike) > 1:
        told = [
            f"{' = '.join(n)} (rows as long as {length(found[n[0]]):.4g})" for n in alike.values()
        ]
        _log.warning(
            "%s: tables of tokens that should be one differ, and are kept apart: %s; `seesay info` "
            "tells whether they write",
            path,
            ", ".join(told),
        )
    return len(alike) < 2


def length(table: Tensor) -> float:
    """Return the mean length of a row."""
    return float(table.float().norm(dim=1).mean())


def _names(network: str, head: str) -> list[str]:
    return [*(f"{network}.{name}.weight" for name in TABLES), f"{head}.weight"]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a.is_meta or torch.equal(a, b))


def text_rules(network: str) -> list[Rule]:
    """Return the rules of BART, but for its tables of tokens."""
    rules: list[Rule] = []
    for half in ("encoder", "decoder"):
        theirs, ours = f"{network}.{half}", f"text.{half}"
        layer, own = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
        attentions = {"self_attn": "attention"}
        if half == "decoder":
            attentions["encoder_attn"] = "cross_attention"
        rules += [
            Positions(f"{theirs}.embed_positions.weight", f"{ours}.positions"),
            Rename(f"{theirs}.layernorm_embedding.{{p}}", f"{ours}.embedding_norm.{{p}}"),
            *(Rename(f"{layer}.{fc}.{{p}}", f"{own}.mlp.{fc}.{{p}}") for fc in ("fc1", "fc2")),
            Rename(f"{layer}.final_layer_norm.{{p}}", f"{own}.mlp_norm.{{p}}"),
        ]
        for name, mine in attentions.items():
            rules += [
                Rename(f"{layer}.{name}.{{part}}.{{p}}", f"{own}.{mine}.{{part}}.{{p}}"),
                Rename(f"{layer}.{name}_layer_norm.{{p}}", f"{own}.{mine}_norm.{{p}}"),
            ]
    return rules


def vision_rules(tower: str, conv: str, parts: Mapping[str, str]) -> list[Rule]:
    """Return the rules of DaViT.

    Args:
        tower: What it is called.
        conv: What the convolution between two stages is called.
        parts: What lies in a block: our names to theirs, in which "{kind}" is an attention.
    """
    stage = "image.stages.{i}"
    rules: list[Rule] = [
        Rename(f"{tower}.convs.{{i}}.{conv}.{{p}}", f"{stage}.embedding.conv.{{p}}"),
        Rename(f"{tower}.convs.{{i}}.norm.{{p}}", f"{stage}.embedding.norm.{{p}}"),
    ]
    for ours, kind in (("spatial", "window"), ("channel", "channel")):
        block, own = f"{tower}.blocks.{{i}}.{{j}}.{ours}_block", f"{stage}.blocks.{{j}}.{ours}"
        named = {mine: f"{block}.{name.replace('{kind}', kind)}" for mine, name in parts.items()}
        rules.append(
            Split(
                f"{named.pop('qkv')}.{{p}}",
                [f"{own}.attention.{part}_proj.{{p}}" for part in "qkv"],
            )
        )
        rules += [Rename(f"{name}.{{p}}", f"{own}.{mine}.{{p}}") for mine, name in named.items()]
    return rules
