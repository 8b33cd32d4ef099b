"""Adapters in peft's format: a base model's name, and what to add to its weights.

An adapter folder holds adapter_config.json and adapter_model.safetensors, as peft writes and reads
them. Adding its updates to the weights is a product of two small matrices a layer, so using one
needs no peft; keeping it apart from the weights, to train it further, does.

Nothing in the folder reaches peft but numbers and names that were checked here: some of its
settings name modules to import.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from seesay.checkpoints.files import read_json, read_tensors, tensor_digest
from seesay.errors import CheckpointError, MissingExtra, ModelMismatch, nearest

if TYPE_CHECKING:
    from seesay.checkpoints.load import Loaded

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the names of the base's parameters."""
BASE, DIGEST = "seesay.base", "seesay.digest"
"""Metadata of the weight file: the base's fingerprint, and a digest of the tensors."""

_READ = {"peft_type", "r", "lora_alpha", "use_rslora", "alpha_pattern", "init_lora_weights"}
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules", "inference_mode",
    "lora_dropout", "megatron_core", "modules_to_save", "peft_version", "qalora_group_size",
    "rank_pattern", "revision", "target_modules", "task_type",
}  # fmt: skip
"""Settings that do not change what the tensors mean."""
_NEUTRAL = {"runtime_config": {"ephemeral_gpu_offload": False}}
_USUAL_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base's weights as they are; the others change them."""


class Update(NamedTuple):
    """What is added to the weight of one linear layer: scale * up @ down."""

    down: Tensor  # [rank, in]
    up: Tensor  # [out, rank]
    scale: float


