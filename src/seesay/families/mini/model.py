"""seesay/mini: an image tower that knows photographs and drawings, a text tower, and a writer.

The image tower answers twice from one pass through the trunk, and adds the answers up:

- by name: the trunk's classifier says how likely each of its 1000 classes is, and the vectors of
  the classes' names are averaged with those weights. This carries what the trunk learnt from
  photographs into the space of texts without any training;
- by sight: a head that was trained on drawings and their captions reads the trunk's features and
  a coarse map of where things are.

The writer (`writer.py`) looks at what the image tower found, and captions and answers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.errors import UsageError
from seesay.families.mini.configs import MiniConfig
from seesay.families.mini.writer import Writer, Written
from seesay.networks.efficientnet import EfficientNet, EfficientNetConfig
from seesay.networks.texttower import TextTower
from seesay.types import Prompt

STRIDE_16 = 4
"""Index of the trunk's last stage of stride 16, whose map the sight head reads."""

STEEPNESS = 4.0
"""How sharply the sight head's voice falls where pictures stop being like drawings."""


class Mini(nn.Module):
    """Image tower, text tower and writer of the default model.

    Paper: ConSE, arXiv 1312.5650, section 3.2, for the answer by name; contrastive training as in
        arXiv 2103.00020; the text tower is distilled as in arXiv 2004.09813.
    Reference: none; made for this library.
    Differs: ConSE averages the ten likeliest classes; here all classes are averaged, with a
        temperature, and their mean vector is taken off.
    Shapes: pixels [B, 3, h, w] and ids [B, L] -> unit vectors [B, E]; a `Prompt` -> logits
        [B * n, L, V].
    """

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = EfficientNet(
            EfficientNetConfig(
                width=config.trunk_width,
                depth=config.trunk_depth,
                stem_width=config.stem_width,
                head_width=config.head_width,
                num_classes=config.num_classes,
                batch_norm=False,
            )
        )
        self.names = NameHead(config.num_classes, config.embed_width)
        map_width = self.trunk.config.stages()[STRIDE_16][-1]
        self.sight = SightHead(config, map_width)
        self.text = TextTower(
            vocab_size=config.text.vocab_size,
            token_width=config.text.token_width,
            width=config.text.width,
            depth=config.text.depth,
            num_heads=config.text.num_heads,
            mlp_width=config.text.mlp_width,
            max_length=config.text.max_length,
            embed_width=config.embed_width,
        )
        self.text_centre = nn.Parameter(torch.zeros(config.embed_width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        places = 4 * map_width + self.trunk.config.stages()[-1][-1]
        self.writer = Writer(config, config.writer, places) if config.writer else None

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors [B, E]."""
        return self.project_image(self.pool_image(pixels))

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Return what both answers are given from, [B, D + D' grid^2].

        First the trunk's pooled features, then its last map of stride 16 averaged over a grid.
        """
        maps = self.trunk.features(pixels)
        return self.with_cells(self.trunk.head(maps[-1]).mean((2, 3)), maps[STRIDE_16])

    def with_cells(self, pooled: Tensor, fine: Tensor) -> Tensor:
        """Put the map of stride 16, averaged over a grid, beside the pooled features."""
        cells = F.adaptive_avg_pool2d(fine, self.config.grid)
        return torch.cat([pooled, cells.flatten(1)], dim=1)

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is where, [B, P, D], and what `pool_image` returns."""
        maps = self.trunk.features(pixels)
        pooled = self.trunk.head(maps[-1]).mean((2, 3))
        fine = maps[STRIDE_16]
        return self.glance(fine, maps[-1]), self.with_cells(pooled, fine)

    def glance(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Lay two maps over each other: [B, D, h, w] and [B, D', h', w'] to [B, P, 4 D + D'].

        Each cell of the coarse map stands beside the four of the fine one that it covers. Maps of
        another size than the writer's are averaged to it.
        """
        side = self._writer.grid
        folded = F.pixel_unshuffle(F.adaptive_avg_pool2d(fine, 2 * side), 2)
        together = torch.cat([folded, F.adaptive_avg_pool2d(coarse, side)], dim=1)
        return together.flatten(2).transpose(1, 2)

    def project_image(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E]: the answer by name plus the answer by sight."""
        named = self.names(self.trunk.logits(pooled[:, : self.config.head_width]))
        return F.normalize(named + self.sight(pooled), dim=-1)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return what the writer looks at, [B, P, D]."""
        maps, pooled = self.look(pixels)
        drawn = self.sight.unlike(pooled) < self._writer.limit
        vector = self.project_image(pooled)
        return self._writer.eye(maps, pooled[:, : self.config.head_width], vector, drawn)  # type: ignore[no-any-return]

    def forward(self, batch: Prompt) -> Tensor:
        """Return logits [B * n, L, V] of what follows each position of the prefix."""
        return self._writer(self._tokens(batch), batch)  # type: ignore[no-any-return]

    def prefill(self, batch: Prompt) -> tuple[Tensor, Written]:
        """Return logits [B, V] of the token after each prefix, and the state."""
        return self._writer.prefill(self._tokens(batch), batch)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Written]:
        """Append one id to each beam [B * K]; return the logits [B * K, V] of the next."""
        return self._writer.step(ids, state)

    @property
    def _writer(self) -> Writer:
        if self.writer is None:
            raise UsageError(
                "this seesay/mini was saved before the model learnt to write",
                "train again from seesay/mini, or use it for finding pictures alone",
            )
        return self.writer

    def _tokens(self, batch: Prompt) -> Tensor:
        if batch.tokens is not None:
            return batch.tokens
        if batch.pixels is None:
            raise UsageError("seesay/mini writes about a picture, and none was given")
        return self.encode_image(batch.pixels)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors [B, E] of ids [B, L]; `mask` is True where a token counts."""
        return self.project_text(self.pool_text(ids, mask))

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return what the text tower says [B, E], of any length."""
        return self.text(ids, mask)  # type: ignore[no-any-return]

    def project_text(self, pooled: Tensor) -> Tensor:
        """Return unit vectors [B, E], measured from the centre of texts."""
        return F.normalize(F.normalize(pooled, dim=-1) - self.text_centre, dim=-1)

    def relevance_layer(self) -> nn.Module:
        """Return the trunk's last convolution, whose map [B, D, h / 32, w / 32] is pooled."""
        return self.trunk.head


class NameHead(nn.Module):
    """Class logits to a vector of the space of texts: an average of the classes' vectors.

    Shapes: [B, num_classes] -> [B, E], of length `weight`.
    """

    def __init__(self, num_classes: int, embed_width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(num_classes, embed_width) * embed_width**-0.5)
        self.sharpness = nn.Parameter(torch.tensor(0.6))
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, logits: Tensor) -> Tensor:
        """Average; `vectors` are those of the names with their mean taken off."""
        chances = torch.softmax(logits * self.sharpness, dim=-1)
        return self.weight * F.normalize(chances @ self.vectors, dim=-1)


