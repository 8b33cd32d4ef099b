"""Where in an image a text is found: gradients times activations, drawn over the picture.

Paper: arXiv 1610.02391 (Grad-CAM); the elementwise product of arXiv 2011.08891 (HiResCAM), which
keeps the place of each gradient, so that the map shows what the score really used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError
from seesay.tasks.match import identity
from seesay.types import ImageInput, Picture

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from seesay.model import Model
    from seesay.processing.image import ImageSpec

LARGEST = 2048
"""Longer side of a drawing in pixels, at most."""


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
        """Return the picture with the map over it: red where the text is, dark where unseen.

        The drawing has the picture's size, or 2048 pixels on its longer side if that is less.
        """
        import numpy as np
        from PIL import Image

        width, height = self.picture.size
        scale = min(1.0, LARGEST / max(width, height))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        base = np.asarray(self.picture.image.resize((width, height))).astype(np.float32)
        heat = np.zeros((height, width), np.float32)
        x0, y0 = (int(v * scale) for v in self.box[:2])
        x1, y1 = max(x0 + 1, round(self.box[2] * scale)), max(y0 + 1, round(self.box[3] * scale))
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
    return next(_maps(model, image, [text]))


def run(model: Model, requests: Sequence[RelevanceInput]) -> Iterator[Relevance | InputError]:
    """Serve requests; texts that follow each other on one image share its forward pass."""
    for _, group in groupby(requests, key=lambda request: identity(request.image)):
        listed = list(group)
        try:
            yield from _maps(model, listed[0].image, [request.text for request in listed])
        except InputError as error:
            yield from [error] * len(listed)


def _maps(model: Model, image: ImageInput, texts: Sequence[str]) -> Iterator[Relevance]:
    """One forward pass, and one backward pass for each text."""
    import torch
    import torch.nn.functional as F

    from seesay.processing.image import open_picture

    picture = open_picture(image)
    targets = model.embed_texts(texts).to(model.device)
    kept: list[Tensor] = []
    layer = model.module.relevance_layer()  # type: ignore[operator]
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        with torch.enable_grad():
            pixels = model.processor.images([picture]).to(model.device, model.dtype)
            vector = model.module.embed_image(pixels.requires_grad_())[0]  # type: ignore[operator]
            scores = targets @ F.normalize(vector.float(), dim=-1)
    finally:
        handle.remove()
    features = kept[0]
    box = seen_box(picture.size, model.processor.image)
    for score in scores:
        (gradient,) = torch.autograd.grad(score, features, retain_graph=True)
        grid = _grid(features.detach() * gradient, pixels.shape[-2], pixels.shape[-1])
        grid = grid / grid.max().clamp_min(1e-12)
        rows, columns = grid.shape
        y, x = divmod(int(grid.argmax()), columns)
        yield Relevance(
            itc=float(score.detach()),
            grid=[[round(float(v), 4) for v in row] for row in grid],
            box=box,
            peak=(
                box[0] + (x + 0.5) / columns * (box[2] - box[0]),
                box[1] + (y + 0.5) / rows * (box[3] - box[1]),
            ),
            picture=picture,
        )


def seen_box(size: tuple[int, int], spec: ImageSpec) -> tuple[float, float, float, float]:
    """The part of a picture of this size (width, height) that becomes pixels: x0 y0 x1 y1."""
    width, height = size
    if spec.resize == "squash":
        return (0.0, 0.0, float(width), float(height))
    scale = min(width, height) / (spec.shortest_edge or min(spec.size))
    w, h = min(spec.size[1] * scale, width), min(spec.size[0] * scale, height)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def _grid(product: Tensor, height: int, width: int) -> Tensor:
    """Gradient times features, [1, D, h, w] or [1, 1 + P, D], to relevance [h, w] >= 0."""
    if product.ndim == 4:
        return product[0].float().sum(0).clamp_min(0)
    patches = product[0, 1:].float().sum(-1).clamp_min(0)
    rows = round((len(patches) * height / width) ** 0.5)
    return patches.view(rows, -1)


def _ramp(heat: Any, centre: float) -> Any:
    """A triangular colour channel around `centre`."""
    return (1.5 - abs(4 * (heat - centre))).clip(0, 1)
