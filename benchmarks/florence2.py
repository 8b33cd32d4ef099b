"""Florence-2-base at its real size with random weights, 768 pixels: its parts, and captions whole.

30 tokens with 3 beams and the released rules; the length is forced, for random weights would end
anywhere. In fp32 the ids must be transformers' own. In bfloat16 and with 8-bit weights near ties of
random weights fall either way, and a text that took another turn has no more to do with the first:
so the scores after each token of the fp32 text are compared (the smallest cosine of them, less
their mean), beside the ids in the first half of what is written.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import seesay
from benchmarks.harness import Comparison, compare
from seesay.families.florence2.prompts import OPTIONS as RELEASED
from seesay.generation import decode
from seesay.types import Prompt

BASELINE = "transformers bf16"
IMAGE_TOKEN, IMAGE_TOKENS = 51289, 577
PROMPT = (0, 2264, 473, 5, 2274, 6190, 116, 2)
"""<s>What does the image describe?</s>"""
TOKENS, BUDGET = 30, 300.0
OPTIONS = RELEASED.changed(max_new_tokens=TOKENS, min_new_tokens=TOKENS)
OURS = {"fp32": ("float32", True), "bf16": ("bfloat16", True), "int8": ("bfloat16", "int8")}
"""Name -> dtype and `optimize`."""

Ids = list[list[int]]
Writer = Callable[[Any, Tensor], Ids]
"""Writes with a model, from what it is given."""


@dataclass
class Sides:
    """The same weights on both sides: by precision, ready to run."""

    theirs: dict[str, Any]
    ours: dict[str, seesay.Model]


@contextmanager
def sides() -> Iterator[Sides]:
    """Yield models of both, read from one folder."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Florence2Config(
        text_config={
            "model_type": "bart",
            "vocab_size": 51328,
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
        vision_config={"projection_dim": 768},
        image_token_id=IMAGE_TOKEN,
    )
    with tempfile.TemporaryDirectory() as folder:
        model = transformers.Florence2ForConditionalGeneration(config)
        for label, parameter in model.named_parameters():
            if parameter.ndim > 1:
                spread = 0.06 if "language_model" in label else parameter[0].numel() ** -0.5
                # a small table would make all tokens nearly as likely, and every step a tie
                parameter.data.normal_(std=0.15 if "shared" in label else spread)
        # what is written would be what was read, for ever: both are the same table
        model.model.language_model.decoder.layers[-1].final_layer_norm.weight.data.normal_()
        model.save_pretrained(folder)
        theirs = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            kind = transformers.Florence2ForConditionalGeneration
            theirs[name] = kind.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)
            theirs[name].lm_head.register_forward_hook(_without_spare_rows)
        ours = {
            name: seesay.load(folder, device="cpu", dtype=dtype, optimize=optimize)
            for name, (dtype, optimize) in OURS.items()
        }
        yield Sides(theirs, ours)


def _without_spare_rows(_: Any, inputs: Any, scores: Tensor) -> None:
    """Keep rows of the table that no token has out of the probabilities; there are none in ours."""
    scores[..., IMAGE_TOKEN:] = -torch.inf


def run(batches: tuple[int, ...] = (1, 4)) -> list[Comparison]:
    """Compare the parts and the whole."""
    torch.manual_seed(1)
    pixels = torch.randn(max(batches), 3, 768, 768)
    with sides() as both, torch.inference_mode():
        read = _read(both, pixels)
        return [
            *(_vision(both, pixels[:batch]) for batch in batches),
            _encoder(both),
            *(_compare("decoding", both, _peer_decode, _own_decode, read[:b]) for b in batches),
            *(_compare("caption", both, _peer_caption, _own_caption, pixels[:b]) for b in batches),
        ]


def _vision(both: Sides, pixels: Tensor) -> Comparison:
    peer = both.theirs["bf16"].model.vision_tower
    last = copy.deepcopy(peer).to(memory_format=torch.channels_last)
    own = both.ours["bf16"].module
    plain, lying = pixels.bfloat16(), _ready(both.ours["bf16"], pixels)
    exact = both.theirs["fp32"].model.vision_tower(pixels).last_hidden_state.permute(0, 2, 3, 1)
    found = {
        BASELINE: peer(plain).last_hidden_state.permute(0, 2, 3, 1),
        "seesay bf16": own.image(lying),
    }
    return compare(
        f"Florence-2-base vision tower, 768 px, batch {len(pixels)}",
        {
            BASELINE: lambda: peer(plain),
            "transformers channels_last": lambda: last(lying),
            "seesay bf16": lambda: own.image(lying),
        },
        BASELINE,
        items=len(pixels),
        budget=BUDGET,
        extra={name: {"cosine": _cosine(map_, exact)} for name, map_ in found.items()},
    )


def _encoder(both: Sides) -> Comparison:
    x = torch.randn(1, IMAGE_TOKENS + len(PROMPT), 768).bfloat16()
    peer, own = both.theirs["bf16"].model.language_model.encoder, both.ours["bf16"].module.text
    return compare(
        f"Florence-2-base text encoder, {x.shape[1]} tokens, batch 1",
        {BASELINE: lambda: peer(inputs_embeds=x), "seesay bf16": lambda: own.encode(x)},
        BASELINE,
    )


