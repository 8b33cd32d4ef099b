"""Made-up photographs: enough like real ones for a JPEG decoder and a resampler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed: int, width: int = 1024, height: int = 768) -> Image.Image:
    """Return clouds whose spectrum falls as that of photographs, behind opaque leaves.

    The mean absolute difference between fast and exact decoding is about that of real photographs
    (docs/performance.md has both).
    """
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None] * width
    distance = np.maximum(np.hypot(fy, fx), 1)
    canvas = np.empty((height, width, 3))
    shared = rng.uniform(0, 2 * np.pi, distance.shape)
    for channel in range(3):
        # channels of a photograph rise and fall together
        phase = shared + rng.uniform(-0.5, 0.5, distance.shape)
        clouds = np.fft.irfft2(np.exp(1j * phase) / distance**1.3, (height, width))
        canvas[..., channel] = clouds / clouds.std() * 45 + 115
    rows, columns = np.mgrid[:height, :width]
    for _ in range(40):
        radius = 8 * (1 - rng.uniform(0, 0.98)) ** -0.7
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        squeeze = rng.uniform(0.4, 2.5)
        inside = (rows - cy) ** 2 * squeeze + (columns - cx) ** 2 / squeeze < radius**2
        canvas[inside] = canvas[inside] * 0.35 + rng.uniform(0, 200, 3)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))


def write(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of 1024x768 and return their paths."""
    paths = []
    for i in range(count):
        path = folder / f"{i:04d}.jpg"
        photograph(i).save(path, quality=88)
        paths.append(path)
    return paths
