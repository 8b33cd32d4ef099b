"""Low-rank adapters: train a few numbers beside weights that stay as they are.

Paper: arXiv 2106.09685. The layers are peft's, and so is the format adapters are kept in; reading
one is `seesay.load(..., adapter=)`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from seesay.checkpoints.adapter import BASE, CONFIG, DIGEST, PREFIX, WEIGHTS, inject
from seesay.checkpoints.files import tensor_digest, write_json, write_safetensors
from seesay.checkpoints.native import write_folder
from seesay.errors import UsageError, nearest
from seesay.registry import variants
from seesay.train.freeze import Trainable, matching, trainable

if TYPE_CHECKING:
    from seesay.model import Model
    from seesay.train.config import LoraConfig

_ADDED = re.compile(r"\.(lora_\w+|base_layer)\b")
"""In the name of what peft put into a module."""
_UPDATE = re.compile(r"(\.lora_[AB])\.default\.")
"""In the name of an update's matrix."""


def add_lora(module: nn.Module, config: LoraConfig) -> Trainable:
    """Put adapters into a module and freeze everything else, in place.

    The module's class, methods and outputs stay: an adapter begins as an update by zero.

    Args:
        module: Without an adapter so far.
        config: Which layers, and what is trained besides. A target is the last part of the names
            of linear layers ("q_proj"), or a pattern of whole names ("text.*.q_proj").

    Raises:
        UsageError: The module has an adapter already, a target matches no linear layer, or a
            pattern matches no parameter.
        MissingExtra: peft is not installed.
    """
    if hasattr(module, "peft_config"):
        raise UsageError(
            "this model has an adapter already", "load it with merge=True, and train another on top"
        )
    besides = [module.get_parameter(name) for name in matching(module, config.train)]
    layers = _targets(module, config.targets)
    module.requires_grad_(False)
    inject(
        module,
        ranks=dict.fromkeys(layers, config.rank),
        alphas=dict.fromkeys(layers, config.alpha),
        dropout=config.dropout,
    )
    for parameter in besides:
        parameter.requires_grad_(True)
    return trainable(module)


def save_adapter(
    model: Model,
    folder: str | os.PathLike[str],
    *,
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write what `add_lora` made trainable as a folder that peft and `seesay.load` read.

    Args:
        model: The base as it was loaded; its module has adapters now.
        folder: Where to; an adapter that is there is replaced.
        tensors: The module's state with other values, such as their running mean; None for its
            own.

    Raises:
        UsageError: Nothing of the module is trained, or the folder holds something else.
        StorageError: The folder cannot be written; what was there before is still there.
    """
    module: Any = model.module
    if not hasattr(module, "peft_config") or not trainable(module).trained:
        raise UsageError("there is no adapter in training to save", "add_lora makes one")
    values = module.state_dict() if tensors is None else tensors
    moving = {name for name, p in module.named_parameters() if p.requires_grad}
    whole = _whole_modules(module, moving & values.keys())
    # all of every update, since what is frozen of one began at random; and the running statistics
    # of what is trained
    still = {name for name, p in module.named_parameters() if not p.requires_grad}
    owners = {name.rpartition(".")[0] for name in moving}
    kept = {
        PREFIX + _UPDATE.sub(r"\1.", name): value.detach().cpu().contiguous()
        for name, value in values.items()
        if _UPDATE.search(name) or (name not in still and name.rpartition(".")[0] in owners)
    }
    config = module.peft_config["default"].to_dict() | {
        "base_model_name_or_path": _lasting(model.name),
        "inference_mode": True,
        "modules_to_save": sorted(whole) or None,
    }
    config["target_modules"] = sorted(config["target_modules"])

    def fill(temporary: Path) -> None:
        told = {BASE: model.fingerprint, DIGEST: tensor_digest(kept)}
        write_safetensors(temporary / WEIGHTS, kept, told)
        write_json(temporary / CONFIG, config)

    write_folder(Path(folder), fill, may_replace=lambda old: (old / CONFIG).is_file())


def _targets(module: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Return the names of the linear layers that targets stand for, in the module's order."""
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    found: set[str] = set()
    for target in targets:
        matched = {n for n in linear if fnmatchcase(n, target) or fnmatchcase(n, f"*.{target}")}
        if not matched:
            ends = dict.fromkeys(name.rpartition(".")[2] for name in linear)
            raise UsageError(
                f"{target!r} is no linear layer.{nearest(target, [*ends, *linear])}",
                f"names of linear layers end in {', '.join(ends)}",
            )
        found |= matched
    if not found:
        raise UsageError("no layer is named for an adapter", "usual ones: q_proj, v_proj")
    return [name for name in linear if name in found]


def _whole_modules(module: nn.Module, moving: Set[str]) -> set[str]:
    """Return the names of the modules that peft is told to load whole.

    All that is trained besides the updates is saved under its own name, and peft puts a lone
    parameter where it belongs. Of whole modules it keeps the original too, so that an adapter can
    be switched off; that works for those whose name is not the end of another one's.
    """
    names = [name for name, _ in module.named_modules()]
    found = set()
    for name, part in module.named_modules():
        own = {f"{name}.{key}" for key, _ in part.named_parameters(recurse=False)}
        if own and own <= moving and not _ADDED.search(name):
            alone = sum(other.endswith(name) for other in names) == 1
            found |= {name} if alone else set()
    return found


def _lasting(name: str) -> str:
    """Return a model's name so that it means the same elsewhere: paths become absolute."""
    path = os.path.expanduser(name)
    known = [v for key, (_, v) in variants().items() if name in (key, v.hub)]
    built_in = any(variant.weights is not None for variant in known)
    return os.path.abspath(path) if os.path.exists(path) and not built_in else name
