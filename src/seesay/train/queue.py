"""The last vectors that slow copies of the towers made: more to tell apart than a batch has."""

from __future__ import annotations

from typing import Any

import torch

from seesay.train.image_text import Vectors


class Queue:
    """A ring of so many rows: what comes in pushes the oldest out.

    It begins empty, and only what was put in is compared with. (The reference begins with random
    vectors, which for the first `size` pairs are nothing to learn from.) Batches of any size fit.

    Paper: arXiv 1911.05722, section 3.1; arXiv 2107.07651, section 3.2.
    Reference: salesforce/BLIP, models/blip_pretrain.py, _dequeue_and_enqueue.
    Differs: the start; `size` need be no multiple of the batch; keys are kept beside the vectors.

    Args:
        size: Q, how many rows it holds at most.
        width: E of the vectors.
        keys: K, how many keys a row has.
        device: Where it is.
        data: What the keys are about: a state that was kept for other data is not taken over.
    """

    def __init__(
        self,
        size: int,
        width: int,
        *,
        keys: int = 1,
        device: torch.device | str = "cpu",
        data: str = "",
    ) -> None:
        self.size, self.data = size, data
        self.rows = Vectors(
            torch.zeros(size, width, device=device),
            torch.zeros(size, width, device=device),
            torch.zeros(size, keys, dtype=torch.long, device=device),
        )
        self.filled = self.place = 0

    def held(self) -> Vectors:
        """Return what it holds, [Q', E] and [Q', K] with Q' growing from 0 to `size`."""
        return Vectors(*(column[: self.filled] for column in self.rows))

    @torch.no_grad()
    def put(self, rows: Vectors) -> None:
        """Take rows in, the newest last; all processes must give the same in the same order."""
        count = min(len(rows.keys), self.size)
        if not count:
            return
        device = self.rows.keys.device
        places = (self.place + torch.arange(count, device=device)) % self.size
        for column, new in zip(self.rows, rows, strict=True):
            column[places] = new[-count:].to(column.dtype)
        self.place = (self.place + count) % self.size
        self.filled = min(self.size, self.filled + count)

    def state_dict(self) -> dict[str, Any]:
        """Return what it holds, the oldest first."""
        first = self.place if self.filled == self.size else 0
        ages = (first + torch.arange(self.filled)) % max(1, self.size)
        held = {name: column.cpu()[ages] for name, column in self.rows._asdict().items()}
        return {**held, "data": self.data, "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what another held, or the newest part of it; nothing where it was of other data."""
        self.filled = self.place = 0
        rows = Vectors(*(state[name].to(self.rows.keys.device) for name in Vectors._fields))
        fitting = rows.images.shape[1] == self.rows.images.shape[1]
        if state["data"] == self.data and fitting and rows.keys.shape[1] == self.rows.keys.shape[1]:
            if self.size:  # at the same places, so that what follows is the same to the bit
                self.place = (state["place"] - len(rows.keys)) % self.size
            self.put(rows)
