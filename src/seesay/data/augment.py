"""The augmentations of the published recipes, on Pillow and numpy alone.

Each draws from the generator it is given, so what a sample looks like depends on the seed, the
epoch and the sample, not on threads or on what else is in the batch.

Reference: salesforce/BLIP, transform/randaugment.py and data/__init__.py; facebookresearch/SLIP,
    datasets.py and main.py; mlfoundations/open_clip, open_clip/transform.py.
Differs: a crop is resized in one go from the whole picture, so its outermost pixels are mixed with
    their neighbours outside the crop, not with copies of themselves. Other random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from seesay.processing.image import RESAMPLE, ImageSpec, normalise
from seesay.types import Picture

Box = tuple[int, int, int, int]
Transform = Callable[[Image.Image, np.random.Generator], Image.Image]
GREY = (128, 128, 128)


@dataclass(frozen=True)
class RandomResizedCrop:
    """A crop of random area and proportions, resized to `size` (height, width).

    Attributes:
        size: Of the result.
        scale: Least and largest area, as parts of the picture's.
        ratio: Least and largest width over height.
        resample: A key of `RESAMPLE`.
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    resample: str = "bicubic"

    def box(self, width: int, height: int, rng: np.random.Generator) -> Box:
        """Draw left, top, right and bottom of a crop.

        Ten times at random; if none of these fits, the largest central crop of allowed proportions.
        """
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return x, y, x + w, y + h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        x, y = (width - w) // 2, (height - h) // 2
        return x, y, x + w, y + h

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Crop and resize."""
        return self.cut(image, self.box(*image.size, rng), image.size)

    def cut(self, image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
        """Resize the part of a picture of `size` that `box` says; `image` may be smaller."""
        across, down = image.width / size[0], image.height / size[1]
        part = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
        height, width = self.size
        return image.resize((width, height), RESAMPLE[self.resample], box=part)


@dataclass(frozen=True)
class HorizontalFlip:
    """Left and right swapped, with probability `p`."""

    p: float = 0.5

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Flip, or not."""
        flip = rng.random() < self.p
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


@dataclass(frozen=True)
class RandAugment:
    """BLIP's: `n` operations drawn with repetition, each done with probability `p`.

    Attributes:
        n: How many are drawn.
        m: Their strength, 0 to 10. At BLIP's own 5, brightness and sharpness change nothing: their
            factor 1.8 m / 10 + 0.1 is then 1.
        p: Of each being done.
    """

    n: int = 2
    m: int = 5
    p: float = 0.5

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Draw and do."""
        for _ in range(self.n):
            name = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
            done, sign = rng.random() <= self.p, 1 if rng.random() < 0.5 else -1
            if done:
                image = operate(image, name, self.m, sign)
        return image


OPERATIONS = (
    "identity", "autocontrast", "equalize", "brightness", "sharpness",
    "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
)  # fmt: skip


def operate(image: Image.Image, name: str, m: float, sign: int) -> Image.Image:
    """Do one of `OPERATIONS` at strength `m` of 10, in one direction or the other.

    What comes in from outside is grey. Shears move the upper left pixel nowhere, rotations turn
    about the centre; strength 10 shears by 0.3, shifts by 10 pixels, turns by 30 degrees.
    """
    factor = m / 10 * 1.8 + 0.1
    shear, shift = sign * m / 10 * 0.3, sign * m / 10 * 10
    if name == "autocontrast":
        return ImageOps.autocontrast(image)
    if name == "equalize":
        return ImageOps.equalize(image)
    if name == "brightness":
        return ImageEnhance.Brightness(image).enhance(factor)
    if name == "sharpness":
        return ImageEnhance.Sharpness(image).enhance(factor)
    if name == "rotate":
        turn = sign * m / 10 * 30
        return image.rotate(turn, Image.Resampling.BILINEAR, fillcolor=GREY)
    # Pillow asks where a pixel comes from, and counts from corners, not from centres
    if name == "shear_x":
        return _affine(image, (1, -shear, shear / 2, 0, 1, 0))
    if name == "shear_y":
        return _affine(image, (1, 0, 0, -shear, 1, shear / 2))
    if name == "translate_x":
        return _affine(image, (1, 0, -shift, 0, 1, 0))
    if name == "translate_y":
        return _affine(image, (1, 0, 0, 0, 1, -shift))
    return image


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    kind, how = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return image.transform(image.size, kind, matrix, how, fillcolor=GREY)


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue moved in random order, with probability `p`.

    Attributes:
        strength: The first three factors are drawn from 1 - strength to 1 + strength.
        hue: The largest turn of the colour circle either way, 0 to 0.5.
        p: Of doing anything.
    """

    strength: float = 0.4
    hue: float = 0.1
    p: float = 0.8

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Jitter, or not."""
        done, order = rng.random() < self.p, rng.permutation(4)
        factors = rng.uniform(1 - self.strength, 1 + self.strength, 3)
        turn = rng.uniform(-self.hue, self.hue)
        if not done:
            return image
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for i in order:
            if i == 3:
                image = turn_hue(image, turn)
            else:
                image = enhancers[i](image).enhance(float(factors[i]))
        return image


def turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the colour circle by a part of it."""
    hue, saturation, value = image.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int16) + round(turn * 255)).astype(np.uint8)
    parts = (Image.fromarray(moved), saturation, value)
    return Image.merge("HSV", parts).convert("RGB")


