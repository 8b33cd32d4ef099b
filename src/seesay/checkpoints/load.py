"""From a name to a loaded module: built-ins, local folders and files, the hub."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from seesay import registry
from seesay.checkpoints import native
from seesay.checkpoints.empty import build_empty
from seesay.checkpoints.files import Source, read_tensors
from seesay.config import to_dict
from seesay.errors import CheckpointError, UsageError, nearest

if TYPE_CHECKING:
    from seesay.family import Family, Layout
    from seesay.protocols import Processor


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory.

    Attributes:
        family: The declared family.
        variant: The name of the published size, when it was loaded by name.
        config: Its configuration.
        settings: Its processor's settings.
        processor: Pictures and strings to tensors.
        module: On the CPU, in the precisions it was stored in.
        layout: "native", or the name of the published layout it was read from.
        source: The folder or file it was read from.
        revision: The hub commit, when it came from there.
        fingerprint: Hex digest of family, configuration, settings and weights; the same weights
            have the same one whatever the layout and precision they were stored in.
    """

    family: Family
    variant: str | None
    config: Any
    settings: dict[str, Any]
    processor: Processor
    module: nn.Module
    layout: str
    source: Path
    revision: str | None
    fingerprint: str


def read(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    offline: bool | None = None,
    layout: str | None = None,
    compat: str | None = None,
) -> Loaded:
    """Read a checkpoint.

    Args:
        name: A built-in or variant name, a local folder or file, or a hub id.
        revision: Hub commit, branch or tag; None for the one the variant was checked against.
        offline: Never reach for the network; None honours HF_HUB_OFFLINE.
        layout: Read it as this layout; None finds out.
        compat: "hf" reproduces transformers' preprocessing where ours departs from it.

    Raises:
        UsageError: Nothing is called this.
        CheckpointError: The files are damaged, foreign, or do not fit their configuration.
        StorageError: The hub cannot be reached.
    """
    path, known = Path(name), _variant(os.fspath(name))
    commit = None
    if known is not None and known[1].weights is not None and revision is None:
        path = known[1].weights
    elif known is None and path.exists():
        pass
    else:
        from seesay.checkpoints.hub import fetch

        repo = known[1].hub if known else os.fspath(name)
        if repo is None:
            raise UsageError(f"{name} has no released weights", "seesay.create makes random ones")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            names = registry.variants()
            raise UsageError(
                f"there is no file, folder or model {str(name)!r}.{nearest(str(name), names)}",
                "seesay models lists them all",
            )
        wanted = revision or (known[1].revision if known else None)
        path, commit = fetch(repo, wanted, offline, _weight_names(layout))
    loaded = _read(Source(path), layout, compat)
    variant = known[0] if known else loaded.variant
    return dataclasses.replace(loaded, variant=variant, revision=commit)


def _read(source: Source, layout: str | None, compat: str | None) -> Loaded:
    """Read a local checkpoint."""
    folder = source.path if source.path.is_dir() else None
    if folder and (folder / native.MANIFEST).is_file() and layout in (None, "native"):
        found = native.read_manifest(folder)
        family, config, settings = found.family, found.config, found.settings
        module, expected = build_empty(family, config, source.path)
        tensors = read_tensors(folder / native.WEIGHTS)
        _check_own(tensors, expected, folder / native.WEIGHTS)
        variant = found.name if found.name in family.variants else None
        layout = "native"
    else:
        family, published, narrowed = _recognise(source, layout)
        config, settings = _describe(published, narrowed)
        module, expected = build_empty(family, config, source.path)
        keymap = published.keymap(config)
        tensors = keymap.forward(narrowed.tensors, expected, str(source.path))
        variant, layout = None, published.name
    if compat is not None:
        settings = settings | {"compat": compat}
    module.load_state_dict(tensors, assign=True)
    try:
        processor = family.make_processor(config, settings, source.folder)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source.path}: bad processor settings ({error!r})") from None
    return Loaded(
        family=family,
        variant=variant,
        config=config,
        settings=processor.settings(),
        processor=processor,
        module=module,
        layout=layout,
        source=source.path,
        revision=None,
        fingerprint=fingerprint(family.name, config, processor.settings(), tensors),
    )


def fingerprint(
    family: str, config: Any, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> str:
    """Return a hex digest of what a model is; a sample of each tensor stands for all of it."""
    told = {"family": family, "config": to_dict(config), "settings": settings}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}{list(tensor.shape)}".encode())
        stride = max(1, -(-tensor.numel() // 4096))
        digest.update(tensor.reshape(-1)[::stride].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _recognise(source: Source, layout: str | None) -> tuple[Family, Layout, Source]:
    """Find the family and layout of a local checkpoint."""
    problem: CheckpointError | None = None
    names = []
    for family in registry.families():
        for published in family.known_layouts():
            names.append(f"{family.name}/{published.name}")
            if layout not in (None, published.name):
                continue
            try:
                narrowed = source.using(published.files)
                if narrowed is not None and published.recognises(narrowed):
                    return family, published, narrowed
            except CheckpointError as error:
                problem = problem or error
    if problem is not None:
        raise problem
    if layout is not None and all(not name.endswith(f"/{layout}") for name in names):
        raise UsageError(f"there is no layout {layout!r}", f"known: native, {', '.join(names)}")
    raise CheckpointError(
        f"{source.path} holds no checkpoint that seesay knows",
        f"a folder with configuration and weights, or a weight file, of: {', '.join(names)}",
    )


def _describe(published: Layout, source: Source) -> tuple[Any, dict[str, Any]]:
    """Read configuration and settings; whatever is wrong with them is the checkpoint's fault."""
    try:
        config = published.config(source)
        return config, published.settings(source, config)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{source.path}: its configuration is damaged or incomplete ({error!r})"
        ) from None


def _check_own(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Compare a native file's tensors with the configuration's."""
    wrong = sorted(tensors.keys() ^ expected.keys())
    wrong += [n for n in tensors.keys() & expected.keys() if tensors[n].shape != expected[n].shape]
    if wrong:
        raise CheckpointError(
            f"{path}: the tensors do not fit the configuration: {', '.join(wrong[:8])}"
        )


def _variant(name: str) -> tuple[str, Any] | None:
    """Return the variant of this name or hub id."""
    for key, (_, variant) in registry.variants().items():
        if name in (key, variant.hub):
            return key, variant
    return None


def _weight_names(layout: str | None) -> list[str]:
    """Return all names of weight files, those of the families listed first coming first."""
    layouts = [known for family in registry.families() for known in family.known_layouts()]
    chosen = [known for known in layouts if layout in (None, known.name)]
    return [native.WEIGHTS, *(name for known in chosen for name in known.files)]
