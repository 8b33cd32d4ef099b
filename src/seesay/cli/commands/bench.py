"""`seesay bench`: how fast a model is on this machine."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from seesay import registry
from seesay.cli.options import model_options
from seesay.cli.output import note, print_json
from seesay.errors import InputError, UsageError

if TYPE_CHECKING:
    from seesay.model import Model, Optimize

WAYS: dict[str, Optimize] = {"plain": False, "packed": True, "int8": "int8"}


@click.command()
@model_options
@click.option(
    "--optimize",
    type=click.Choice(list(WAYS)),
    default="packed",
    show_default=True,
    help="How the linear layers are prepared (CPU).",
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of one operation.")
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    show_default=True,
    help="Spent on each measurement.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(
    model: str | None,
    device: str,
    dtype: str,
    optimize: str,
    batch_size: int,
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Time a model on this machine: images and texts a second, and the wait for one.

    A variant without built-in weights (see `seesay models`) is timed with random ones: speed does
    not depend on their values.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    loaded = _model(model or registry.DEFAULT_MODEL, device, dtype, WAYS[optimize])
    record: dict[str, Any] = {
        "model": loaded.name,
        "device": str(loaded.device),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "optimize": optimize if loaded.device.type == "cpu" else "plain",
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
        "measurements": measure(loaded, batch_size, seconds),
    }
    if as_json:
        print_json(record)
        return
    click.echo(
        f"{record['model']}: {record['dtype']} on {record['device']}, {record['optimize']}, "
        f"{record['threads']} thread(s)"
    )
    for what, found in record["measurements"].items():
        click.echo(
            f"  {what:24} {found['milliseconds']:9.2f} ms   {found['per_second']:8.1f} a second"
        )


def measure(model: Model, batch_size: int, seconds: float) -> dict[str, dict[str, float]]:
    """Time what a user waits for.

    Returns:
        By what was done: the median time of one call in milliseconds, and items a second.
    """
    import torch

    from seesay.processing.image import open_picture

    spec = model.processor.image
    needed = spec.shortest_edge or min(spec.size)
    jpeg = _jpeg()
    pixels = torch.randn(batch_size, 3, *spec.size, generator=torch.Generator().manual_seed(0))
    sentence = "a photo of a small dog and a red bicycle in front of an old house"
    words = sentence.split()
    texts = [" ".join(words[: 3 + i % (len(words) - 3)]) for i in range(batch_size)]

    def decode(at_least: int) -> Callable[[], Any]:
        return lambda: model.processor.images([open_picture(jpeg, at_least=at_least)])

    work: dict[str, tuple[int, Callable[[], Any]]] = {
        "decode a JPEG": (1, decode(0)),
        "decode it fast": (1, decode(needed)),
        "encode one image": (1, lambda: model.embed_pixels(pixels[:1])),
        f"encode {batch_size} images": (batch_size, lambda: model.embed_pixels(pixels)),
        "encode one text": (1, lambda: model.embed_texts(texts[:1])),
        f"encode {batch_size} texts": (batch_size, lambda: model.embed_texts(texts)),
    }
    found = {}
    for what, (items, call) in work.items():
        try:
            spent = _median(call, seconds)
        except InputError as error:  # a checkpoint without tokenizer files has no texts
            note(f"{what}: {error.what}")
            continue
        found[what] = {"milliseconds": round(spent * 1e3, 3), "per_second": round(items / spent, 2)}
    return found


def _median(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call, of as many as fit after one to warm up."""
    call()
    samples: list[float] = []
    until = time.perf_counter() + seconds
    while not samples or time.perf_counter() < until:
        start = time.perf_counter()
        call()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples)


def _model(name: str, device: str, dtype: str, optimize: Optimize) -> Model:
    from seesay.model import create, load, pack

    if name not in registry.variants() or registry.variant(name)[1].weights is not None:
        return load(name, device=device, dtype=dtype, optimize=optimize)
    note(f"{name} has no built-in weights: timed with random ones")
    model = create(name, device=device, dtype=dtype)
    model.module.requires_grad_(False)
    if optimize and model.device.type == "cpu":
        pack(model, int8=optimize == "int8")
    elif optimize == "int8":
        raise UsageError(f"int8 runs on the CPU, not on {model.device}", "--device cpu")
    return model


def _jpeg(width: int = 1024, height: int = 768) -> bytes:
    """A made-up photograph of the size that phones send."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.normal(0, 4, (height, width, 1)).astype(np.int16)
    stream = io.BytesIO()
    picture = Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8))
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()
