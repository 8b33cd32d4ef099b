"""Models, pictures and comparisons that tests of all families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import seesay
from seesay import protocols, registry
from seesay.model import Model, supports
from seesay.processing.image import open_picture
from seesay.tasks.task import TASKS
from seesay.types import Prompt

TEXTS = ("a red square", "two small dogs asleep on a sofa", "看图说话", "x")
QUESTIONS = ("what colour is the square?", "dogs?", "how many dogs sleep on it", "why")
ANSWERS = ("red", "two small dogs", "on a sofa", "yes")

BATCH_TOLERANCE = 1e-5
"""How far a vector in a batch may be from the same one alone: sums are ordered differently."""

Check = Callable[[str, Path], None]


def owed_by(capability: str | type) -> Callable[[Check], Check]:
    """Say by which variants a check is owed: those of a task, or of a protocol."""

    def mark(check: Check) -> Check:
        check.capability = capability  # type: ignore[attr-defined]
        return check

    return mark


def owes(name: str, check: Check) -> bool:
    """Whether a variant owes a check."""
    capability = getattr(check, "capability", None)
    if capability is None:
        return True
    family, variant = registry.variant(name)
    config = variant.config()
    if isinstance(capability, str):
        return supports(family, TASKS[capability], config)
    return can(family.module_class(config), capability)


def can(module: Any, protocol: type) -> bool:
    """Whether a module, or its class, has the methods of a protocol."""
    methods = [n for n, v in vars(protocol).items() if callable(v) and not n.startswith("_")]
    return all(callable(getattr(module, method, None)) for method in methods)


def able(task: str) -> list[str]:
    """The tiny variants that can do a task."""
    return [
        name
        for name, (family, variant) in registry.variants().items()
        if "-tiny" in name and supports(family, TASKS[task], variant.config())
    ]


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture with large and small structure that depends on all arguments."""
    random = np.random.default_rng([width, height, seed])
    coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + random.integers(-12, 13, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def pictures() -> list[Image.Image]:
    """Landscape, portrait, square and tiny."""
    return [picture(40, 30, 1), picture(31, 77, 2), picture(64, 64, 3), picture(7, 5, 4)]


def build(name: str, seed: int = 3) -> Model:
    """The variant with every parameter and buffer away from its initial value.

    Fresh norms are one and fresh biases zero, so that tensors swapped or lost would go unseen.
    """
    model = seesay.create(name, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.module.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                spread = float(tensor.std()) if tensor.numel() > 1 else 0.0
                if isinstance(tensor, nn.Parameter):
                    tensor += noise * (0.1 * spread + 0.05)
                else:  # running statistics, among which variances stay positive
                    tensor *= 1 + 0.1 * noise.clamp(-3, 3)
    return model


def vectors(model: Model) -> tuple[Tensor, Tensor]:
    """The vectors of the suite's pictures and texts."""
    return model.embed_images(pictures()), model.embed_texts(TEXTS)


def cosine(a: Tensor, b: Tensor) -> float:
    """The smallest cosine between rows."""
    return float(F.cosine_similarity(a.double(), b.double(), dim=-1).min())


def same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert that two state dicts hold the same names, types and bits."""
    assert set(a) == set(b)
    for key, tensor in a.items():
        assert tensor.dtype == b[key].dtype, key
        assert torch.equal(tensor, b[key]), key


def same_outputs(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Assert that equal weights compute alike; where they lie in memory moves the last bit."""
    assert a.keys() == b.keys()
    for name, left in a.items():
        torch.testing.assert_close(left, b[name], atol=1e-6, rtol=1e-5)


def snapshot(names: Sequence[str], state: dict[str, Tensor]) -> str:
    """The names and shapes of a state dict, one a line."""
    return "".join(f"{key} {list(state[key].shape)}\n" for key in names)


def pixels(model: Model) -> list[Tensor]:
    """The suite's pictures, [1, 3, h, w] each: some models keep their proportions."""
    return [model.processor.images([open_picture(image)]) for image in pictures()]


def taught(model: Model, task: str, tokens: Tensor | None = None) -> tuple[Prompt, Tensor]:
    """What a generator is shown to learn a task from, and where its own words begin."""
    processor: Any = model.processor
    asked = QUESTIONS if task == "answer" else ("",) * len(ANSWERS)
    (ids, mask), starts = processor.written(ANSWERS, task=task)
    shown = {"tokens": tokens} if tokens is not None else {"pixels": torch.cat(pixels(model))}
    prompt = processor.prompts(task, asked)._replace(prefix=ids, prefix_mask=mask, **shown)
    return prompt, starts


def computed(model: Model) -> dict[str, Tensor]:
    """Everything a model computes of the suite's pictures and texts, by what it can do.

    Differentiable; each [rows, numbers].
    """
    module: Any = model.module
    found: dict[str, Tensor] = {}
    tasks = model.tasks()
    if "embed" in tasks:
        found["images"] = torch.cat(
            [module.embed_image(image.to(model.dtype)) for image in pixels(model)]
        )
        found["texts"] = module.embed_text(*model.processor.texts(TEXTS))
    several = [image.to(model.dtype) for image in pixels(model)]
    for task in ("caption", "answer"):
        if task in tasks:
            prompt, _ = taught(model, task)
            logits = module.forward(prompt._replace(pixels=prompt.pixels.to(model.dtype)))
            found[task] = logits[prompt.prefix_mask]
    pairs: Any = getattr(model.processor, "pairs", model.processor.texts)
    if can(module, protocols.Matcher):
        found["match"] = module.match(module.encode_image(torch.cat(several)), *pairs(TEXTS))
    if "compare" in tasks:
        first = torch.cat(several)
        found["compare"] = module.compare(first, first.flip(0), *pairs(TEXTS))
    if "entail" in tasks:
        found["entail"] = module.classify_pair(torch.cat(several), *pairs(TEXTS))
    return found


@torch.inference_mode()
def outputs(model: Model) -> dict[str, Tensor]:
    """The same as numbers to compare, float32; scores of two are one row."""
    judged = ("match", "compare", "entail")
    return {
        name: value.float().flatten()[None] if name in judged else value.float()
        for name, value in computed(model).items()
    }
