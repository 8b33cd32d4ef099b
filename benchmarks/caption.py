"""BLIP-base at its real size with random weights: captions and answers against transformers.

20 tokens of caption with 3 beams at 384 pixels, and 10 of an answer; lengths are forced, for random
weights would end anywhere. In fp32 the ids must be transformers' own. In bfloat16 near ties of
random weights fall either way, so agreement is reported of the first half of the ids.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import seesay
from benchmarks.harness import Comparison, compare
from seesay.generation import Options, decode
from seesay.types import Prompt

BASELINE = "transformers bf16"
CLS, SEP, DEC, ENC = 101, 102, 30522, 30523
PROMPT = (1037, 3861, 1997)
"""a picture of"""
QUESTION = (2054, 2003, 1996, 2611, 5102, 2006, 1996, 2187, 1029)
"""what is the girl standing on the left?"""

Ids = list[list[int]]
Writer = Callable[[Tensor], Ids]


def captions(length: int = 20, num_beams: int = 3) -> Options:
    """Return the published options, with the length forced."""
    return Options(num_beams=num_beams, max_length=length, min_length=length)


def _peer_caption(peer: Any, dtype: torch.dtype) -> Writer:
    def write(pixels: Tensor) -> Ids:
        start = torch.tensor([[CLS, *PROMPT, SEP]]).expand(len(pixels), -1)
        found = peer.generate(
            pixel_values=pixels.to(dtype),
            input_ids=start.clone(),
            attention_mask=torch.ones_like(start),
            num_beams=3,
            max_length=20,
            min_length=20,
        )
        return [row[1 + len(PROMPT) : 20].tolist() for row in found]

    return write


def _own_caption(model: seesay.Model) -> Writer:
    def write(pixels: Tensor) -> Ids:
        prefix = torch.tensor([[DEC, *PROMPT]]).expand(len(pixels), -1)
        batch = Prompt(_ready(model, pixels), prefix, torch.ones_like(prefix).bool())
        written = decode(model.module, batch, captions(), end_ids=(SEP,))
        return [texts[0].ids for texts in written]

    return write


def _peer_answer(peer: Any, dtype: torch.dtype) -> Writer:
    def write(pixels: Tensor) -> Ids:
        asked = torch.tensor([[ENC, *QUESTION, SEP]]).expand(len(pixels), -1)
        found = peer.generate(
            pixel_values=pixels.to(dtype),
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            num_beams=3,
            max_length=10,
            min_length=10,
        )
        return [row[1:10].tolist() for row in found]

    return write


def _own_answer(model: seesay.Model) -> Writer:
    def write(pixels: Tensor) -> Ids:
        asked = torch.tensor([[ENC, *QUESTION, SEP]]).expand(len(pixels), -1)
        prefix = torch.full((len(pixels), 1), DEC)
        whole, start = torch.ones_like(asked).bool(), torch.ones_like(prefix).bool()
        batch = Prompt(_ready(model, pixels), prefix, start, ids=asked, mask=whole)
        written = decode(model.module, batch, captions(10), end_ids=(SEP,))
        return [texts[0].ids for texts in written]

    return write


def _ready(model: seesay.Model, pixels: Tensor) -> Tensor:
    return pixels.to(model.dtype, memory_format=torch.channels_last)


KINDS: Mapping[str, tuple[str, Callable[..., Writer], Callable[..., Writer]]] = {
    "caption": ("BlipForConditionalGeneration", _peer_caption, _own_caption),
    "vqa": ("BlipForQuestionAnswering", _peer_answer, _own_answer),
}


@contextmanager
def writers(kind: str) -> Iterator[dict[str, Writer]]:
    """Yield the variants of one kind, all of the same weights, read from one folder by each."""
    import transformers

    name, theirs, ours = KINDS[kind]
    torch.manual_seed(0)
    config = transformers.BlipConfig(
        vision_config={"image_size": 384, "layer_norm_eps": 1e-6},
        text_config={"num_attention_heads": 12, "encoder_hidden_size": 768, "vocab_size": 30524},
    )
    with tempfile.TemporaryDirectory() as folder:
        peer = getattr(transformers, name)(config)
        # fresh weights repeat one word for ever; much larger ones turn rounding into other words
        for label, parameter in peer.named_parameters():
            if parameter.ndim > 1:
                text = "text" in label and "embeddings" not in label
                parameter.data.normal_(std=0.1 if text else 0.05 if "vision" in label else 0.02)
        peer.save_pretrained(folder)
        found: dict[str, Writer] = {}
        for label, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            loaded = getattr(transformers, name).from_pretrained(folder, dtype=dtype).eval()
            found[f"transformers {label}"] = theirs(loaded, dtype)
        for label in ("float32", "bfloat16"):
            model = seesay.load(folder, device="cpu", dtype=label, optimize=True)
            short = {"float32": "fp32", "bfloat16": "bf16"}[label]
            found[f"seesay {short}"] = ours(model)
    yield found


def run(
    kinds: tuple[str, ...] = ("caption", "vqa"), batches: tuple[int, ...] = (1, 8)
) -> list[Comparison]:
    """Compare all variants of the kinds at several batch sizes."""
    comparisons = []
    for kind in kinds:
        with writers(kind) as found, torch.inference_mode():
            for batch in batches:
                torch.manual_seed(batch)
                comparisons.append(_compare(kind, batch, found, torch.randn(batch, 3, 384, 384)))
    return comparisons


def _compare(kind: str, batch: int, found: dict[str, Writer], pixels: Tensor) -> Comparison:
    exact = found["transformers fp32"](pixels)
    extra = {}
    for name, write in found.items():
        ids = write(pixels)
        extra[name] = {"same ids": ids == exact, "agreement": _agreement(ids, exact)}
    # samples of many seconds straddle the machine's states and would take the others' time
    timed = {name: w for name, w in found.items() if batch == 1 or not name.endswith("fp32")}
    return compare(
        f"BLIP-base {kind}, 384 px, 3 beams, batch {batch}",
        {name: lambda w=write: w(pixels) for name, write in timed.items()},  # type: ignore[misc]
        BASELINE,
        items=batch,
        budget=120,
        extra=extra,
    )


def _agreement(ids: Ids, exact: Ids) -> float:
    """Return which part of the ids in the first half of the texts are the same."""
    half = [(a[: len(a) // 2], b[: len(b) // 2]) for a, b in zip(ids, exact, strict=True)]
    pairs = [pair for a, b in half for pair in zip(a, b, strict=False)]
    return sum(a == b for a, b in pairs) / max(1, len(pairs))
