"""Where in an image a text is found, drawn over the picture.

Of a model with vectors: gradients times activations. Of one that looks at image and text together:
where each word looks (`tasks.wordmaps`), and the mean of that.

Paper: arXiv 1610.02391 (Grad-CAM); the elementwise product of arXiv 2011.08891 (HiResCAM), which
keeps the place of each gradient, so that the map shows what the score really used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from seesay.errors import InputError
from seesay.protocols import WordLocaliser
from seesay.types import ImageInput, Picture

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from seesay.model import Model

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class RelevanceInput:
    """An image and the text to look for."""

    image: ImageInput = field(metadata={"help": "An image."})
    text: str = field(metadata={"help": "What to look for.", "each": True})
    layer: int | None = field(
        default=None,
        metadata={"help": "For maps of words: which layer of attention, from 0; the middle one."},
    )


@dataclass(frozen=True, kw_only=True)
class WordRelevance:
    """Where one word looks.

    Attributes:
        word: The word.
        strength: Its strongest relevance, as part of that of the text's strongest word.
        grid: As of `Relevance`.
        peak: As of `Relevance`.
    """

    word: str
    strength: float
    grid: list[list[float]]
    peak: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """A heat map.

    Attributes:
        itc: Cosine of image and text; None where maps are of words.
        itm: The logit of a match, where maps are of words.
        grid: Rows of relevance, 0..1, the largest being 1 unless nothing is relevant.
        box: The part of the upright picture that the grid covers, x0 y0 x1 y1 in pixels (a model
            that crops the centre has not seen the rest).
        peak: The centre of the most relevant cell, x y in pixels.
        words: A map for each word, of models that look at image and text together.
    """

    itc: float | None
    itm: float | None = None
    grid: list[list[float]]
    box: Box
    peak: tuple[float, float]
    words: list[WordRelevance] = field(default_factory=list)
    picture: Picture = field(repr=False, metadata={"json": False})

    def show(self) -> str:
        """Return score and place, for people."""
        score = self.itc if self.itc is not None else self.itm
        return f"{score:.3f} strongest at x {self.peak[0]:.0f}, y {self.peak[1]:.0f}"

    def draw(self) -> Image.Image:
        """Return the picture with the map over it: red where the text is, dark where unseen.

        It has the picture's size, or 2048 pixels on its longer side if that is less. Where there
        are maps of words, it is a sheet: the mean of all first, then one for each word.
        """
        from seesay.tasks.heatmap import overlay, sheet

        if not self.words:
            return overlay(self.picture, self.grid, self.box)
        maps = [("(mean)", self.grid), *((word.word, word.grid) for word in self.words)]
        return sheet(self.picture, maps, self.box)


def relevance(model: Model, image: ImageInput, text: str, *, layer: int | None = None) -> Relevance:
    """Compute the relevance map of a text on an image.

    Args:
        model: One that localises.
        image: A path, encoded bytes, a PIL image or an array.
        text: What to look for.
        layer: For maps of words: which layer of attention, from 0; the middle one when None.

    Raises:
        InputError: The image cannot be read.
        UsageError: The model was loaded with `optimize`, which keeps no gradients.
    """
    model.require("relevance")
    return next(_maps(model, image, [text], layer))


def run(model: Model, requests: Sequence[RelevanceInput]) -> Iterator[Relevance | InputError]:
    """Serve requests; texts that follow each other on one image share its forward pass."""
    from seesay.tasks.pictures import identity

    model.require("relevance")
    for _, group in groupby(requests, key=lambda r: (identity(r.image), r.layer)):
        listed = list(group)
        texts = [request.text for request in listed]
        try:
            yield from _maps(model, listed[0].image, texts, listed[0].layer)
        except InputError as error:
            yield from [error] * len(listed)


def _maps(
    model: Model, image: ImageInput, texts: Sequence[str], layer: int | None
) -> Iterator[Relevance]:
    """The maps of some texts on one image."""
    from seesay.processing.image import open_picture
    from seesay.tasks.heatmap import seen_box

    picture = open_picture(image)
    pixels = model.processor.images([picture]).to(model.device, model.dtype)
    box = seen_box(picture.size, model.processor.image)
    shape = (pixels.shape[-2], pixels.shape[-1])
    if not isinstance(model.module, WordLocaliser):
        for score, product in _products(model, pixels, texts):
            grid, peak, _ = _placed(_grid(product, *shape), box)
            yield Relevance(itc=score, grid=grid, box=box, peak=peak, picture=picture)
        return

    from seesay.tasks.wordmaps import word_maps

    tokens = _encoded(model, pixels)
    for logits, words, maps in word_maps(model, tokens, texts, layer):
        cells = [_cells(row[1:], *shape) for row in maps]
        mean = _cells(maps.sum(0)[1:] / max(1, len(words)), *shape)
        strongest = max((float(cell.max()) for cell in cells), default=0.0) or 1.0
        listed = []
        for word, cell in zip(words, cells, strict=True):
            grid, peak, most = _placed(cell, box)
            listed.append(
                WordRelevance(word=word, strength=round(most / strongest, 4), grid=grid, peak=peak)
            )
        grid, peak, _ = _placed(mean, box)
        yield Relevance(
            itc=None, itm=float(logits[1]), grid=grid, box=box, peak=peak, words=listed,
            picture=picture,
        )  # fmt: skip


def _products(model: Model, pixels: Tensor, texts: Sequence[str]) -> Iterator[tuple[float, Tensor]]:
    """Cosine, and gradient times features, for each text: one pass forward, one back for each."""
    import torch
    import torch.nn.functional as F

    targets = model.embed_texts(texts).to(model.device)
    kept: list[Tensor] = []
    layer = model.module.relevance_layer()  # type: ignore[operator]
    handle = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        with torch.enable_grad():
            vector = model.module.embed_image(pixels.requires_grad_())[0]  # type: ignore[operator]
            scores = targets @ F.normalize(vector.float(), dim=-1)
    finally:
        handle.remove()
    for score in scores:
        (gradient,) = torch.autograd.grad(score, kept[0], retain_graph=True)
        yield float(score.detach()), kept[0].detach() * gradient


def _encoded(model: Model, pixels: Tensor) -> Tensor:
    """Image tokens [1, P, D] without gradients."""
    import torch

    with torch.no_grad():
        return model.module.encode_image(pixels)  # type: ignore[operator, no-any-return]


def _grid(product: Tensor, height: int, width: int) -> Tensor:
    """Gradient times features, [1, D, h, w] or [1, 1 + P, D], to relevance [h, w] >= 0."""
    if product.ndim == 4:
        return product[0].float().sum(0).clamp_min(0)
    return _cells(product[0, 1:].float().sum(-1).clamp_min(0), height, width)


def _cells(patches: Tensor, height: int, width: int) -> Tensor:
    """Patches [P] of pixels of this size to rows of them."""
    rows = round((len(patches) * height / width) ** 0.5)
    return patches.view(rows, -1)


def _placed(cells: Tensor, box: Box) -> tuple[list[list[float]], tuple[float, float], float]:
    """Relevance [h, w] as numbers up to 1, the place of the largest in pixels, and that one."""
    most = float(cells.max())
    grid = cells / max(most, 1e-12)
    rows, columns = grid.shape
    y, x = divmod(int(grid.argmax()), columns)
    peak = (
        box[0] + (x + 0.5) / columns * (box[2] - box[0]),
        box[1] + (y + 0.5) / rows * (box[3] - box[1]),
    )
    return [[round(float(v), 4) for v in row] for row in grid], peak, most