@dataclass(frozen=True)
class Adapter:
    """An adapter as it was read.

    Attributes:
        folder: Where from.
        base: What the base model was loaded as, None when the adapter does not tell.
        fingerprint: The base model's, None when the adapter was written by others.
        updates: By the name of the layer.
        whole: Parameters and buffers that were trained themselves, by name.
    """

    folder: Path
    base: str | None
    fingerprint: str | None
    updates: Mapping[str, Update]
    whole: Mapping[str, Tensor]

    def merged(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the base's tensors with the adapter in them; what it changes becomes float32.

        Raises:
            CheckpointError: The adapter does not fit; all that is wrong is listed.
        """
        found, wrong = dict(tensors), []
        for name, value in self.whole.items():
            if name not in tensors:
                wrong.append(f"there is no {name}.{nearest(name, tensors)}")
            elif tensors[name].shape != value.shape:
                wrong.append(f"{name} is {list(tensors[name].shape)}, not {list(value.shape)}")
            elif tensors[name].is_floating_point() != value.is_floating_point():
                wrong.append(f"{name} is {tensors[name].dtype}, not {value.dtype}")
            else:
                found[name] = value
        for name, (down, up, scale) in self.updates.items():
            weight = found.get(f"{name}.weight")
            shape = (len(up), down.shape[1])
            if weight is None:
                wrong.append(f"there is no layer {name}.{nearest(name, _layers(tensors))}")
            elif tuple(weight.shape) != shape:
                wrong.append(f"{name} is {list(weight.shape)}, the update {list(shape)}")
            else:
                found[f"{name}.weight"] = weight.float() + scale * (up.float() @ down.float())
        if wrong:
            raise CheckpointError(
                f"{self.folder} does not fit its base: {'; '.join(wrong[:6])}",
                "was it made for another model?",
            )
        return found


def is_adapter(name: str | os.PathLike[str]) -> bool:
    """Whether this is a local folder with an adapter in it."""
    try:
        return (Path(os.path.expanduser(name)) / CONFIG).is_file()
    except (OSError, ValueError):  # no name of a file at all
        return False


def base_of(folder: str | os.PathLike[str]) -> str:
    """Return what the base of an adapter was loaded as.

    Raises:
        CheckpointError: The adapter does not tell, or adapters are each other's base.
    """
    chain: dict[str, str] = {}
    place = os.fspath(folder)
    while is_adapter(place):
        config = Path(os.path.expanduser(place), CONFIG)
        if os.path.realpath(config) in chain:
            raise CheckpointError(f"{folder}: adapters that are each other's base")
        base = read_json(config).get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise CheckpointError(
                f"{config} names no base model", f"seesay.load(BASE, adapter={place!r})"
            )
        chain[os.path.realpath(config)] = place = base
    return next(iter(chain.values()))


def read_adapter(folder: str | os.PathLike[str]) -> Adapter:
    """Read an adapter folder.

    Raises:
        CheckpointError: It is damaged, or of a kind that seesay does not know.
    """
    place = Path(os.path.expanduser(folder))
    config = read_json(place / CONFIG)
    _check_kind(place / CONFIG, config)
    path = place / WEIGHTS
    tensors = read_tensors(path)
    with safe_open(path, framework="pt") as file:
        told = file.metadata() or {}
    if DIGEST in told and told[DIGEST] != tensor_digest(tensors):
        raise CheckpointError(f"{path} is damaged: its digest has changed", "copy it again")
    parts: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        layer, dot, part = name.partition(".lora_")
        if not dot:
            # what was trained of an adapted layer lies one level deeper in peft's
            whole[name.replace(".base_layer.", ".")] = tensor
        elif part in ("A.weight", "B.weight") and tensor.ndim == 2:
            parts.setdefault(layer, {})[part[0]] = tensor
        else:
            raise CheckpointError(f"{path}: {key} {list(tensor.shape)} is of no linear layer")
    updates = {}
    for layer, pair in parts.items():
        if pair.keys() != {"A", "B"} or len(pair["A"]) != pair["B"].shape[1] or not len(pair["A"]):
            raise CheckpointError(f"{path}: the two matrices of {layer} do not go together")
        scale = _scale(place / CONFIG, config, layer, rank=len(pair["A"]))
        updates[layer] = Update(pair["A"], pair["B"], scale)
    if not updates:
        raise CheckpointError(f"{path} holds no update of any layer")
    return Adapter(place, config.get("base_model_name_or_path"), told.get(BASE), updates, whole)


def adapt(loaded: Loaded, adapter: Adapter, *, merge: bool) -> Loaded:
    """Put an adapter on a base model.

    Args:
        loaded: The base.
        adapter: What to put on it.
        merge: Add the updates to the weights; else the layers are peft's, which keep them apart.

    Returns:
        The same module, changed. Its fingerprint is that of the merged weights either way.

    Raises:
        ModelMismatch: The adapter was trained on another model.
        CheckpointError: It does not fit.
        MissingExtra: It shall not be merged, and peft is not installed.
    """
    from seesay.checkpoints.load import fingerprint

    if adapter.fingerprint not in (None, loaded.fingerprint):
        raise ModelMismatch(
            f"{adapter.folder} was trained on {adapter.base} ({adapter.fingerprint[:12]}), and "
            f"{loaded.source} is another model ({loaded.fingerprint[:12]})",
            "load it with the base, and the compat, that it was trained with",
        )
    tensors = adapter.merged(loaded.module.state_dict())
    if merge:
        loaded.module.load_state_dict(tensors, assign=True)
    else:
        attach(loaded.module, adapter)
    made = fingerprint(loaded.family.name, loaded.config, loaded.settings, tensors)
    return dataclasses.replace(loaded, fingerprint=made, variant=None, source=adapter.folder)


def attach(module: nn.Module, adapter: Adapter) -> None:
    """Replace the adapted layers of a module by peft's, which add the updates as they go.

    Raises:
        MissingExtra: peft is not installed.
    """
    ranks = {name: len(update.down) for name, update in adapter.updates.items()}
    alphas = {name: update.scale * ranks[name] for name, update in adapter.updates.items()}
    inject(module, ranks=ranks, alphas=alphas)
    with torch.no_grad():
        for name, update in adapter.updates.items():
            layer: Any = module.get_submodule(name)
            layer.lora_A["default"].weight.copy_(update.down)
            layer.lora_B["default"].weight.copy_(update.up)
        held = module.state_dict(keep_vars=True)
        own = {name.replace(".base_layer.", "."): tensor for name, tensor in held.items()}
        for name, value in adapter.whole.items():
            own[name].data = value.clone()


def inject(
    module: nn.Module,
    *,
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
    dropout: float = 0.0,
) -> None:
    """Replace linear layers by peft's, in place; the module's class and methods stay.

    Args:
        module: Without an adapter so far.
        ranks: By the name of the layer.
        alphas: By the name of the layer; an update is scaled by alpha / rank.
        dropout: On the input of the updates.

    Raises:
        MissingExtra: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtra("peft", "train", "an adapter beside the weights") from None
    first = next(iter(ranks))
    told = LoraConfig(
        r=ranks[first],
        lora_alpha=alphas[first],  # type: ignore[arg-type]  # peft only divides it
        lora_dropout=dropout,
        target_modules=sorted(ranks),
        rank_pattern={f"^{re.escape(n)}": r for n, r in ranks.items() if r != ranks[first]},
        alpha_pattern={f"^{re.escape(n)}": a for n, a in alphas.items() if a != alphas[first]},
    )
    inject_adapter_in_model(told, module)


def _check_kind(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse adapters whose tensors mean something else than an update of a linear layer."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{path}: an adapter of kind {kind!r}; seesay knows LORA")
    odd = [
        name
        for name, value in config.items()
        if name not in _READ | _HARMLESS and value and value != _NEUTRAL.get(name)
    ]
    if config.get("init_lora_weights", True) not in _USUAL_STARTS:
        odd.append("init_lora_weights")
    if odd:
        told = ", ".join(f"{name}={config[name]!r}"[:60] for name in odd)
        raise CheckpointError(
            f"{path} asks for what seesay does not do: {told}",
            "merge it into its base with peft, and load the result",
        )


def _scale(path: Path, config: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return the factor on a layer's update."""
    alpha, patterns = config.get("lora_alpha"), config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise CheckpointError(f"{path}: alpha_pattern={patterns!r} is not a table of names")
    for name, value in patterns.items():
        plain = name.removeprefix("^").replace("\\.", ".")
        if not re.fullmatch(r"[\w.]+", plain):
            raise CheckpointError(f"{path}: alpha_pattern {name!r} is more than a name")
        if layer == plain or (not name.startswith("^") and layer.endswith(f".{plain}")):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not math.isfinite(alpha):
        raise CheckpointError(f"{path}: lora_alpha={alpha!r} is not a number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _layers(tensors: Mapping[str, Tensor]) -> list[str]:
    return [name.removesuffix(".weight") for name, tensor in tensors.items() if tensor.ndim == 2]
