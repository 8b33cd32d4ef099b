"""From a name to a loaded module: built-ins, local folders and files, the hub."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from seesay import registry
from seesay.checkpoints import native
from seesay.checkpoints.adapter import adapt, base_of, is_adapter, read_adapter
from seesay.checkpoints.empty import build_empty
from seesay.checkpoints.files import Source, read_tensors
from seesay.config import to_dict
from seesay.errors import CheckpointError, UsageError, nearest

if TYPE_CHECKING:
    from seesay.family import Family, Layout, Variant
    from seesay.protocols import Processor

_log = logging.getLogger("seesay")


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
        fingerprint: Hex digest of family, configuration, settings and weights; the same values
            have the same one whatever the layout. Rounding to another precision changes it.
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
    image_size: tuple[int, int] | None = None,
    adapter: str | os.PathLike[str] | None = None,
    merge: bool = True,
) -> Loaded:
    """Read a checkpoint.

    Args:
        name: A built-in, a local folder or file, a variant name, or a hub id: the first of these
            that there is.
        revision: Hub commit, branch or tag; None for the one the variant was checked against. Who
            gives one means the hub, whatever lies here under the same name.
        offline: Never reach for the network; None honours HF_HUB_OFFLINE.
        layout: Read it as this layout; None finds out.
        compat: One of the family's `compats`: "hf" reproduces transformers where ours departs from
            it, "lavis" the library of BLIP's authors, "hub" the code on the hub.
        image_size: Height and width of the pixels, in place of the checkpoint's own.
        adapter: A folder with an adapter to put on it. A `name` that is such a folder stands for
            the adapter and the base it was trained on.
        merge: Add the adapter's updates to the weights; else they are kept apart.

    Raises:
        UsageError: Nothing is called this, or it cannot look at images of that size.
        CheckpointError: The files are damaged, foreign, or do not fit their configuration.
        ModelMismatch: The adapter was trained on another model.
        StorageError: The hub cannot be reached.
    """
    name, adapter = _of_run(name), adapter and _of_run(adapter)
    if os.path.isfile(os.path.join(os.path.expanduser(name), "probe.json")):
        raise UsageError(
            f"{name} is a linear classifier on a model, not a model",
            "from Python: seesay.train.probe.load_probe(RUN).classify(images)",
        )
    if adapter is not None or is_adapter(name):
        how = {"revision": revision, "offline": offline, "layout": layout, "compat": compat}
        return _read_adapted(name, adapter, merge, how | {"image_size": image_size})
    path, known, commit = _locate(name, revision, offline, layout)
    usual = known[1].settings() if known else None
    loaded = _read(Source(path, usual=usual), layout, compat, image_size)
    variant = known[0] if known else loaded.variant
    return dataclasses.replace(loaded, variant=variant, revision=commit)


def _of_run(name: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The folder of a run stands for its best checkpoint, or the last if none was judged."""
    for kept in ("best", "last"):
        found = Path(os.path.expanduser(name)) / kept
        try:
            if found.is_symlink() and (found / "training.pt").is_file():
                return found
        except (OSError, ValueError):  # no name of a file at all
            break
    return name


def _read_adapted(
    name: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None,
    merge: bool,
    how: dict[str, Any],
) -> Loaded:
    """Read a base and put an adapter on it; the base may itself be an adapter on another one."""
    adapter = read_adapter(name if folder is None else folder)
    if folder is not None:
        return adapt(read(name, **how), adapter, merge=merge)
    base = base_of(name)
    try:
        loaded = read(base, **how)
    except UsageError as error:
        raise UsageError(
            f"{name} is an adapter on {base}: {error.what}",
            f"when the base is elsewhere: seesay.load(BASE, adapter={os.fspath(name)!r})",
        ) from None
    return adapt(loaded, adapter, merge=merge)


_PATH = re.compile(r"[./~]|.*(\.\.|\\)", re.DOTALL)
"""Names that begin or go on like this are never looked up on the hub."""


def _locate(
    name: str | os.PathLike[str], revision: str | None, offline: bool | None, layout: str | None
) -> tuple[Path, tuple[str, Variant] | None, str | None]:
    """Find what a name stands for: a built-in, else what is here, else what is on the hub.

    Returns:
        The folder or file, the released size with its name, and the commit.
    """
    told = os.fspath(name)
    known, local = _variant(told), os.path.expanduser(told)
    if revision is None:
        if known is not None and known[1].weights is not None:
            return known[1].weights, known, None
        if os.path.exists(local):
            return Path(local), None, None
    if isinstance(name, os.PathLike) or _PATH.match(told):
        if os.path.exists(local):
            raise UsageError(f"{told!r} is a path, and only the hub has a revision {revision!r}")
        raise UsageError(f"there is no file or folder {told!r}")
    repo = known[1].hub if known else told
    if known and known[1].released:
        raise UsageError(
            f"the weights of {told} are not on the hub",
            f"fetch a file of {known[1].released}, and load it from where it lies",
        )
    if repo is None:
        raise UsageError(f"{told} has no released weights", "seesay.create makes random ones")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        names = registry.variants()
        raise UsageError(
            f"there is no file, folder or model {told!r}.{nearest(told, names)}",
            "seesay models lists them all",
        )
    from seesay.checkpoints.hub import fetch

    wanted = revision or (known[1].revision if known else None)
    path, commit = fetch(repo, wanted, offline, lambda folder: _weight_names(folder, layout))
    return path, known, commit


