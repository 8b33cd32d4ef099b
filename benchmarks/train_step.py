"""One training step of CLIP ViT-B/32 with random weights: seesay against transformers.

Everybody takes the same pictures and captions (6 to 18 words: 8 to 20 tokens with the start and end
tokens) through the same weights in bfloat16 autocast with weights in fp32, the same InfoNCE loss,
clips the gradient's norm and takes a step of torch's fused AdamW. The variants differ in

- who computes it: the towers of transformers or seesay's;
- to what captions are padded: to 77 tokens, as CLIP's processor is usually called
  (`padding="max_length"`), or to the longest of the batch, which is all that seesay does;
- for transformers, its attention: torch's fused one, its default, or the one in several steps,
  which is slower forwards, and faster in training with bfloat16 on processors;
- for seesay, which towers are frozen, with their features kept. Of a tower that is frozen the
  projection into the common space still trains.

Before anything is timed, the gradients of the first step are compared with those in fp32.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import seesay
from benchmarks.harness import Comparison, compare
from seesay.train.config import OptimConfig
from seesay.train.objectives import info_nce
from seesay.train.optim import adamw
from seesay.train.towers import Inputs, Towers

BATCH = 32
START, END = 49406, 49407
BASELINE = "transformers, padded to 77"
CLIP = 1.0
OPTIM = OptimConfig(lr=1e-5, clip=CLIP)


def captions(count: int, length: int = 77) -> tuple[Tensor, Tensor]:
    """Return ids [B, L] of made-up captions, the longest of 20 tokens, and their mask [B, L]."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, 21, (count, 1), generator=generator)
    lengths[0] = 20
    ids = torch.randint(1, 49000, (count, length), generator=generator)
    place = torch.arange(length)
    ids = torch.where(place < lengths - 1, ids, END)
    ids[:, 0] = START
    return ids, place < lengths


def towers() -> tuple[Any, Any]:
    """Return the model of transformers and seesay's, of the same weights in fp32."""
    import transformers

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        config = transformers.CLIPConfig(
            projection_dim=512,
            vision_config={"patch_size": 32},  # the rest is ViT-B's by default
            text_config={"eos_token_id": END, "bos_token_id": START},
        )
        transformers.CLIPModel(config).save_pretrained(folder)
        peer = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32)
        module: Any = seesay.load(folder, device="cpu", dtype="float32").module
    return peer.train(), module.train().requires_grad_(True)


def run(*, budget: float = 240.0) -> list[Comparison]:
    """Compare the steps of all variants."""
    peer, module = towers()
    pixels, (ids, mask) = torch.randn(BATCH, 3, 224, 224), captions(BATCH)
    short, shown = ids[:, :20], mask[:, :20]

    def theirs(ids: Tensor, mask: Tensor, attention: str = "sdpa") -> Callable[[], Tensor]:
        inputs = {"pixel_values": pixels, "input_ids": ids, "attention_mask": mask.long()}

        def loss() -> Tensor:
            peer.set_attn_implementation(attention)
            return peer(**inputs, return_loss=True).loss  # type: ignore[no-any-return]

        return loss

    def ours(inputs: Inputs) -> Callable[[], Tensor]:
        both = Towers(module)
        return lambda: info_nce(*both(inputs), module.logit_scale)

    with torch.no_grad():
        images, texts = module.pool_image(pixels), module.pool_text(short, shown)
    padded = Step(peer, theirs(ids, mask))
    steps = {
        BASELINE: padded,
        "transformers, to the longest": replace(padded, loss=theirs(short, shown)),
        "the same, eager attention": replace(padded, loss=theirs(short, shown, "eager")),
        "seesay": Step(module, ours(Inputs(pixels, short, shown))),
        "seesay, image tower kept": Step(module, ours(Inputs(images, short, shown)), ("image.",)),
        "seesay, both towers kept": Step(
            module, ours(Inputs(images, None, texts)), ("image.", "text.")
        ),
    }
    extra = {name: steps[name].agreement() for name in (BASELINE, "seesay")}
    return [
        compare(
            f"training step of ViT-B/32, batch {BATCH}",
            steps,
            BASELINE,
            items=BATCH,
            budget=budget,
            extra=extra,
        )
    ]


@dataclass
class Step:
    """One step: loss, gradients, their norm clipped, AdamW.

    Attributes:
        module: What is trained, in fp32.
        loss: Computes the loss of the batch.
        frozen: Beginnings of the names of parameters that are not.
        optimiser: Of the parameters that are; variants of one model share it, to save memory.
    """

    module: nn.Module
    loss: Callable[[], Tensor]
    frozen: tuple[str, ...] = ()
    optimiser: torch.optim.Optimizer | None = None

    def __post_init__(self) -> None:
        parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.module.named_parameters():
            parts[not name.startswith(self.frozen)].append(parameter)
        self.trained, self.still = parts[True], parts[False]
        if self.optimiser is None:
            self.optimiser = adamw(nn.ParameterList(self.trained), OPTIM)

    def __call__(self) -> None:
        """Take the step."""
        self.optimiser.zero_grad(set_to_none=True)
        self.gradients(bf16=True)
        nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimiser.step()

    def gradients(self, *, bf16: bool) -> float:
        """Add the gradients of the loss, and return it."""
        for parameters, wanted in ((self.trained, True), (self.still, False)):
            for parameter in parameters:
                parameter.requires_grad_(wanted)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def agreement(self) -> dict[str, float]:
        """Return the loss in fp32, and the cosine of the gradient in bfloat16 to that in fp32."""
        found = []
        for bf16 in (True, False):
            self.optimiser.zero_grad(set_to_none=True)
            loss = self.gradients(bf16=bf16)
            found.append([p.grad for p in self.trained if p.grad is not None])

        def product(a: list[Tensor], b: list[Tensor]) -> float:
            return sum(
                float(x.flatten().double() @ y.flatten().double())
                for x, y in zip(a, b, strict=True)
            )

        half, full = found
        lengths = math.sqrt(product(half, half) * product(full, full))
        self.optimiser.zero_grad(set_to_none=True)
        return {"loss": loss, "cosine": product(half, full) / lengths}
