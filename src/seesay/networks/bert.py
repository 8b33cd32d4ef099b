"""BERT with cross-attention: a text encoder, a text that looks at an image, a decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.nn.attention import MultiHeadAttention, SourceAttention
from seesay.nn.cache import Cache, Read
from seesay.nn.masks import added, padding
from seesay.nn.masks import causal as causal_mask
from seesay.nn.mlp import ACTIVATIONS, Mlp
from seesay.nn.norm import LayerNorm
from seesay.nn.packed.plain import PackedLinear


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The published facts of one network.

    Attributes:
        vocab_size: V.
        max_length: Number of positions.
        width: D.
        depth: Number of layers.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`.
        eps: Added to the variance in all norms.
        dropout: Part of activations and attention weights that is left out in training.
        source_width: Width of what the layers look at besides the text; None for text alone.
        two_way: Whether each layer has a second self-attention for reading causally. It is what
            an encoder and a decoder have of their own when they share everything else.
        sources: How many sources are looked at, each by an attention of its own: 1 or 2.
        token_width: Width of the token table, where a matrix widens it to D; None for D itself.
        mlp_dropout: Part of the activations inside feed-forward networks that is left out.
    """

    vocab_size: int = 30524
    max_length: int = 512
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    activation: str = "gelu"
    eps: float = 1e-12
    dropout: float = 0.1
    source_width: int | None = None
    two_way: bool = False
    sources: int = 1
    token_width: int | None = None
    mlp_dropout: float = 0.0


