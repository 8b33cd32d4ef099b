"""`load`, `create` and the `Model` handle: a module, its processor and what they were made from.

The handle turns lists of images and strings into tensors and back, in batches, in input order,
with bad items reported one by one. Everything a task does beyond that lives in `tasks/`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from seesay import registry
from seesay.device import pick_device, pick_dtype
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.tasks import vectors
from seesay.tasks.answer import answer, rank
from seesay.tasks.caption import caption
from seesay.tasks.classify import classify
from seesay.tasks.compare import compare
from seesay.tasks.describe import describe
from seesay.tasks.detect import detect
from seesay.tasks.entail import entail
from seesay.tasks.features import features
from seesay.tasks.ground import ground
from seesay.tasks.match import match
from seesay.tasks.pictures import as_list as as_list
from seesay.tasks.prompt import prompt
from seesay.tasks.read import read
from seesay.tasks.relevance import relevance
from seesay.tasks.segment import segment
from seesay.tasks.task import TASKS, Task
from seesay.tasks.vectors import ImageChunk as ImageChunk

if TYPE_CHECKING:
    from seesay.family import Family
    from seesay.protocols import Processor
    from seesay.types import ImageInput

Optimize = bool | Literal["int8"]


class Model:
    """A loaded model. Made by `seesay.load` and `seesay.create`.

    Attributes:
        module: The `nn.Module`; sees tensors only.
        processor: Pictures and strings to tensors.
        family: The declaration it belongs to.
        config: Its frozen configuration.
        name: What it was loaded as.
        fingerprint: Hex digest of configuration, processing and weights; an index remembers it.
        revision: The hub commit, when it came from the hub.
    """

    def __init__(
        self,
        module: nn.Module,
        processor: Processor,
        family: Family,
        config: Any,
        *,
        name: str,
        fingerprint: str,
        revision: str | None = None,
    ) -> None:
        self.module = module
        self.processor = processor
        self.family = family
        self.config = config
        self.name = name
        self.fingerprint = fingerprint
        self.revision = revision
        self.decode: Literal["exact", "fast"] = "exact"
        self.device = torch.device("cpu")
        self.dtype = torch.float32
        matrices = (p.dtype for p in module.parameters() if p.ndim > 1)
        self.stored_dtype = next(matrices, torch.float32)

    def __repr__(self) -> str:
        return f"<seesay.Model {self.name} ({self.family.name}, {self.dtype}, {self.device})>"

    def to(
        self, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
    ) -> Model:
        """Move to a device and a floating-point type ("auto": see `seesay.load`); returns self."""
        device = pick_device(device) if device is not None else self.device
        dtype = pick_dtype(dtype, device) if dtype is not None else self.dtype
        # a number that multiplies every score and one that is added: rounded, they shift them all
        named = dict(self.module.named_parameters())
        held = [named[name] for name in ("logit_scale", "logit_bias") if name in named]
        exact = [number.detach().float() for number in held]
        self.module.to(device=device, dtype=dtype)
        for parameter, number in zip(held, exact, strict=True):
            parameter.data = number.to(device)
        self.device, self.dtype = device, dtype
        return self

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a native checkpoint folder that `seesay.load` reads back bit for bit.

        Warns when the weights were stored more precisely than they are held now: what is written
        is what is held. Load with dtype="float32" to lose nothing.

        Raises:
            StorageError: The folder cannot be written; nothing half-written stays behind.
        """
        from seesay.checkpoints.native import save

        if self.stored_dtype.itemsize > self.dtype.itemsize:
            warnings.warn(
                f"saving {self.dtype} weights of a model stored in {self.stored_dtype}; "
                "load it with dtype='float32' to keep every bit",
                stacklevel=2,
            )
        save(Path(folder), self.family, self.config, self.processor, self.module, name=self.name)

    def tasks(self) -> list[str]:
        """Return the names of the tasks this model can do."""
        return [name for name, task in TASKS.items() if supports(self.family, task, self.config)]

    # -- vectors ---------------------------------------------------------------------------------

    def embed_images(
        self,
        images: Iterable[ImageInput] | ImageInput,
        *,
        batch_size: int = 32,
        errors: list[InputError] | None = None,
    ) -> Tensor:
        """Encode images as unit vectors, in input order.

        Args:
            images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
            batch_size: How many go through the network together.
            errors: When given, bad items are appended here and their rows are NaN.

        Returns:
            Float32 tensor [N, E] on the CPU.

        Raises:
            ItemsFailed: Some images cannot be read and `errors` is None; lists them all.
        """
        items = as_list(images)
        failures: dict[int, InputError] = {}
        rows: list[Tensor] = []
        for chunk in self.stream_images(items, batch_size=batch_size):
            rows.append(chunk.vectors)
            failures |= chunk.failures
        if failures and errors is None:
            raise ItemsFailed(list(failures.values()), len(items))
        if errors is not None:
            errors.extend(failures.values())
        return torch.cat(rows) if rows else torch.empty(0, vectors.width(self))

    def stream_images(
        self, images: Sequence[ImageInput], *, batch_size: int = 32
    ) -> Iterator[ImageChunk]:
        """Encode images chunk by chunk while the next chunks are being decoded.

        Yields:
            Consecutive chunks of at most `batch_size` images; never raises for a bad image.
        """
        self.require("embed")
        return vectors.stream_images(self, images, batch_size)

    def each_image(
        self, images: Sequence[ImageInput], *, batch_size: int = 32
    ) -> Iterator[tuple[Tensor, InputError | None]]:
        """Yield the vector [E] of each image in input order, and its error or None."""
        for chunk in self.stream_images(images, batch_size=batch_size):
            for i, vector in enumerate(chunk.vectors, chunk.start):
                yield vector, chunk.failures.get(i)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised pixels [B, 3, h, w] to float32 unit vectors [B, E] on the CPU."""
        return vectors.embed_pixels(self, pixels)

    def embed_texts(self, texts: Sequence[str] | str, *, batch_size: int = 256) -> Tensor:
        """Encode strings as unit vectors, in input order.

        Returns:
            Float32 tensor [N, E] on the CPU.

        Raises:
            InputError: An item is not a string, or the checkpoint came without a tokenizer.
        """
        self.require("embed")
        return vectors.embed_texts(self, texts, batch_size)

    # -- tasks: each is a function in a file of its own, called with the model ---------------------

    caption = caption
    answer = answer
    rank = rank
    detect = detect
    ground = ground
    segment = segment
    read = read
    describe = describe
    prompt = prompt
    classify = classify
    match = match
    features = features
    compare = compare
    entail = entail
    relevance = relevance

    def require(self, name: str, form: str = "") -> None:
        """Make sure that the model can do a task, or a form of it that its family may have.

        Raises:
            UsageError: It cannot; names some that can.
        """
        task = TASKS[name]
        if not supports(self.family, task, self.config, form):
            able = [
                (variant.weights is None, variant.hub or called)
                for called, (family, variant) in registry.variants().items()
                if (variant.weights or variant.hub or variant.released)
                and supports(family, task, variant.config(), form)
            ]
            able.sort(key=lambda one: one[0])  # what is here first
            some = ", ".join(called for _, called in able[:4]) + (", ..." if able[4:] else "")
            raise UsageError(
                f"{self.name} cannot {task.command}" + (f" ({form})" if form else ""),
                f"models that can: {some}" if able else f"train one: seesay train {task.command}",
            )


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    optimize: Optimize = False,
    decode: Literal["exact", "fast"] = "exact",
    compat: Literal["hf", "lavis", "hub"] | None = None,
    offline: bool | None = None,
    image_size: int | tuple[int, int] | None = None,
    adapter: str | os.PathLike[str] | None = None,
    merge: bool = True,
) -> Model:
    """Load a model for inference.

    Args:
        name: A hub id ("openai/clip-vit-base-patch32"), a local folder in any published layout, a
            .pt or .safetensors file, a built-in ("seesay/mini"), or an adapter on one of these.
        device: "auto" is the GPU when there is one.
        dtype: "auto" is bfloat16 where the processor multiplies it natively, else float32.
        revision: The hub commit, tag or branch.
        optimize: True packs the linear layers for inference on the CPU (the module can no longer
            be trained or saved); "int8" also quantises them.
        decode: "exact" pixels, or "fast": JPEGs are decoded at the scale that is needed.
        compat: "hf" gives transformers' pixels and token ids where they differ from those of the
            original training code (another centre for odd margins; mojibake is left alone);
            "lavis" those of that library; "hub" those of the code published with the weights. A
            family's card says what differs.
        offline: Never reach for the network; None honours HF_HUB_OFFLINE.
        image_size: Side, or height and width, of the pixels that pictures become, by families that
            look at any size: larger for small letters, smaller for speed.
        adapter: A folder with a LoRA adapter in peft's format, trained on this very model.
        merge: Add the adapter to the weights; False keeps peft's layers beside them.

    Raises:
        UsageError: Nothing is called this, or it cannot look at images of that size.
        CheckpointError: The files are damaged, foreign, or do not fit their configuration.
        ModelMismatch: The adapter was trained on another model.
    """
    from seesay.checkpoints.load import read

    if decode not in ("exact", "fast"):
        raise UsageError(f"decode={decode!r} is neither 'exact' nor 'fast'")
    if optimize not in (False, True, "int8"):
        raise UsageError(f"optimize={optimize!r} is not False, True or 'int8'")
    if compat not in (None, "hf", "lavis", "hub"):
        raise UsageError(f"compat={compat!r} is not None, 'hf', 'lavis' or 'hub'")
    if optimize and not merge:
        raise UsageError("an adapter that is not merged cannot be packed", "merge=True")
    how: dict[str, Any] = {"revision": revision, "offline": offline, "compat": compat}
    if image_size is not None:
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(sides) != 2 or not all(isinstance(n, int) and n > 0 for n in sides):
            raise UsageError(f"image_size={image_size!r} is no height and width in pixels")
        how["image_size"] = sides
    loaded = read(os.fspath(name), adapter=adapter, merge=merge, **how)
    model = Model(
        loaded.module,
        loaded.processor,
        loaded.family,
        loaded.config,
        name=os.fspath(name),
        fingerprint=loaded.fingerprint,
        revision=loaded.revision,
    )
    model.module.eval().requires_grad_(False)
    model.decode = decode
    model.to(device, dtype)
    if optimize and model.device.type == "cpu":
        pack(model, int8=optimize == "int8")
    return model


def pack(model: Model, *, int8: bool) -> None:
    """Prepare a model's module for inference on the CPU, in place; see `seesay.nn.packed`."""
    from seesay.generation import trial
    from seesay.nn import packed
    from seesay.protocols import Generator

    writes = isinstance(model.module, Generator)
    packed.pack(model.module, int8=int8, begin=trial.begin if writes else None)


def create(
    name: str,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
) -> Model:
    """Build a variant with random weights: for tests, for training from scratch, for timing.

    Raises:
        UsageError: No variant has this name.
    """
    family, variant = registry.variant(name)
    config = variant.config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = family.build(config)
    processor = family.make_processor(config, variant.settings())
    model = Model(module, processor, family, config, name=name, fingerprint=f"random-{name}-{seed}")
    model.module.eval()
    return model.to(device, dtype)


def supports(family: Family, task: Task, config: Any = None, form: str = "") -> bool:
    """Whether the module of a configuration can do a task; any of the family's when None.

    A form is one of those that the family may be asked for the task in (`Asking.forms`).
    """
    configs = [v.config() for v in family.variants.values()] if config is None else [config]
    return any(
        task.allows(family.module_class(c)) and (not task.prompted or _asked(family, task, c, form))
        for c in configs
    )


def _asked(family: Family, task: Task, config: Any, form: str) -> bool:
    asking = family.asking(task.name, config)
    return asking is not None and (not form or form in asking.forms)
