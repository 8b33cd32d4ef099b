"""Drawings to pixels: plain for evaluation, and two kinds of disturbed copies for training.

"outlined" redraws the SVG with dark strokes, sometimes with all fills white, so that the model
sees line art although no vendor it trains on draws so. "scene" moves, turns, recolours and puts
the drawing on a background.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from seesay.recipes.mini.drawings import Drawing, icon_svg, read_clip
from seesay.recipes.mini.sources import SOLID

SIZE = 224
KINDS = ("plain", "outlined", "scene")
_MAX_SVG = 1_500_000


class Renderer:
    """Renders drawings; keeps the icons of the vendors it has read."""

    def __init__(self, packages: Path) -> None:
        self.packages = packages
        self._icons: dict[str, dict[str, str]] = {}

    def svg(self, drawing: Drawing) -> str:
        """Return the drawing's SVG text."""
        if drawing.source == "openclipart":
            return read_clip(self.packages, drawing.key)
        if drawing.source not in self._icons:
            self._icons[drawing.source] = icon_svg(self.packages, drawing.source)
        return self._icons[drawing.source][drawing.key]

    def render(self, drawing: Drawing, kind: str) -> Image.Image | None:
        """Return an RGB picture of SIZE x SIZE, or None when the SVG does not render."""
        seed = hashlib.sha1(f"{drawing.source}/{drawing.key}/{kind}".encode()).digest()
        rng = np.random.default_rng(list(seed))
        art = self.cutout(drawing, outlined=rng if kind == "outlined" else None)
        if art is None:
            return None
        if kind == "plain":
            return _on(art, Image.new("RGB", (SIZE, SIZE), "white"), (0, 0))
        return _scene(art, rng, calm=kind == "outlined" or drawing.flag)

    def cutout(
        self, drawing: Drawing, outlined: np.random.Generator | None = None
    ) -> Image.Image | None:
        """Return the drawing alone, RGBA on a transparent square, or None when it does not render.

        Given a generator, the drawing is redrawn as line art.
        """
        if drawing.source == "solid":
            path = self.packages / SOLID.folder / "assets" / drawing.key
            return _squared(Image.open(path).convert("RGBA"))
        svg = self.svg(drawing)
        if len(svg) > _MAX_SVG:
            return None
        if outlined is not None:
            svg = _outlined(svg, outlined)
        return _rasterise(svg, crop=drawing.source == "openclipart")


def _rasterise(svg: str, *, crop: bool) -> Image.Image | None:
    """Return the art on a transparent square; `crop` cuts a page down to what is drawn on it."""
    try:
        data = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE * (2 if crop else 1), dpi=96)
        art = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    except (ValueError, OSError, Image.DecompressionBombError):
        return None
    drawn = art.getchannel("A").getbbox()
    if drawn is None or min(drawn[2] - drawn[0], drawn[3] - drawn[1]) < 8:
        return None
    if crop:
        art = art.crop(drawn)
    return _squared(art)


def _squared(art: Image.Image) -> Image.Image:
    art.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE, SIZE))
    square.paste(art, ((SIZE - art.width) // 2, (SIZE - art.height) // 2))
    return square


def _outlined(svg: str, rng: np.random.Generator) -> str:
    """Give shapes without a stroke of their own a dark one; half the time whiten the fills."""
    found = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ', svg)
    found = found or re.search(r'<svg[^>]*?\bwidth="([\d.]+)', svg)
    width = (float(found.group(1)) if found else 100.0) * rng.uniform(0.008, 0.028)
    style = f'stroke="#111" stroke-width="{width:.3f}" stroke-linejoin="round"'
    if rng.random() < 0.45:
        svg = re.sub(r'(fill[=:]\s*"?)(#[0-9a-fA-F]{3,8}|url\([^)]*\))', r"\1#fff", svg)
        style += ' fill="#fff"'
    return (
        re.sub(r"<g\b", f"<g {style}", svg, count=1)
        if "<g>" in svg
        else svg.replace("<svg", f"<svg {style}", 1)
    )


def _on(art: Image.Image, ground: Image.Image, at: tuple[int, int]) -> Image.Image:
    ground.paste(art, at, art)
    return ground


def _scene(art: Image.Image, rng: np.random.Generator, *, calm: bool) -> Image.Image:
    """Move, turn and recolour the drawing, and lay it on a background."""
    if not calm and rng.random() < 0.4:
        art = ImageOps.mirror(art)
    art = art.rotate(rng.normal(0, 4 if calm else 10), Image.Resampling.BICUBIC)
    side = int(SIZE * rng.uniform(0.75 if calm else 0.5, 1.0))
    art = art.resize((side, side), Image.Resampling.BICUBIC)
    at = rng.integers(0, SIZE - side + 1, 2)
    picture = _on(art, _ground(rng, calm), (int(at[0]), int(at[1])))
    if rng.random() < (0.25 if calm else 0.12):
        picture = ImageOps.grayscale(picture).convert("RGB")
    else:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.5, 1.5))
        if rng.random() < 0.25:
            hsv = np.array(picture.convert("HSV"))
            hsv[..., 0] += np.uint8(rng.integers(0, 256))
            picture = Image.fromarray(hsv, "HSV").convert("RGB")
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.75, 1.2))
    picture = ImageEnhance.Contrast(picture).enhance(rng.uniform(0.7, 1.3))
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.6)))
    return picture


def _ground(rng: np.random.Generator, calm: bool) -> Image.Image:
    """White, one colour, or a soft blot of colours."""
    choice = rng.random()
    if choice < (0.6 if calm else 0.25):
        return Image.new("RGB", (SIZE, SIZE), "white")
    if choice < 0.6:
        r, g, b = (int(c) for c in rng.integers(90 if rng.random() < 0.7 else 0, 256, 3))
        return Image.new("RGB", (SIZE, SIZE), (r, g, b))
    cells = int(rng.integers(2, 9))
    blot = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
    soft = blot.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return Image.blend(soft, Image.new("RGB", (SIZE, SIZE), "white"), rng.uniform(0.0, 0.7))