class Writes(Protocol):
    """What reading causally needs of a network: BART's decoder is one that does as `Bert`."""

    config: BertConfig
    layers: nn.ModuleList

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return what the first layer reads, of ids and positions that broadcast to theirs."""
        ...


class Bert(nn.Module):
    """Post-norm transformer layers over token ids, bidirectional or causal.

    Paper: arXiv 1810.04805, section 3; arXiv 2201.12086, section 3.1, for cross-attention between
        self-attention and feed-forward, and for what encoder and decoder share (`two_way`).
    Reference: google-research/bert, modeling.py; salesforce/BLIP, models/med.py.
    Differs: no token types, as in BLIP; the decoder's beams are one sequence (`nn.cache`).
    Shapes: ids [B * n, L], source [B, P, D'] -> [B * n, L, D].
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.token_embedding = nn.Embedding(config.vocab_size, config.token_width or width)
        if config.token_width:
            self.widen = nn.Linear(config.token_width, width)
        self.position_embedding = nn.Parameter(torch.empty(config.max_length, width))
        self.embedding_norm = LayerNorm(width, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(BertLayer(config, i) for i in range(config.depth))
        self.apply(initialise)
        nn.init.normal_(self.position_embedding, std=0.02)

    def forward(
        self: Writes,
        ids: Tensor,
        mask: Tensor,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Return the features of every token.

        Args:
            ids: [B * n, L]; the n texts of a source side by side.
            mask: [B * n, L], True where a token counts.
            source: [B, P, D'], or [B, 2, P, D'] for two; None reads the text alone.
            source_mask: [B, P], True where the source may be looked at; None for everywhere.
            causal: Whether each token sees only those before it.

        Raises:
            ValueError: There are more tokens than positions.
        """
        _check(self, ids.shape[1])
        allowed = padding(mask)
        if causal:
            allowed = allowed & causal_mask(ids.shape[1], ids.device)
        looked = None if source_mask is None else padding(source_mask)
        x = self.embed(ids, torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            read = None if source is None else layer.look(source)  # type: ignore[operator]
            x = layer(x, allowed, read, looked, causal)
        return x

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return what the first layer reads, of ids and positions that broadcast to theirs."""
        x = self.token_embedding(ids)
        if self.config.token_width:
            x = self.widen(x)
        return self.dropout(self.embedding_norm(x + self.position_embedding[positions]))  # type: ignore[no-any-return]

    def begin(
        self: Writes,
        ids: Tensor,
        mask: Tensor,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
    ) -> tuple[Tensor, Cache]:
        """Read the source and a prefix [B, L] causally, for texts to be written after it.

        Returns:
            The features [B, D] of each prefix's last token, and what is remembered.
        """
        if source is not None and len(source) < len(ids):
            # several texts of one image, of which some may be done before others
            source = source.repeat_interleave(len(ids) // len(source), 0)
        reads = [] if source is None else [layer.look(source) for layer in self.layers]  # type: ignore[operator]
        looked = None if source_mask is None else padding(source_mask)
        cache = Cache(mask, len(self.layers), reads, looked)
        _check(self, cache.length)
        x = _write(self, self.embed(ids, torch.arange(cache.length, device=ids.device)), cache)
        last = mask.sum(1) - 1
        return x[torch.arange(len(x), device=x.device), last], cache

    def extend(self: Writes, ids: Tensor, cache: Cache) -> Tensor:
        """Append one token [B, K] to each beam; returns their features [B, K, D]."""
        positions = cache.advance(ids.shape[1])
        _check(self, cache.length)
        return _write(self, self.embed(ids, positions), cache)


def _check(network: Writes, length: int) -> None:
    most = network.config.max_length
    if length > most:
        raise ValueError(f"{length} tokens, but there are {most} positions")


def _write(network: Writes, x: Tensor, cache: Cache) -> Tensor:
    # as numbers to add, once for all layers
    mask, source_mask = (added(m, x.dtype) for m in (cache.mask, cache.source_mask))
    for i, layer in enumerate(network.layers):
        read = cache.reads[i] if cache.reads else None
        x = layer(x, mask, read, source_mask, True, (cache, i))
    return x


class BertLayer(nn.Module):
    """Self-attention, perhaps attention to a source, and a feed-forward network.

    Shapes: [B * n, L, D] -> [B * n, L, D].
    """

    def __init__(self, config: BertConfig, index: int) -> None:
        super().__init__()
        width, num_heads, eps = config.width, config.num_heads, config.eps
        self.two_way = config.two_way
        self.attention = MultiHeadAttention(width, num_heads, dropout=config.dropout)
        self.attention_norm = LayerNorm(width, eps=eps)
        if config.two_way:
            self.causal_attention = MultiHeadAttention(width, num_heads, dropout=config.dropout)
            self.causal_attention_norm = LayerNorm(width, eps=eps)
        if config.source_width:
            merged = index >= config.depth // 2
            self.cross_attention: SourceAttention | TwinAttention = (
                SourceAttention(width, num_heads, config.source_width, config.dropout)
                if config.sources == 1
                else TwinAttention(width, num_heads, config.source_width, config.dropout, merged)
            )
            self.cross_attention_norm = LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, config.mlp_width, config.activation, config.mlp_dropout)
        self.mlp_norm = LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(config.dropout)

    def look(self, source: Tensor) -> Read:
        """Return what `forward` takes of a source [B, P, D'], or [B, 2, P, D'] for two."""
        return self.cross_attention.read(source)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        read: Read | None = None,
        source_mask: Tensor | None = None,
        causal: bool = False,
        memory: tuple[Cache, int] | None = None,
    ) -> Tensor:
        """Transform tokens.

        Args:
            x: [B * n, L, D].
            mask: Which tokens each sees, as in `nn.attention.attention`.
            read: What `look` returned of the source; None looks at none.
            source_mask: Which of the source may be looked at.
            causal: Whether the text is read causally: which self-attention that is done by.
            memory: Where keys and values of earlier tokens are, and this layer's number there.
        """
        attention, norm = self.attention, self.attention_norm
        if causal and self.two_way:
            attention, norm = self.causal_attention, self.causal_attention_norm
        query, key, value = attention.project(x)
        if memory is not None:
            cache, index = memory
            key, value = cache.write(index, key, value)
        x = norm(x + self.thinned(attention.mix(query, key, value, mask)))
        if read is not None:
            seen = self.cross_attention(x, read, source_mask)
            x = self.cross_attention_norm(x + self.thinned(seen))
        return self.mlp_norm(x + self.thinned(self.mlp(x)))  # type: ignore[no-any-return]

    def thinned(self, x: Tensor) -> Tensor:
        """Return x with a part left out in training; a call less where every one counts."""
        return self.dropout(x) if self.training else x


class TwinAttention(nn.Module):
    """Attention to two sources, each by layers of its own; what they find is averaged or merged.

    Paper: arXiv 2201.12086, section 5.4 and figure 5 (NLVR2).
    Reference: salesforce/BLIP, models/nlvr_encoder.py, BertAttention and BertSelfOutput.
    Differs: nothing known.
    Shapes: x [B * n, L, D], source [B, 2, P, D'] -> [B * n, L, D].

    Args:
        width: D.
        num_heads: H.
        source_width: D'.
        dropout: Part of the attention weights that is left out in training.
        merged: Whether a matrix joins what is found; else it is the mean.
    """

    def __init__(
        self, width: int, num_heads: int, source_width: int, dropout: float, merged: bool
    ) -> None:
        super().__init__()
        self.first = SourceAttention(width, num_heads, source_width, dropout)
        self.second = SourceAttention(width, num_heads, source_width, dropout)
        self.merge = nn.Linear(2 * width, width) if merged else None

    def read(self, source: Tensor) -> Read:
        """Return the keys and values of both sources."""
        return self.first.read(source[:, 0]), self.second.read(source[:, 1])

    def forward(self, x: Tensor, read: Read, mask: Tensor | None = None) -> Tensor:
        """Attend to both."""
        first, second = self.first(x, read[0], mask), self.second(x, read[1], mask)
        if self.merge is None:
            return (first + second) / 2  # type: ignore[no-any-return]
        return self.merge(torch.cat([first, second], -1))  # type: ignore[no-any-return]


class LanguageHead(nn.Module):
    """Features to logits over the vocabulary, by the table that the tokens came in through.

    The table stays the text network's own: it is in the state dict once, under that name.

    Paper: arXiv 1810.04805, section 3.1 (masked LM).
    Reference: google-research/bert, run_pretraining.py.
    Differs: nothing known.
    Shapes: [..., D] -> [..., V].
    """

    def __init__(self, text: Bert) -> None:
        super().__init__()
        config, table = text.config, text.token_embedding
        self.transform = nn.Linear(config.width, table.embedding_dim)
        self.norm = LayerNorm(table.embedding_dim, eps=config.eps)
        self.bias = nn.Parameter(torch.zeros(table.num_embeddings))
        self.activation = config.activation
        self._table = (table,)  # a tuple: a module registered twice would be saved twice
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.norm(ACTIVATIONS[self.activation](self.transform(x)))
        return F.linear(x, self._table[0].weight, self.bias)

    def packed(self) -> nn.Module:
        """Return the same for inference on a CPU."""
        table = PackedLinear(self._table[0].weight, self.bias)
        transform = PackedLinear(self.transform.weight, self.transform.bias, self.activation)
        return nn.Sequential(transform, self.norm, table)


def initialise(module: nn.Module) -> None:
    """Draw weights as BERT does: normal, with a standard deviation of 0.02."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
