"""BART: an encoder that reads features or text, and a decoder that writes looking at them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.networks.bert import Bert, BertConfig, BertLayer, initialise
from seesay.nn.masks import padding
from seesay.nn.norm import LayerNorm
from seesay.nn.packed.plain import PackedLinear


@dataclass(frozen=True, kw_only=True)
class BartConfig:
    """The published facts of one network.

    Attributes:
        vocab_size: V.
        max_length: Number of positions, of the encoder and of the decoder.
        width: D.
        encoder_depth: Number of layers of the encoder.
        decoder_depth: Number of layers of the decoder.
        num_heads: H.
        mlp_width: Width inside the feed-forward networks.
        activation: A name in `seesay.nn.mlp.ACTIVATIONS`.
        eps: Added to the variance in all norms.
        dropout: Part of activations and attention weights that is left out in training.
        tied: Whether tokens are read, written and predicted by one table; else by three.
    """

    vocab_size: int = 50265
    max_length: int = 1024
    width: int = 768
    encoder_depth: int = 6
    decoder_depth: int = 6
    num_heads: int = 12
    mlp_width: int = 3072
    activation: str = "gelu"
    eps: float = 1e-5
    dropout: float = 0.1
    tied: bool = True

    def layers(self, depth: int, source_width: int | None = None) -> BertConfig:
        """Return how the layers of one half are made: BART's are BERT's, with cross-attention."""
        return BertConfig(
            vocab_size=self.vocab_size,
            max_length=self.max_length,
            width=self.width,
            depth=depth,
            num_heads=self.num_heads,
            mlp_width=self.mlp_width,
            activation=self.activation,
            eps=self.eps,
            dropout=self.dropout,
            mlp_dropout=self.dropout,
            source_width=source_width,
        )


class Bart(nn.Module):
    """An encoder and a decoder of post-norm transformer layers.

    Paper: arXiv 1910.13461, section 2.1.
    Reference: facebookresearch/fairseq, models/bart; transformers, models/bart.
    Differs: positions begin at 0 (two unused rows stand before them in the files); the beams of the
        decoder are one sequence (`nn.cache`).
    Shapes: features [B, S, D], ids [B * n, L] -> logits [B * n, L, V].
    """

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.config = config
        tables = [nn.Embedding(config.vocab_size, config.width)]
        if not config.tied:
            tables.append(nn.Embedding(config.vocab_size, config.width))
        self.token_embedding = tables[0]
        self.encoder = BartEncoder(config)
        self.decoder = BartDecoder(config, tables[-1])
        if not config.tied:
            self.decoder_embedding = tables[-1]
        self.lm_head = (
            TokenHead(self.token_embedding)
            if config.tied
            else nn.Linear(config.width, config.vocab_size, bias=False)
        )
        self.apply(initialise)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return features [B, S, D] of what is read: embedded tokens, or anything as wide.

        Args:
            x: [B, S, D], without positions.
            mask: [B, S], True where something counts; None for everywhere.

        Raises:
            ValueError: There is more to read than there are positions.
        """
        return self.encoder(x, mask)  # type: ignore[no-any-return]


class BartEncoder(nn.Module):
    """Positions and layers that see everything.

    Shapes: [B, S, D] -> [B, S, D].
    """

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        made = config.layers(config.encoder_depth)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.width))
        self.embedding_norm = LayerNorm(config.width, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(BertLayer(made, i) for i in range(config.encoder_depth))
        nn.init.normal_(self.positions, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform [B, S, D]; `mask` is True where something counts, None for everywhere."""
        length, most = x.shape[1], len(self.positions)
        if length > most:
            raise ValueError(f"{length} tokens, but there are {most} positions")
        x = self.dropout(self.embedding_norm(x + self.positions[:length]))
        allowed = None if mask is None else padding(mask)
        for layer in self.layers:
            x = layer(x, allowed)
            if x.dtype == torch.float16:  # what overflows would be nan one layer later
                most_held = torch.finfo(x.dtype).max - 1000
                x = x.clamp(-most_held, most_held)
        return x


class BartDecoder(nn.Module):
    """Tokens and positions, and layers that see what came before and what the encoder read.

    The table of tokens belongs to the whole network and is in the state dict under its name.

    Shapes: ids [B * n, L], source [B, S, D] -> [B * n, L, D].
    """

    def __init__(self, config: BartConfig, table: nn.Embedding) -> None:
        super().__init__()
        self.config = config.layers(config.decoder_depth, config.width)
        self.positions = nn.Parameter(torch.empty(config.max_length, config.width))
        self.embedding_norm = LayerNorm(config.width, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(BertLayer(self.config, i) for i in range(config.decoder_depth))
        self._table = (table,)  # a tuple: a module registered twice would be saved twice
        nn.init.normal_(self.positions, std=0.02)

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Return what the first layer reads, of ids and positions that broadcast to theirs."""
        x = self._table[0](ids) + self.positions[positions]
        return self.dropout(self.embedding_norm(x))  # type: ignore[no-any-return]

    # it writes as BERT does when that looks at a source
    forward = Bert.forward
    begin = Bert.begin
    extend = Bert.extend


class TokenHead(nn.Module):
    """Features to logits over the vocabulary, by the table that the tokens came in through.

    Shapes: [..., D] -> [..., V].
    """

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self._table = (table,)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return F.linear(x, self._table[0].weight)

    def packed(self) -> nn.Module:
        """Return the same for inference on a CPU."""
        return PackedLinear(self._table[0].weight, None)
