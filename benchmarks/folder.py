"""A folder of JPEGs to vectors: seesay against the loop that a user of transformers writes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import seesay
from benchmarks.encode import SIZES
from benchmarks.harness import Comparison, compare
from benchmarks.pictures import write
from benchmarks.preprocess import processor

BATCH = 8


def run(count: int = 24) -> list[Comparison]:
    """Compare the whole job with ViT-B/32."""
    import transformers

    torch.manual_seed(0)
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        projection_dim=512,
        vision_config=SIZES["ViT-B/32"],
        text_config={**text, "num_attention_heads": 1},
    )
    with tempfile.TemporaryDirectory() as weights, tempfile.TemporaryDirectory() as folder:
        transformers.CLIPModel(config).save_pretrained(weights)
        processor().save_pretrained(weights)
        paths = write(Path(folder), count)
        peer = processor()

        def loop(dtype: torch.dtype) -> Tensor:
            vectors = []
            with torch.inference_mode():
                for start in range(0, count, BATCH):
                    images = [Image.open(path) for path in paths[start : start + BATCH]]
                    values = peer(images, return_tensors="pt")["pixel_values"].to(dtype)
                    embedded = models[dtype](pixel_values=values).image_embeds
                    vectors.append(F.normalize(embedded.float(), dim=-1))
            return torch.cat(vectors)

        models = {
            dtype: transformers.CLIPVisionModelWithProjection.from_pretrained(
                weights, dtype=dtype
            ).eval()
            for dtype in (torch.float32, torch.bfloat16)
        }
        exact = seesay.load(weights, device="cpu", optimize=True)
        fast = seesay.load(weights, device="cpu", optimize=True, decode="fast")
        int8 = seesay.load(weights, device="cpu", optimize="int8", decode="fast")
        ways = {
            "transformers fp32": lambda: loop(torch.float32),
            "transformers bf16": lambda: loop(torch.bfloat16),
            "seesay exact": lambda: exact.embed_images(paths, batch_size=BATCH),
            "seesay fast": lambda: fast.embed_images(paths, batch_size=BATCH),
            "seesay fast int8": lambda: int8.embed_images(paths, batch_size=BATCH),
        }
        reference = loop(torch.float32)
        extra = {
            name: {"cosine": float(F.cosine_similarity(way(), reference).min())}
            for name, way in ways.items()
        }
        return [
            compare(
                "folder of JPEGs to vectors, ViT-B/32",
                ways,
                "transformers bf16",
                items=count,
                budget=180,
                extra=extra,
            )
        ]
