"""Florence-2: a vision tower whose tokens stand before a prompt, which BART reads and answers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seesay.families.florence2.configs import Florence2Config
from seesay.networks.bart import Bart
from seesay.networks.davit import Davit
from seesay.nn.cache import Cache
from seesay.nn.norm import LayerNorm
from seesay.types import Prompt


class Florence2(nn.Module):
    """Writes what a prompt asks about an image: text, and places as tokens.

    Paper: arXiv 2311.06242, section 3.
    Reference: microsoft/Florence-2-base on the hub, modeling_florence2.py; transformers,
        models/florence2.
    Differs: padding of a prompt is never seen, so that a batch gives what its rows give alone.
    Shapes: `protocols.Generator`; pixels [B, 3, h, w] or tokens [B, 1 + P, D], a prompt [B * n, S],
        a prefix [B * n, L].
    """

    def __init__(self, config: Florence2Config) -> None:
        super().__init__()
        self.config = config
        self.image = Davit(config.image)
        self.projector = Projector(config)
        self.text = Bart(config.text)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image tokens [B, 1 + P, D], their mean first."""
        return self.projector(self.image(pixels))  # type: ignore[no-any-return]

    def read(self, batch: Prompt) -> Tensor:
        """Return the features [B * n, 1 + P + S, D] of images and the prompts about them.

        Raises:
            ValueError: There is more to read than there are positions.
        """
        if batch.read is not None:
            return batch.read
        assert batch.ids is not None
        tokens = batch.tokens if batch.tokens is not None else self.encode_image(batch.pixels)  # type: ignore[arg-type]
        if len(tokens) < len(batch.ids):  # several prompts about one image
            tokens = tokens.repeat_interleave(len(batch.ids) // len(tokens), 0)
        x = torch.cat([tokens, self.text.token_embedding(batch.ids).to(tokens.dtype)], 1)
        return self.text.encode(x, _counted(batch.mask, tokens.shape[1]))

    def forward(self, batch: Prompt) -> Tensor:
        """Return logits [B * n, L, V] of what follows each position of the prefix."""
        source = self.read(batch)
        hidden = self.text.decoder(
            batch.prefix, batch.prefix_mask, source, _seen(batch, source), causal=True
        )
        return self.text.lm_head(hidden)  # type: ignore[no-any-return]

    def prefill(self, batch: Prompt) -> tuple[Tensor, Cache]:
        """Return logits [B, V] of the token after each prefix, and the state."""
        source = self.read(batch)
        last, cache = self.text.decoder.begin(
            batch.prefix, batch.prefix_mask, source, _seen(batch, source)
        )
        return self.text.lm_head(last), cache

    def step(self, ids: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        """Append ids [B * K]; return logits [B * K, V] of the next ones."""
        hidden = self.text.decoder.extend(ids.view(len(state.visible), -1), state)  # [B, K, D]
        return self.text.lm_head(hidden).flatten(0, 1), state


class Projector(nn.Module):
    """A map of features to the tokens that stand before a prompt.

    Columns and rows each have half of the channels for their positions. What is added for the
    first frame of a video is not zero, so images have it too. The mean of all tokens comes first.

    Paper: arXiv 2311.06242, section 3 and appendix.
    Reference: microsoft/Florence-2-base on the hub, modeling_florence2.py, _encode_image.
    Differs: maps need not be square; one frame only, as in the reference's public forward pass.
    Shapes: [B, rows, columns, C] -> [B, 1 + rows * columns, D].
    """

    def __init__(self, config: Florence2Config) -> None:
        super().__init__()
        width, most = config.image.widths[-1], config.max_grid
        self.columns = nn.Parameter(torch.empty(most, width // 2))
        self.rows = nn.Parameter(torch.empty(most, width - width // 2))
        self.frames: Tensor
        self.register_buffer("frames", waves(config.max_frames, width))
        self.projection = nn.Linear(width, config.text.width, bias=False)
        self.norm = LayerNorm(config.text.width, eps=config.text.eps)
        nn.init.uniform_(self.columns)
        nn.init.uniform_(self.rows)
        nn.init.trunc_normal_(self.projection.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Add positions, put the mean first, project.

        Raises:
            ValueError: The map has more rows or columns than there are positions.
        """
        rows, columns = x.shape[1:3]
        if max(rows, columns) > len(self.rows):
            raise ValueError(
                f"{rows} x {columns} image tokens, but there are positions for {len(self.rows)} "
                "on a side"
            )
        across = self.columns[:columns].expand(rows, -1, -1)
        down = self.rows[:rows, None].expand(-1, columns, -1)
        x = x + torch.cat([across, down], -1) + self.frames[0]
        x = x.flatten(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1)
        return self.norm(self.projection(x))  # type: ignore[no-any-return]


def waves(length: int, width: int) -> Tensor:
    """Return positions [length, width]: sines in even channels, cosines in odd ones.

    Paper: arXiv 1706.03762, section 3.5.
    """
    rates = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


def _counted(mask: Tensor | None, images: int) -> Tensor | None:
    """Return what counts of image tokens and prompt [B, images + S]; None where all does."""
    if mask is None or bool(mask.all()):
        return None
    return torch.cat([mask.new_ones(len(mask), images), mask], 1)


def _seen(batch: Prompt, source: Tensor) -> Tensor | None:
    """Return what the writer may look at of what was read; None for all."""
    mask = batch.mask if batch.seen is None else batch.seen
    return None if mask is None else _counted(mask, source.shape[1] - mask.shape[1])
