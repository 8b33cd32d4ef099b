"""Image files to upright RGB pictures, and pictures to normalised pixels, exactly as Pillow does.

Decoding is where hostile input arrives, so everything is checked before a pixel is read: the
container format, the file's size, the picture's size. Whatever a decoder raises becomes one
`InputError` that names the item.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from seesay.errors import InputError
from seesay.types import ImageInput, Picture

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Containers that are opened. The others Pillow knows have decoders nobody fuzzes as hard."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""File name endings of `FORMATS`, lower case: what counts as an image when a folder is walked."""

MAX_PIXELS = 64_000_000
MAX_BYTES = 20_000_000

RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How a picture becomes pixels.

    Attributes:
        size: Height and width of the result.
        resize: "shortest" keeps the proportions, scales the short side to `shortest_edge` and crops
            the centre; "squash" scales to `size` whatever the proportions.
        resample: The filter's name, a key of `RESAMPLE`.
        mean: Per channel, of values in 0..1.
        std: Per channel.
        shortest_edge: Length of the short side before the crop; None for the smaller of `size`.
        centre: Where the crop begins when the margin is odd: "round" as torchvision (the original
            training code), "floor" as transformers.

    Raises:
        ValueError: No pixels can be made like this.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["shortest", "squash"] = "shortest"
    resample: str = "bicubic"
    shortest_edge: int | None = None
    centre: Literal["round", "floor"] = "round"

    def __post_init__(self) -> None:
        sides = (*self.size, *([] if self.shortest_edge is None else [self.shortest_edge]))
        if len(self.size) != 2 or not all(isinstance(n, int) and n > 0 for n in sides):
            raise ValueError(f"size {self.size}, shortest edge {self.shortest_edge}")
        if max(sides) ** 2 > MAX_PIXELS:
            raise ValueError(f"{max(sides)} pixels on a side are too many")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} {values} is not three finite numbers")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not positive")
        for value, known in (
            (self.resample, RESAMPLE),
            (self.resize, ("shortest", "squash")),
            (self.centre, ("round", "floor")),
        ):
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")


def open_picture(item: ImageInput, *, name: str | None = None, at_least: int = 0) -> Picture:
    """Decode one image: first frame, upright, RGB, alpha composited on white.

    Args:
        item: A path, encoded bytes, a PIL image, or an array [h, w], [h, w, 1|3|4] of uint8, or of
            floats in 0..1.
        name: What messages call it; the path, or "image", when None.
        at_least: When positive, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as
            its short side keeps this many pixels. Much faster on large photographs, and close to
            but not equal to the exact pixels.

    Raises:
        InputError: The item cannot be read as an image; the message names it and says why.
    """
    name = name or (os.fsdecode(item) if isinstance(item, (str, os.PathLike)) else "image")
    shown = name.encode("utf-8", "backslashreplace").decode()
    try:
        if isinstance(item, np.ndarray):
            image, frames = _from_array(item), 1
            size = image.size
        elif isinstance(item, Image.Image):
            image, size, frames = item, item.size, 1
        elif isinstance(item, (bytes, str, os.PathLike)):
            image, size, frames = _open_file(item, at_least)
        else:
            raise InputError(f"is {type(item).__name__}, not a path, bytes, PIL image or array")
        turn = _turn(image)
        if turn is not None:
            image = image.transpose(turn)
            size = (size[1], size[0]) if turn in _SWAPPING else size
        return Picture(to_rgb(image), size, name, frames)
    except InputError as error:
        raise InputError(f"{shown}: {error.what}", error.hint) from None
    except MemoryError:
        raise
    except PermissionError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror})") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise InputError(f"{shown}: cannot be decoded ({type(error).__name__}: {error})") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: alpha on white, 16-bit grey scaled (Pillow alone would clip it)."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        if image.mode == "F":
            values = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
        elif image.mode != "I" or values.max(initial=0.0) > 255:
            values = values / 257.0
        grey = np.rint(values).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def pixels(pictures: Sequence[Picture], spec: ImageSpec) -> Tensor:
    """Pictures to normalised pixels [B, 3, h, w], float32."""
    height, width = spec.size
    batch = np.empty((len(pictures), height, width, 3), dtype=np.uint8)
    for row, picture in zip(batch, pictures, strict=True):
        row[:] = np.asarray(_fit(picture, spec))
    return normalise(batch, spec)


