"""The model in training: with heads that teach its tower, and a look at where its writer looks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.families.florence2.configs import Florence2Config
from seesay.families.florence2.model import Florence2
from seesay.nn.attention import heads
from seesay.processing.bytelevel import ByteLevelTokenizer
from seesay.recipes.page.beginning import align, smooth
from seesay.recipes.page.characters import COLUMNS, ROWS, CharacterHead, character_loss
from seesay.recipes.page.pointing import (
    Boxes,
    Sights,
    look_loss,
    mark_loss,
    nearly,
    slot_loss,
)
from seesay.recipes.page.samples import Batch
from seesay.recipes.page.things import ThingHead, thing_loss
from seesay.types import Prompt

PULL = 0.1
"""Part of the writer's pull at the tower; what that is taught directly counts more."""
LOOKING = (
    (0, 0, False),
    (1, 0, False),
    (1, 1, True),
    (2, 0, True),
    (2, 1, True),
    (3, 0, True),
    (3, 1, True),
    (3, 2, True),
)
"""Layers and heads of the writer that are shown where to look: at the next letter, or the last."""
SLOT = 3
"""The layer of the writer that knows, before it looks, where in its square the next letter is."""


class Student(nn.Module):
    """A Florence-2 and what teaches it.

    Args:
        config: Of the model.
        mean: Of pixels, from 0 to 255, per channel.
        std: Likewise.
    """

    def __init__(
        self, config: Florence2Config, tokenizer: ByteLevelTokenizer, mean: Any, std: Any
    ) -> None:
        super().__init__()
        self.model = Florence2(config)
        width = config.image.widths[-1]
        self.letters, self.things = CharacterHead(width), ThingHead(width)
        self.sparse = self.seeing = False
        self.marks = nn.Linear(config.text.width, 2)
        self.slots = nn.Linear(config.text.width, ROWS * COLUMNS)
        self.pad = tokenizer.pad_id
        self.first_place = tokenizer.vocabulary["<loc_0>"]
        self.boxes = Boxes(config.text.width)
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self._looked: dict[int, Tensor] = {}
        self._knew = torch.empty(0)
        layers: Any = self.model.text.decoder.layers
        for i in {layer for layer, _, _ in LOOKING}:
            layers[i].cross_attention.register_forward_pre_hook(self._watch(i))
        smooth(self.model, self.first_place)

    @torch.no_grad()
    def align(self, batch: Batch, tokenizer: ByteLevelTokenizer) -> None:
        """Let letters' tokens lie where the tower puts letters; see `beginning.align`."""
        seen = self.model.image(self.pixels(batch))
        align(self.model, seen, torch.from_numpy(batch.letters).long(), tokenizer)

    def pixels(self, batch: Batch) -> Tensor:
        """Return normalised pixels [B, 3, h, w]."""
        raw = torch.from_numpy(batch.pixels).float()
        return ((raw - self.mean) / self.std).permute(0, 3, 1, 2)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a batch: of letters, things, what is written, where it is read."""
        seen = self.model.image(self.pixels(batch))
        if torch.is_grad_enabled() and not seen.requires_grad:  # the tower has learnt enough
            return self.text_losses(seen, batch)
        letters, things = self.letters(seen).float(), self.things(seen).float()
        found = {
            "letters": character_loss(letters, torch.from_numpy(batch.letters).long()),
            "things": thing_loss(things, torch.from_numpy(batch.things)),
        }
        if self.seeing:
            return found
        # what is written pulls at the tower less than what it is taught directly
        return found | self.text_losses(PULL * seen + (1 - PULL) * seen.detach(), batch)

    def text_losses(self, seen: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of what is written, and of where that is seen.

        Returns:
            text: Of the tokens.
            mark: Of which tokens of what was read an answer stands on.
            look: Of where the writer looks.
            slot: Of what it knows of the place of the next letter in its square.
            boxes: Of what the reader knows of the box of the thing that a token is part of.
        """
        prompt, written = self.prompt(seen, batch)
        if self.sparse:
            source, kept = self.read_inked(prompt, batch)
        else:
            source = self.model.read(prompt)
            kept = torch.arange(1 + batch.things[0, ..., 0].size).expand(len(batch.things), -1)
        sights = Sights.of(batch, kept, source.shape[1])
        logits = self.model(prompt._replace(read=source))
        return {
            "text": self.text_loss(logits.float(), written[:, 1:]),
            "mark": mark_loss(self.marks(source).float(), sights.seen),
            "look": look_loss(self._looked, LOOKING, sights.seen),
            "slot": slot_loss(self.slots(self._knew).float(), sights.slots),
            "boxes": self.boxes.loss(source, sights, self.place_table),
        }

    @property
    def place_table(self) -> Tensor:
        """The vectors of places [1000, D]."""
        table: Tensor = self.model.text.token_embedding.weight
        return table[self.first_place : self.first_place + 1000]

    def read_inked(self, prompt: Prompt, batch: Batch) -> tuple[Tensor, Tensor]:
        """Read only the image tokens with something in them and a few others, which is faster.

        Returns:
            The features, and which image tokens they begin with [B, kept].
        """
        text, tokens, ids = self.model.text, prompt.tokens, prompt.ids
        assert tokens is not None
        assert ids is not None
        inked = torch.from_numpy((batch.letters > 0).any(-1) | (batch.things[..., 0] > 0))
        inked = inked.flatten(1)
        each = len(ids) // len(tokens)
        count = min(inked.shape[1], -(-(int(inked.sum(1).max()) + 8) // 16) * 16)
        order = (inked.float() + torch.rand(inked.shape)).argsort(1, descending=True)
        kept = torch.cat([torch.zeros(len(order), 1, dtype=torch.long), 1 + order[:, :count]], 1)
        table = text.encoder.positions
        x = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1])) + table[kept]
        asked = text.token_embedding(ids)
        places = tokens.shape[1] + torch.arange(ids.shape[1])
        x = torch.cat([x.repeat_interleave(each, 0), (asked + table[places]).to(x.dtype)], 1)
        x = x - table[: x.shape[1]]  # which is added again where it is read
        mask = torch.cat([prompt.mask.new_ones(len(x), kept.shape[1]), prompt.mask], 1)  # type: ignore[union-attr, list-item]
        return text.encode(x, mask), kept

    def prompt(self, seen: Tensor, batch: Batch) -> tuple[Prompt, Tensor]:
        """Return what the model is given of a map of features, and all it should write."""
        asked, written = torch.from_numpy(batch.asked), torch.from_numpy(batch.written)
        prefix = written[:, :-1]
        everything = torch.ones_like(prefix, dtype=torch.bool)
        given = Prompt(None, prefix, everything, asked, asked != self.pad)
        return given._replace(tokens=self.model.projector(seen)), written

    def text_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of tokens; of places, near ones are nearly right."""
        counted = targets != self.pad
        counted[:, 0] = False  # `<s>`, which is always written
        place = self.placed(targets) & counted
        plain = F.cross_entropy(
            logits[counted & ~place], targets[counted & ~place], reduction="sum"
        )
        told = logits[place].log_softmax(-1)[:, self.first_place : self.first_place + 1000]
        right = nearly(targets[place] - self.first_place)
        return (plain - (right * told).sum()) / counted.sum()

    def placed(self, ids: Tensor) -> Tensor:
        """Return which of some ids are places."""
        return (ids >= self.first_place) & (ids < self.first_place + 1000)

    def _watch(self, index: int) -> Any:
        def keep(module: Any, inputs: tuple[Any, ...]) -> None:
            if not torch.is_grad_enabled():
                return
            x, (key, _) = inputs[0], inputs[1]
            if index == SLOT:
                self._knew = x
            query = heads(module.q_proj(x), module.num_heads)
            self._looked[index] = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5

        return keep
