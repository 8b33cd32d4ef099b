"""Where in an image a text is found: gradients times activations, drawn over the picture.

Paper: arXiv 1610.02391 (Grad-CAM); the elementwise product of arXiv 2011.08891 (HiResCAM), which
keeps the place of each gradient, so that the map shows what the score really used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError
from seesay.types import ImageInput, Picture

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from seesay.model import Model
    from seesay.processing.image import ImageSpec


@dataclass(frozen=True, kw_only=True)
class RelevanceInput:
    """An image and the text to look for."""

    image: ImageInput = field(metadata={"help": "An image."})
    text: str = field(metadata={"help": "What to look for.", "each": True})


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """A heat map.

    Attributes:
        itc: Cosine of image and text.
        grid: Rows of relevance, 0..1, the largest being 1 unless nothing is relevant.
        box: The part of the upright picture that the grid covers, x0 y0 x1 y1 in pixels (a model
            that crops the centre has not seen the rest).
        peak: The centre of the most relevant cell, x y in pixels.
    """

    itc: float
    grid: list[list[float]]
    box: tuple[float, float, float, float]
    peak: tuple[float, float]
    picture: Picture = field(repr=False, metadata={"json": False})

    def show(self) -> str:
        """Return score and place, for people."""
        return f"{self.itc:.3f} strongest at x {self.peak[0]:.0f}, y {self.peak[1]:.0f}"

    def draw(self) -> Image.Image:
        """Return the picture with the map over it: red where the text is, dark where unseen."""
        import numpy as np
        from PIL import Image

        base = np.asarray(self.picture.image.resize(self.picture.size)).astype(np.float32)
        height, width = base.shape[:2]
        heat = np.zeros((height, width), np.float32)
        x0, y0, x1, y1 = (round(v) for v in self.box)
        cells = Image.fromarray(np.asarray(self.grid, np.float32))
        heat[y0:y1, x0:x1] = np.asarray(
            cells.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)
        ).clip(0, 1)
        seen = np.full((height, width, 1), 0.35, np.float32)
        seen[y0:y1, x0:x1] = 1.0
        # blue - green - yellow - red, the colours people expect of a heat map
        colour = np.stack([_ramp(heat, 0.75), _ramp(heat, 0.5), _ramp(heat, 0.25)], -1) * 255
        mixed = base * (1 - 0.55 * heat[..., None]) + colour * 0.55 * heat[..., None]
        return Image.fromarray((mixed * seen).round().clip(0, 255).astype(np.uint8))


def relevance(model: Model, image: ImageInput, text: str) -> Relevance:
    """Compute the relevance map of a text on an image.

    Raises:
        InputError: The image cannot be read.
        UsageError: The model was loaded with `optimize`, which keeps no gradients.
    """
    import torch
    import torch.nn.functional as F

    from seesay.processing.image import open_picture

    picture = open_picture(image)
    target = model.embed_texts([text])[0].to(model.device)
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = model.module.relevance_layer().register_forward_hook(keep)  # type: ignore[operator]
    try:
        with torch.enable_grad():
            pixels = model.processor.images([picture]).to(model.device, model.dtype)
            vector = model.module.embed_image(pixels.requires_grad_())[0]  # type: ignore[operator]
            score = F.normalize(vector.float(), dim=-1) @ target
            torch.autograd.backward(score)
    except RuntimeError as error:
        raise UsageError(
            f"no gradients can be had from {model.name} ({error})", "load it without optimize"
        ) from None
    finally:
        handle.remove()
    grid = _grid(kept[0], pixels.shape[-2], pixels.shape[-1])
    grid = grid / grid.max().clamp_min(1e-12)
    box = seen_box(picture.size, model.processor.image)
    rows, columns = grid.shape
    y, x = divmod(int(grid.argmax()), columns)
    peak = (
        box[0] + (x + 0.5) / columns * (box[2] - box[0]),
        box[1] + (y + 0.5) / rows * (box[3] - box[1]),
    )
    return Relevance(
        itc=float(score.detach()),
        grid=[[round(float(v), 4) for v in row] for row in grid],
        box=box,
        peak=peak,
        picture=picture,
    )


def run(model: Model, requests: Sequence[RelevanceInput]) -> Iterator[Relevance | InputError]:
    """Serve requests one by one: each needs its own backward pass."""
    for request in requests:
        try:
            yield relevance(model, request.image, request.text)
        except InputError as error:
            yield error


def seen_box(size: tuple[int, int], spec: ImageSpec) -> tuple[float, float, float, float]:
    """The part of a picture of this size (width, height) that becomes pixels: x0 y0 x1 y1."""
    width, height = size
    if spec.resize == "squash":
        return (0.0, 0.0, float(width), float(height))
    scale = min(width, height) / (spec.shortest_edge or min(spec.size))
    w, h = min(spec.size[1] * scale, width), min(spec.size[0] * scale, height)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _grid(features: Tensor, height: int, width: int) -> Tensor:
    """Features [1, D, h, w] or [1, 1 + P, D] with gradients to relevance [h, w], not negative."""
    assert features.grad is not None
    product = (features * features.grad).detach().float()
    if product.ndim == 4:
        return product[0].sum(0).clamp_min(0)
    patches = product[0, 1:].sum(-1).clamp_min(0)
    rows = round((len(patches) * height / width) ** 0.5)
    return patches.view(rows, -1)


def _ramp(heat: Any, centre: float) -> Any:
    """A triangular colour channel around `centre`."""
    return (1.5 - abs(4 * (heat - centre))).clip(0, 1)