def normalise(batch: np.ndarray[Any, Any], spec: ImageSpec) -> Tensor:
    """Bytes [B, h, w, 3] to (x / 255 - mean) / std: [B, 3, h, w], float32, channels last."""
    std = torch.tensor(spec.std, dtype=torch.float64) * 255.0
    shift = torch.tensor(spec.mean, dtype=torch.float64) * 255.0 / std
    scale = (1.0 / std).float().view(3, 1, 1)
    nchw = torch.from_numpy(batch).permute(0, 3, 1, 2)
    return torch.addcmul(-shift.float().view(3, 1, 1), nchw.float(), scale)


def _fit(picture: Picture, spec: ImageSpec) -> Image.Image:
    """Resize, then crop the centre; black is added where the picture is smaller than the crop.

    A picture that was decoded small is no longer exact, and a ribbon would grow beyond all memory:
    of these only what the crop keeps is resized. Pillow then works from edges rounded to single
    precision, which moves some values by a step or two.
    """
    image, (w, h) = picture.image, picture.size
    height, width = spec.size
    resample = RESAMPLE[spec.resample]
    if spec.resize == "squash":
        return image.resize((width, height), resample)
    edge = spec.shortest_edge or min(spec.size)
    new_w, new_h = (edge, int(edge * h / w)) if w <= h else (int(edge * w / h), edge)
    left, top = (new_w - width) / 2, (new_h - height) / 2
    x, y = (round(left), round(top)) if spec.centre == "round" else (int(left // 1), int(top // 1))
    exact = image.size == picture.size and new_w * new_h <= MAX_PIXELS
    if exact or x < 0 or y < 0:
        resized = image.resize((new_w, new_h), resample)
        return resized.crop((x, y, x + width, y + height))
    across, down = image.width / new_w, image.height / new_h
    right, bottom = min((x + width) * across, image.width), min((y + height) * down, image.height)
    return image.resize((width, height), resample, box=(x * across, y * down, right, bottom))


def measure(item: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Return width and height of the upright picture in a file; reads its header alone.

    Raises:
        InputError: `open_picture` would refuse it before decoding; without its name.
    """
    try:
        with _open_header(item) as image:
            width, height = image.size
            return (height, width) if _turn(image) in _SWAPPING else (width, height)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise InputError(f"cannot be decoded ({type(error).__name__}: {error})") from None


def _open_file(
    item: str | os.PathLike[str] | bytes, at_least: int
) -> tuple[Image.Image, tuple[int, int], int]:
    """Decode a path or bytes.

    Returns:
        The first frame, not yet upright, the size before any reduction, and the number of frames.
    """
    with _open_header(item) as image:
        width, height = image.size
        if at_least and image.format in ("JPEG", "MPO"):
            # draft() keeps both sides at or above what is asked for, so ask by the short side
            scale = at_least / min(width, height)
            image.draft(None, (max(1, int(width * scale)), max(1, int(height * scale))))
        image.load()
        frames = int(getattr(image, "n_frames", 1))
        return image.copy() if frames > 1 else image, (width, height), frames


def _open_header(item: str | os.PathLike[str] | bytes) -> Image.Image:
    """Open a path or bytes after checking what can be checked before decoding."""
    if isinstance(item, bytes):
        length = len(item)
        stream: Any = io.BytesIO(item)
    else:
        length, stream = file_size(os.fspath(item)), os.fspath(item)
    if length == 0:
        raise InputError("is empty")
    if length > MAX_BYTES:
        raise InputError(f"has {length / 1e6:.0f} MB, more than the {MAX_BYTES / 1e6:.0f} allowed")
    try:
        image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        raise InputError(f"is not an image ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        limit = MAX_PIXELS / 1e6
        raise InputError(f"has more than the {limit:.0f} million pixels allowed") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise InputError(
            f"has {width}x{height} pixels, more than the {MAX_PIXELS / 1e6:.0f} million allowed"
        )
    return image


def file_size(path: str) -> int:
    """Return the length of a picture's file in bytes.

    Raises:
        InputError: There is no such file, or it is no regular one; without its name.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if "://" in path[:16]:
            raise InputError(
                "remote images are not fetched", "download it and give the file"
            ) from None
        raise InputError("no such file") from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError("is a folder, not an image")
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited on for ever
        raise InputError("is not a regular file")
    return found.st_size


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the picture upright by its EXIF orientation, None when it is already."""
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # unreadable metadata is no reason to refuse the picture
        return None


def _from_array(array: np.ndarray[Any, Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not array.size:
        raise InputError(f"has shape {array.shape}, not [h, w] or [h, w, 1|3|4]")
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError("has floats outside 0..1", "scale it to 0..1, or to uint8 0..255")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"has dtype {array.dtype}, not uint8 or float in 0..1")
    return Image.fromarray(np.ascontiguousarray(array))
