"""Tiny models of transformers behind our generator's three methods, without any cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seesay.types import Prompt

VOCAB, ENDS, START, PAD = 31, [2, 9, 5], 1, 0


@dataclass
class Texts:
    """All ids so far, right-padded [N, L], their number [N], and what is read, per row."""

    ids: Tensor
    lengths: Tensor
    read: Tensor | None

    def reorder(self, rows: Tensor) -> Texts:
        return Texts(
            self.ids[rows], self.lengths[rows], None if self.read is None else self.read[rows]
        )


class Uncached:
    """Runs the whole text again for every token: slow, and nothing can be remembered wrongly."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.encodes = model.config.is_encoder_decoder

    def _logits(self, ids: Tensor, read: Tensor | None) -> Tensor:
        if self.encodes:
            rows = len(ids) // len(read)
            encoded = (self.model.get_encoder()(read)[0].repeat_interleave(rows, 0),)
            return self.model(encoder_outputs=encoded, decoder_input_ids=ids).logits
        return self.model(ids).logits

    def forward(self, batch: Prompt) -> Tensor:
        return self._logits(batch.prefix, batch.ids)

    def _next(self, texts: Texts) -> Tensor:
        # padding on the right is behind the last real token, which does not see it
        logits = self._logits(texts.ids, texts.read)
        return logits[torch.arange(len(logits)), texts.lengths - 1]

    def prefill(self, batch: Prompt) -> tuple[Tensor, Texts]:
        texts = Texts(batch.prefix, batch.prefix_mask.sum(1), batch.ids)
        return self._next(texts), texts

    def step(self, ids: Tensor, state: Texts) -> tuple[Tensor, Texts]:
        beams = len(ids) // len(state.ids)
        longer = nn.functional.pad(state.ids, (0, 1)).repeat_interleave(beams, 0)
        lengths = state.lengths.repeat_interleave(beams, 0)
        longer[torch.arange(len(ids)), lengths] = ids
        read = None if state.read is None else state.read.repeat_interleave(beams, 0)
        texts = Texts(longer, lengths + 1, read)
        return self._next(texts), texts


def redrawn(model: Any, seed: int) -> Any:
    """The model with every parameter and buffer drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                spread = 0.2 if tensor.ndim < 2 else 3 / tensor.shape[-1] ** 0.5
                # norms near 1 and strong positions, or texts would be one word again and again
                if "positions" in name:
                    spread *= 3
                centre = float(tensor.ndim < 2 and name.endswith("weight"))
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread + centre)
    return model.eval()


SEEDS = {"bart": 11, "gpt2": 8}
"""Weights whose texts vary, and end sometimes."""


def make(kind: str, seed: int | None = None) -> Any:
    """A tiny BART ("bart") or GPT-2 ("gpt2")."""
    import transformers

    ids: dict[str, Any] = {"bos_token_id": START, "eos_token_id": ENDS, "pad_token_id": PAD}
    ids["tie_word_embeddings"] = False  # or texts would repeat their last word forever
    if kind == "bart":
        config = transformers.BartConfig(
            vocab_size=VOCAB, max_position_embeddings=40, d_model=20, encoder_layers=1,
            decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=4,
            encoder_ffn_dim=28, decoder_ffn_dim=36, decoder_start_token_id=START,
            forced_eos_token_id=None, **ids,
        )  # fmt: skip
        model = transformers.BartForConditionalGeneration(config)
    else:
        config = transformers.GPT2Config(
            vocab_size=VOCAB, n_positions=40, n_embd=20, n_layer=2, n_head=4, n_inner=28, **ids
        )
        model = transformers.GPT2LMHeadModel(config)
    del ids["tie_word_embeddings"]
    start = {"decoder_start_token_id": START} if kind == "bart" else {}
    model.generation_config = transformers.GenerationConfig(**ids, **start)
    return redrawn(model, SEEDS[kind] if seed is None else seed)


def question(kind: str, rows: int = 3, length: int = 3, seed: int = 0) -> Prompt:
    """A prompt for `make(kind)`: prefixes of one length, and texts to read for "bart"."""
    generator = torch.Generator().manual_seed(seed)
    prefix = torch.randint(10, VOCAB, (rows, length), generator=generator)
    if kind == "bart":
        prefix[:, 0] = START  # or transformers puts it there
    read = torch.randint(10, VOCAB, (rows, 6), generator=generator) if kind == "bart" else None
    mask = None if read is None else torch.ones_like(read, dtype=torch.bool)
    return Prompt(None, prefix, torch.ones_like(prefix, dtype=torch.bool), ids=read, mask=mask)
