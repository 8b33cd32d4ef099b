"""What makes seesay/mini speak: image features to tokens, and a small network that writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seesay.families.mini.configs import MiniConfig, WriterConfig
from seesay.networks.bert import Bert, BertConfig, LanguageHead
from seesay.nn.cache import Cache
from seesay.nn.norm import LayerNorm
from seesay.types import Prompt


class Writer(nn.Module):
    """Writes about what the eye shows it, after the question, if there is one.

    Paper: arXiv 2205.14100, section 3.1, for the question as the beginning of what is written.
    Reference: none; made for this library.
    Differs: the image is looked at by attention of its own in every layer, as in arXiv 2201.12086.
    Shapes: image tokens [B, P, D], a `Prompt` without pixels -> logits [B * n, L, V].
    """

    def __init__(self, config: MiniConfig, told: WriterConfig, map_width: int) -> None:
        super().__init__()
        self.limit, self.grid = told.limit, told.grid
        self.eye = Eye(config, told, map_width)
        self.text = Bert(
            BertConfig(
                vocab_size=told.vocab_size,
                max_length=told.max_length,
                width=told.width,
                depth=told.depth,
                num_heads=told.num_heads,
                mlp_width=told.mlp_width,
                dropout=told.dropout,
                source_width=told.width,
            )
        )
        self.head = LanguageHead(self.text)
        # BERT's 0.02 is for wide networks: here it would leave the image a whisper
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(self, tokens: Tensor, batch: Prompt) -> Tensor:
        """Return the logits of what follows each position of the prefix."""
        ids, mask = self._after_question(batch)
        x = self.text(ids, mask, tokens, causal=True)
        length = batch.prefix.shape[1]
        first = mask.sum(1, keepdim=True) - batch.prefix_mask.sum(1, keepdim=True)
        places = first + torch.arange(length, device=x.device)  # padding may reach past the end
        places = places.clamp(max=ids.shape[1] - 1)[..., None].expand(-1, -1, x.shape[-1])
        return self.head(x.gather(1, places))  # type: ignore[no-any-return]

    def prefill(self, tokens: Tensor, batch: Prompt) -> tuple[Tensor, Written]:
        """Return logits [B, V] of the token after each prefix, and the state."""
        x, cache = self.text.begin(*self._after_question(batch), tokens)
        return self.head(x), Written(cache)

    @staticmethod
    def _after_question(batch: Prompt) -> tuple[Tensor, Tensor]:
        """Return question and prefix as one text, padded on the right."""
        if batch.ids is None or batch.mask is None:
            return batch.prefix, batch.prefix_mask
        each = len(batch.prefix) // max(1, len(batch.ids))
        question = (x.repeat_interleave(each, 0) for x in (batch.ids, batch.mask))
        ids, mask = (
            torch.cat(parts, 1)
            for parts in zip(question, (batch.prefix, batch.prefix_mask), strict=True)
        )
        order = mask.int().argsort(dim=1, descending=True, stable=True)  # what counts, then padding
        return ids.gather(1, order), mask.gather(1, order)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Written]:
        """Append one id to each beam [B * K]; return the logits [B * K, V] of the next."""
        x = self.text.extend(ids.view(len(state.cache.visible), -1), state.cache)
        return self.head(x).flatten(0, 1), state


@dataclass
class Written:
    """What the writer remembers; see `protocols.State`."""

    cache: Cache

    def reorder(self, rows: Tensor) -> Written:
        """Go on from other beams."""
        return Written(self.cache.reorder(rows))


class Eye(nn.Module):
    """What the image tower found, as tokens to look at.

    The vector of the image says what a picture is about, and becomes a few tokens: its meanings.
    The places of the map say what is where. The writer has learnt them from drawings alone, so of
    pictures that are unlike drawings it is shown no places but its meanings again and again,
    which is as if there were nothing else.

    Shapes: maps [B, P, D'], pooled [B, D''], vector [B, E], drawn [B] -> [B, meanings + 1 + P, D].
    """

    def __init__(self, config: MiniConfig, told: WriterConfig, map_width: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(map_width), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(map_width), requires_grad=False)
        self.pooled_centre = nn.Parameter(torch.zeros(config.head_width), requires_grad=False)
        self.pooled_spread = nn.Parameter(torch.ones(config.head_width), requires_grad=False)
        self.meaning = nn.Linear(config.embed_width, told.meanings * told.width)
        self.whole = nn.Linear(config.head_width, told.width)
        self.place = nn.Linear(map_width, told.width)
        self.positions = nn.Parameter(torch.empty(told.grid**2, told.width))
        self.norm = LayerNorm(told.width)
        nn.init.normal_(self.positions, std=0.5)

    def forward(self, maps: Tensor, pooled: Tensor, vector: Tensor, drawn: Tensor) -> Tensor:
        """Return tokens; `drawn` says of which pictures maps and pooled features are shown."""
        meanings = self.meanings(vector)
        whole = self.whole((pooled - self.pooled_centre) / self.pooled_spread)
        place = self.place((maps - self.centre) / self.spread) + self.positions
        shown = self.norm(torch.cat([whole[:, None], place], 1))
        times = -(-shown.shape[1] // meanings.shape[1])
        again = meanings.repeat(1, times, 1)[:, : shown.shape[1]]
        shown = torch.where(drawn[:, None, None], shown, again)
        return torch.cat([meanings, shown], 1)

    def measured(self) -> tuple[nn.Parameter, ...]:
        """Return what is measured of the inputs, and not trained."""
        return self.centre, self.spread, self.pooled_centre, self.pooled_spread

    def meanings(self, vector: Tensor) -> Tensor:
        """Return the tokens of images' vectors [B, meanings, D]."""
        found = self.meaning(vector * vector.shape[-1] ** 0.5)
        return self.norm(found.unflatten(1, (-1, self.positions.shape[1])))  # type: ignore[no-any-return]