class SightHead(nn.Module):
    """What the trunk saw to a vector of the space of texts, by what drawings taught.

    The head knows drawings alone, so it speaks softly where the trunk's features are unlike any
    drawing's. How unlike is the mean square of the pooled features, each measured from its mean
    over the training drawings in units of its spread: about 1 for a drawing, 2 to 8 for a
    photograph.

    Shapes: [B, D + D' grid^2] -> [B, E], of a length between `far` and `near`.
    """

    def __init__(self, config: MiniConfig, map_width: int) -> None:
        super().__init__()
        inputs = config.head_width + map_width * config.grid**2
        self.centre = nn.Parameter(torch.zeros(inputs))
        self.spread = nn.Parameter(torch.ones(inputs))
        self.hidden = nn.Linear(inputs, config.sight_width)
        self.project = nn.Linear(config.sight_width, config.embed_width)
        self.direct = nn.Linear(config.head_width, config.embed_width, bias=False)
        self.near = nn.Parameter(torch.tensor(2.0))
        self.far = nn.Parameter(torch.tensor(0.5))
        self.limit = nn.Parameter(torch.tensor(1.6))
        self.dropout = nn.Dropout(0.2)

    def forward(self, features: Tensor) -> Tensor:
        """Encode, the longer the vector the more the features are like a drawing's."""
        x = (features - self.centre) / self.spread
        unlike = self.unlike(features)[:, None]
        like = torch.sigmoid(STEEPNESS * torch.log(self.limit / (unlike + 1e-3)))
        return F.normalize(self.encode(x), dim=-1) * (self.far + (self.near - self.far) * like)

    def unlike(self, features: Tensor) -> Tensor:
        """How unlike a drawing's these features are [B]; 1 is usual."""
        x = (features - self.centre) / self.spread
        return x[:, : self.direct.in_features].square().mean(1)

    def encode(self, x: Tensor) -> Tensor:
        """Map features in units of their spread to vectors [B, E] of any length."""
        x = self.dropout(x)
        hidden = self.dropout(F.gelu(self.hidden(x)))
        return self.project(hidden) + self.direct(x[:, : self.direct.in_features])  # type: ignore[no-any-return]
