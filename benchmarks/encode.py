"""Image towers of real sizes with random weights: seesay against transformers and openvino.

Speed does not depend on the weights' values. Agreement does, so every variant's vectors are
compared with those of transformers in fp32; note that random weights have no outlier channels, so
the int8 figure says nothing about released checkpoints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import seesay
from benchmarks.harness import Comparison, compare

SIZES: dict[str, dict[str, int]] = {
    "ViT-B/32": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
    },
    "ViT-L/14": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
    },
}
BASELINE = "transformers bf16"
Encoder = Callable[[Tensor], Tensor]


@contextmanager
def encoders(size: str) -> Iterator[dict[str, Encoder]]:
    """Yield the variants of one size, all of the same weights, read from one folder by each."""
    import transformers

    torch.manual_seed(0)
    # the text tower is not timed; a small one saves memory
    text = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        projection_dim=512,
        vision_config=SIZES[size],
        text_config={**text, "num_attention_heads": 1},
    )
    with tempfile.TemporaryDirectory() as folder:
        transformers.CLIPModel(config).save_pretrained(folder)
        found: dict[str, Encoder] = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            peer = transformers.CLIPVisionModelWithProjection.from_pretrained(
                folder, dtype=dtype, attn_implementation="sdpa"
            ).eval()
            found[f"transformers {name}"] = _transformers(peer, dtype)
        found |= _openvino(folder)
        for name, dtype, optimize in (
            ("seesay fp32", "float32", True),
            ("seesay bf16", "bfloat16", True),
            ("seesay int8", "bfloat16", "int8"),
        ):
            model = seesay.load(folder, device="cpu", dtype=dtype, optimize=optimize)
            found[name] = _seesay(model)
    yield found


def _transformers(peer: Any, dtype: torch.dtype) -> Encoder:
    return lambda pixels: F.normalize(peer(pixel_values=pixels.to(dtype)).image_embeds, dim=-1)


def _seesay(model: seesay.Model) -> Encoder:
    return lambda pixels: model.module.embed_image(
        pixels.to(model.dtype, memory_format=torch.channels_last)
    )


def _openvino(folder: str) -> dict[str, Encoder]:
    """The peer's tower compiled by openvino in bf16, where that is installed."""
    try:
        import openvino
    except ImportError:
        return {}
    import transformers

    peer = transformers.CLIPVisionModelWithProjection.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.peer = peer

        def forward(self, pixels: Tensor) -> Tensor:
            embedded: Tensor = self.peer(pixel_values=pixels).image_embeds
            return F.normalize(embedded, dim=-1)

    example = torch.zeros(1, 3, 224, 224)
    graph = openvino.convert_model(Tower(), example_input=example)
    graph.reshape([-1, 3, 224, 224])
    options = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
    }
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    return {"openvino bf16": lambda x: torch.from_numpy(compiled(x.numpy())[0])}


def missing() -> dict[str, str]:
    """Say why a peer is not in the comparison."""
    reasons = {"open_clip": "needs torchvision, of which no build fits the CPU build of torch"}
    try:
        import openvino  # noqa: F401
    except ImportError:
        reasons["openvino"] = "not installed"
    return reasons


def run(size: str, batches: tuple[int, ...]) -> list[Comparison]:
    """Compare all variants of one size at several batch sizes."""
    comparisons = []
    with encoders(size) as found, torch.inference_mode():
        for batch in batches:
            torch.manual_seed(batch)
            pixels = torch.randn(batch, 3, 224, 224)
            comparisons.append(_compare(size, batch, found, pixels))
    return comparisons


def _compare(size: str, batch: int, found: dict[str, Encoder], pixels: Tensor) -> Comparison:
    reference = found["transformers fp32"](pixels)
    extra = {
        name: {"cosine": float(F.cosine_similarity(encode(pixels).float(), reference).min())}
        for name, encode in found.items()
    }
    # samples of ten seconds and more straddle the machine's states and would take the others' time
    heavy = size == "ViT-L/14" and batch > 1
    timed = {name: e for name, e in found.items() if not (heavy and name.endswith("fp32"))}
    return compare(
        f"{size} image tower, batch {batch}",
        {name: lambda e=encode: e(pixels) for name, encode in timed.items()},  # type: ignore[misc]
        BASELINE,
        items=batch,
        budget=180,
        extra=extra,
    )
