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
from seesay.recipes.page.characters import CharacterHead, character_loss
from seesay.recipes.page.samples import NOWHERE, Batch
from seesay.recipes.page.things import ThingHead, thing_loss
from seesay.types import Prompt

NEAR = 12.0
"""Places so many bins beside the right one are nearly as right."""
PULL = 0.1
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
        self.pad = tokenizer.pad_id
        self.first_place = tokenizer.vocabulary["<loc_0>"]
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self._looked: dict[int, Tensor] = {}
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
        """Return the losses of what is written, of where it is read, and of where one looks."""
        prompt, written = self.prompt(seen, batch)
        cells = torch.from_numpy(batch.cells)
        if self.sparse:
            source, cells = self.read_inked(prompt, batch, cells)
        else:
            source = self.model.read(prompt)
        logits = self.model(prompt._replace(read=source))
        return {
            "text": self.text_loss(logits.float(), written[:, 1:]),
            "mark": mark_loss(self.marks(source).float(), cells),
            "look": self.look_loss(cells),
        }

    def read_inked(self, prompt: Prompt, batch: Batch, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Read only the image tokens with something in them and a few others, which is faster.

        Returns:
            The features, and `cells` as numbers of the tokens that are left.
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
        back = torch.full((len(kept), tokens.shape[1]), NOWHERE)
        back.scatter_(1, kept, torch.arange(kept.shape[1]).expand_as(kept))
        table = text.encoder.positions
        x = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1])) + table[kept]
        asked = text.token_embedding(ids)
        places = tokens.shape[1] + torch.arange(ids.shape[1])
        x = torch.cat([x.repeat_interleave(each, 0), (asked + table[places]).to(x.dtype)], 1)
        x = x - table[: x.shape[1]]  # which is added again where it is read
        mask = torch.cat([prompt.mask.new_ones(len(x), kept.shape[1]), prompt.mask], 1)  # type: ignore[union-attr, list-item]
        back = back.repeat_interleave(each, 0)
        moved = back.gather(1, cells.clamp(min=0))
        return text.encode(x, mask), torch.where(cells == NOWHERE, NOWHERE, moved)

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
        right = (targets[place] - self.first_place)[:, None]
        near = torch.exp(-0.5 * ((torch.arange(1000) - right) / NEAR).square())
        near = near / near.sum(-1, keepdim=True)
        return (plain - (near * told).sum()) / counted.sum()

    def placed(self, ids: Tensor) -> Tensor:
        """Return which of some ids are places."""
        return (ids >= self.first_place) & (ids < self.first_place + 1000)

    def look_loss(self, cells: Tensor) -> Tensor:
        """Return how far the heads look from where the letters stand."""
        losses = []
        for layer, head, following in LOOKING:
            scores = self._looked[layer][:, head].float()  # [B * n, L - 1, S]
            wanted = cells[:, 1:] if following else cells[:, :-1]
            known = wanted != NOWHERE
            losses.append(F.cross_entropy(scores[known], wanted[known]))
        return torch.stack(losses).mean()

    def _watch(self, index: int) -> Any:
        def keep(module: Any, inputs: tuple[Any, ...]) -> None:
            if not torch.is_grad_enabled():
                return
            x, (key, _) = inputs[0], inputs[1]
            query = heads(module.q_proj(x), module.num_heads)
            self._looked[index] = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5

        return keep


def mark_loss(marks: Tensor, cells: Tensor) -> Tensor:
    """Return how badly what was read tells where the answer stands, and where it begins [].

    Args:
        marks: [B * n, S, 2], of image tokens and prompts: where it begins, and what belongs to it.
        cells: [B * n, L], `NOWHERE` among them.
    """
    known = (cells != NOWHERE).any(1)
    if not bool(known.any()):
        return marks.sum() * 0
    marks, cells = marks[known], cells[known]
    valid = cells != NOWHERE
    first = cells.gather(1, valid.float().argmax(1, keepdim=True))[:, 0]
    begun = F.cross_entropy(marks[..., 0], first)
    wanted = torch.zeros_like(marks[..., 1])
    wanted.scatter_(1, cells.clamp(min=0), 1.0)
    wanted[:, 0] = 0  # the mean of all; `NOWHERE` was put there
    told = F.binary_cross_entropy_with_logits(marks[..., 1], wanted, reduction="none")
    inside, outside = wanted > 0, wanted == 0
    return begun + told[inside].mean() + told[outside].mean()
