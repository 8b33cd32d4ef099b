"""JPEG files to normalised pixels: seesay, exact and fast, against transformers' processor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.harness import Comparison, compare
from benchmarks.pictures import write
from seesay.processing.image import ImageSpec, open_picture, pixels

SPEC = ImageSpec(
    size=(224, 224),
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    centre="floor",
)


def processor() -> Any:
    """Return transformers' processor on Pillow; the other backend needs torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil()


def run(count: int = 16) -> list[Comparison]:
    """Compare the three ways on one set of files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), count)
        peer = processor()

        def theirs() -> Tensor:
            images = [Image.open(path) for path in paths]
            values: Tensor = peer(images, return_tensors="pt")["pixel_values"]
            return values

        def exact() -> Tensor:
            return pixels([open_picture(path) for path in paths], SPEC)

        def fast() -> Tensor:
            return pixels([open_picture(path, at_least=224) for path in paths], SPEC)

        reference = theirs()
        ways = {"transformers": theirs, "seesay exact": exact, "seesay fast": fast}
        extra = {
            name: {"mean difference": float((way() - reference).abs().mean())}
            for name, way in ways.items()
        }
        size = torch.tensor([path.stat().st_size for path in paths]).double().mean() / 1e3
        return [
            compare(
                f"JPEG 1024x768, {size:.0f} kB, to pixels",
                ways,
                "transformers",
                items=count,
                extra=extra,
            )
        ]