def _read(
    source: Source, layout: str | None, compat: str | None, size: tuple[int, int] | None
) -> Loaded:
    """Read a local checkpoint."""
    if layout in (None, "native") and _is_native(source):
        path = source.folder / native.WEIGHTS
        with native.opened(source.folder) as found:
            tensors = read_tensors(path)
            module, expected = build_empty(found.family, found.config, source.path, len(tensors))
            _check_own(tensors, expected, path)
            settings = _wanted(found.family, found.settings, compat, size)
            sized = size is not None
            loaded = _assemble(source, found.family, found.config, settings, sized, module, tensors)
        name = found.name if found.name in found.family.variants else None
        return dataclasses.replace(loaded, variant=name)
    family, published, narrowed = _recognise(source, layout)
    config, settings = _describe(published, narrowed)
    theirs = narrowed.tensors
    module, expected = build_empty(family, config, source.path, len(theirs))
    tensors = published.keymap(config).forward(theirs, expected, str(source.path))
    settings = _wanted(family, settings, compat, size)
    loaded = _assemble(source, family, config, settings, size is not None, module, tensors)
    return dataclasses.replace(loaded, layout=published.name)


def _is_native(source: Source) -> bool:
    """Whether this is our own folder, or one of the two files that make it."""
    own = source.path.is_dir() or source.path.name in (native.MANIFEST, native.WEIGHTS)
    return own and (source.folder / native.MANIFEST).is_file()


def _wanted(
    family: Family, settings: dict[str, Any], compat: str | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """The settings of a checkpoint with what the user wants otherwise."""
    if compat is not None and compat not in family.compats:
        raise UsageError(
            f"{family.name} has no compat {compat!r}", f"known: {', '.join(family.compats)}"
        )
    if size is not None and not family.resizable:
        raise UsageError(f"{family.name} looks at pixels of the checkpoint's size alone")
    if compat is not None:
        settings = settings | {"compat": compat}
    if size is not None:
        settings = settings | {"image": settings["image"] | {"size": size}}
    return settings


def _assemble(
    source: Source,
    family: Family,
    config: Any,
    settings: dict[str, Any],
    sized: bool,
    module: nn.Module,
    tensors: dict[str, Tensor],
) -> Loaded:
    """Fill the module and make its processor; `sized`: for pixels of a size that was asked for."""
    module.load_state_dict(tensors, assign=True)
    try:
        if sized:
            _check_size(family, config, settings)
        processor = _processor(source, family, config, settings)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source.path}: bad processor settings ({error!r})") from None
    return Loaded(
        family=family,
        variant=None,
        config=config,
        settings=processor.settings(),
        processor=processor,
        module=module,
        layout="native",
        source=source.path,
        revision=None,
        fingerprint=fingerprint(family.name, config, processor.settings(), tensors),
    )


def _check_size(family: Family, config: Any, settings: dict[str, Any]) -> None:
    """Refuse a size of the pixels that was asked for and that the model cannot look at."""
    try:
        family.make_processor(config, settings, None)  # no file that could be at fault is read
    except CheckpointError as error:
        raise UsageError(error.what, error.hint) from None


def _processor(source: Source, family: Family, config: Any, settings: dict[str, Any]) -> Processor:
    """Make the processor, with the tokenizer beside the weights where it is theirs."""
    try:
        return family.make_processor(config, settings, source.folder)
    except CheckpointError as error:
        if source.path.is_dir() or _is_native(source):
            raise
        # what lies beside a file that was named alone need not belong to it
        processor = family.make_processor(config, settings, None)
        _log.warning("%s was read without the tokenizer beside it: %s", source.path, error.what)
        return processor


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
    looked: dict[tuple[Path, ...], Source] = {}  # what was read of a file is not read again
    for family in registry.families():
        for published in family.known_layouts():
            names.append(f"{family.name}/{published.name}")
            if layout not in (None, published.name):
                continue
            try:
                narrowed = source.using(published.files)
                if narrowed is None:
                    continue
                narrowed = looked.setdefault(narrowed.weights, narrowed)
                if published.recognises(narrowed):
                    return family, published, narrowed
            except CheckpointError as error:
                problem = problem or error
    if problem is not None:
        raise problem
    if layout not in (None, "native") and all(not name.endswith(f"/{layout}") for name in names):
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
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
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


def _variant(name: str) -> tuple[str, Variant] | None:
    """Return the variant of this name or hub id."""
    for key, (_, variant) in registry.variants().items():
        if name in (key, variant.hub):
            return key, variant
    return None


def _weight_names(folder: Path, layout: str | None) -> list[str]:
    """Return names of weight files, the preferred one first.

    Args:
        folder: What lies beside the weights: when it tells the layout, only that one's are meant.
        layout: The layout asked for.
    """
    if layout in (None, "native") and (folder / native.MANIFEST).is_file():
        return [native.WEIGHTS]
    layouts = [known for family in registry.families() for known in family.known_layouts()]
    chosen = [known for known in layouts if layout in (None, known.name)]
    told = [known for known in chosen if _told(known, folder)]
    return [name for known in told or chosen for name in known.files]


def _told(published: Layout, folder: Path) -> bool:
    """Whether a folder is known to be of a layout without looking at weights."""
    try:
        return published.recognises(Source(folder))
    except CheckpointError:  # a damaged file; whoever reads the weights will say so
        return False