@dataclass(frozen=True)
class Grey:
    """No colours, with probability `p`."""

    p: float = 0.2

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Grey, or not."""
        return image.convert("L").convert("RGB") if rng.random() < self.p else image


@dataclass(frozen=True)
class Blur:
    """Gaussian, its radius drawn, with probability `p`."""

    radius: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Blur, or not."""
        done, radius = rng.random() < self.p, rng.uniform(*self.radius)
        return image.filter(ImageFilter.GaussianBlur(radius)) if done else image


@dataclass(frozen=True)
class Augmentation:
    """A crop, and what is done to it.

    Attributes:
        scale: Of the crop's area.
        then: Done to the crop, in this order.
    """

    scale: tuple[float, float]
    then: tuple[Transform, ...] = ()

    def crop(self, spec: ImageSpec) -> RandomResizedCrop:
        """Return the crop for a model's pixels."""
        return RandomResizedCrop(spec.size, self.scale, resample=spec.resample)

    def at_least(self, size: tuple[int, int], spec: ImageSpec, rng: np.random.Generator) -> int:
        """Return the short side that a picture of `size` may be decoded at without loss.

        Draws the crop that `values` draws from an equal generator.
        """
        left, top, right, bottom = self.crop(spec).box(*size, rng)
        shrink = max(spec.size[1] / (right - left), spec.size[0] / (bottom - top))
        return math.ceil(min(size) * min(shrink, 1.0))

    def values(
        self, picture: Picture, spec: ImageSpec, rng: np.random.Generator
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the augmented picture, uint8 [h, w, 3]."""
        crop = self.crop(spec)
        image = crop.cut(picture.image, crop.box(*picture.size, rng), picture.size)
        for transform in self.then:
            image = transform(image, rng)
        return np.asarray(image)

    def __call__(self, picture: Picture, spec: ImageSpec, rng: np.random.Generator) -> Tensor:
        """Return the augmented picture as normalised pixels [3, h, w]."""
        return normalise(np.stack([self.values(picture, spec, rng)]), spec)[0]


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "clip": Augmentation((0.9, 1.0)),
    "flip": Augmentation((0.9, 1.0), (HorizontalFlip(),)),
    "imagenet": Augmentation((0.08, 1.0), (HorizontalFlip(),)),
    "blip_pretrain": Augmentation((0.2, 1.0), (HorizontalFlip(), RandAugment())),
    "blip_finetune": Augmentation((0.5, 1.0), (HorizontalFlip(), RandAugment())),
    "slip": Augmentation((0.5, 1.0)),
    "slip_view": Augmentation((0.08, 1.0), (ColourJitter(), Grey(), Blur(), HorizontalFlip())),
}
"""By name. "none" is what the model sees in use; "clip" never flips, for captions say left and
right; "slip" goes with the text, "slip_view" makes the two views that are compared."""