def _read(both: Sides, pixels: Tensor) -> Tensor:
    """Return what the encoder makes of pictures and prompt, in fp32."""
    start, ids = _starts(len(pixels))
    prompt = Prompt(pixels, start, torch.ones_like(start).bool(), ids, torch.ones_like(ids).bool())
    return both.ours["fp32"].module.read(prompt)


def _compare(what: str, both: Sides, peer: Writer, own: Writer, given: Tensor) -> Comparison:
    """Compare writing: from what the encoder read (keys and values of it, 30 steps), or pixels."""
    writers = {f"transformers {name}": partial(peer, model) for name, model in both.theirs.items()}
    writers |= {f"seesay {name}": partial(own, model) for name, model in both.ours.items()}
    exact = writers["transformers fp32"](given)
    scores = _scores(both.ours["fp32"], given, exact)
    extra: dict[str, dict[str, Any]] = {}
    for name, write in writers.items():
        ids = write(given)
        extra[name] = {"same": ids == exact, "ids": _shared(ids, exact)}
        side, precision = name.split()
        if side == "seesay":
            extra[name]["cosine"] = _cosine(_scores(both.ours[precision], given, exact), scores)
    # samples of many seconds straddle the machine's states and would take the others' time
    timed_fp32 = what == "caption" and len(given) == 1
    timed = {name: w for name, w in writers.items() if timed_fp32 or not name.endswith("fp32")}
    return compare(
        f"Florence-2-base {what}, 3 beams, {TOKENS} tokens, batch {len(given)}",
        {name: partial(write, given) for name, write in timed.items()},
        BASELINE,
        items=len(given),
        budget=BUDGET,
        extra={name: extra[name] for name in timed} | {BASELINE: _fp32(extra)},
    )


def _fp32(extra: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What is said beside the baseline: its own agreement, and whether ids are equal in fp32."""
    return {**extra[BASELINE], "fp32 ids equal": extra["seesay fp32"]["same"]}


# -- writing ---------------------------------------------------------------------------------------

HOW: dict[str, Any] = {
    "num_beams": 3,
    "early_stopping": True,
    "no_repeat_ngram_size": 3,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
    "max_new_tokens": TOKENS,
    "min_new_tokens": TOKENS,
}


def _peer_decode(peer: Any, read: Tensor) -> Ids:
    from transformers.modeling_outputs import BaseModelOutput

    given = BaseModelOutput(last_hidden_state=read.to(peer.dtype))
    seen = torch.ones(read.shape[:2], dtype=torch.long)
    return _trimmed(peer.generate(encoder_outputs=given, attention_mask=seen, **HOW))


def _own_decode(model: seesay.Model, read: Tensor) -> Ids:
    start, _ = _starts(len(read))
    prompt = Prompt(None, start, torch.ones_like(start).bool(), read=read.to(model.dtype))
    return [texts[0].ids for texts in decode(model.module, prompt, OPTIONS, end_ids=(2,))]


def _peer_caption(peer: Any, pixels: Tensor) -> Ids:
    _, ids = _starts(len(pixels))
    image = torch.full((len(pixels), IMAGE_TOKENS), IMAGE_TOKEN)
    asked = torch.cat([image, ids], 1)
    found = peer.generate(
        pixel_values=pixels.to(peer.dtype),
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        **HOW,
    )
    return _trimmed(found)


def _own_caption(model: seesay.Model, pixels: Tensor) -> Ids:
    start, ids = _starts(len(pixels))
    whole = torch.ones_like(ids).bool()
    prompt = Prompt(_ready(model, pixels), start, torch.ones_like(start).bool(), ids, whole)
    return [texts[0].ids for texts in decode(model.module, prompt, OPTIONS, end_ids=(2,))]


def _scores(model: seesay.Model, given: Tensor, texts: Ids) -> Tensor:
    """Return the scores [B, TOKENS, V], less their mean, after each token of texts."""
    start, ids = _starts(len(given))
    prefix = torch.cat([start, torch.tensor(texts)], 1)[:, :TOKENS]
    prompt = Prompt(None, prefix, torch.ones_like(prefix).bool(), ids, torch.ones_like(ids).bool())
    if given.ndim == 3:
        prompt = prompt._replace(read=given.to(model.dtype), ids=None, mask=None)
    else:
        prompt = prompt._replace(pixels=_ready(model, given))
    scores: Tensor = model.module(prompt).float()
    return scores - scores.mean(-1, keepdim=True)


def _starts(count: int) -> tuple[Tensor, Tensor]:
    """Return how what is written begins [B, 1], and the prompt [B, S]."""
    return torch.full((count, 1), 2), torch.tensor([PROMPT]).expand(count, -1)


def _ready(model: seesay.Model, pixels: Tensor) -> Tensor:
    return pixels.to(model.dtype, memory_format=torch.channels_last)


def _trimmed(rows: Tensor) -> Ids:
    """Leave out the start, and the end that is forced on the last place."""
    return [row[1:TOKENS].tolist() for row in rows]


def _shared(ids: Ids, exact: Ids) -> float:
    """Return which part of the ids in the first half of the texts are the same."""
    half = TOKENS // 2
    pairs = [p for a, b in zip(ids, exact, strict=True) for p in zip(a[:half], b, strict=False)]
    return sum(a == b for a, b in pairs) / max(1, len(pairs))


def _cosine(found: Tensor, exact: Tensor) -> float:
    flat = (found.float().flatten(0, -2), exact.flatten(0, -2))
    return float(torch.nn.functional.cosine_similarity(*flat, dim=-1).min())
