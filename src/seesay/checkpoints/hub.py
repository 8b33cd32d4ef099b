"""Checkpoints from the Hugging Face hub, pinned by commit and kept in its own cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from seesay.checkpoints.files import Source
from seesay.errors import CheckpointError, StorageError, UsageError

COMPANIONS = ("*.json", "*.txt", "*.model")
"""What lies beside weights: configuration and tokenizers. No code is ever fetched."""

Names = Callable[[Path], Sequence[str]]
"""Names of the weights that belong to a folder of companions, the preferred one first."""


def fetch(
    repo: str, revision: str | None, offline: bool | None, weights: Names
) -> tuple[Path, str]:
    """Return a local folder with a repository's configuration and weights, and its commit.

    The companions come first, since a repository may hold the weights of several layouts or of
    several models; they tell which file is meant, and only that one is fetched.

    Args:
        repo: "owner/name".
        revision: A commit, branch or tag; None for the main branch.
        offline: Never reach for the network; None honours HF_HUB_OFFLINE.
        weights: Names of weight files.

    Raises:
        UsageError: There is no such repository or revision, or it needs a permission.
        StorageError: The hub cannot be reached, and the files are not in the cache.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cached = _cached(repo, revision, weights)
    if constants.HF_HUB_OFFLINE if offline is None else offline:
        if cached is None:
            raise StorageError(
                f"{repo} is not in the cache, and the network is switched off",
                "give a local folder or file instead, or load it once with the network on",
            )
        return cached, cached.name
    try:
        folder = _download(repo, revision, COMPANIONS)
        if not _has_weights(folder, weights):
            wanted = _choose(_listing(repo, folder.name), weights(folder))
            folder = _download(repo, folder.name, wanted) if wanted else folder
        return folder, folder.name
    except GatedRepoError:
        raise UsageError(
            f"{repo} asks you to accept its terms first", f"https://huggingface.co/{repo}"
        ) from None
    except RevisionNotFoundError:
        raise UsageError(f"{repo} has no revision {revision!r}") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise UsageError(
            f"there is no model {repo!r}, neither here nor on the hub",
            "seesay models lists the known ones; a local folder or file works too",
        ) from None
    except Exception as error:  # the client and its transports raise many kinds
        if cached is not None:
            return cached, cached.name
        raise StorageError(
            f"{repo} cannot be fetched ({type(error).__name__}: {str(error).splitlines()[:1]})",
            "give a local folder or file instead",
        ) from None


def _cached(repo: str, revision: str | None, weights: Names) -> Path | None:
    """Return the cached snapshot if it is there and has all its weights."""
    try:
        folder = _download(repo, revision, [], local_files_only=True)
    except Exception:  # the client raises many kinds for what is not there
        return None
    return folder if _has_weights(folder, weights) else None


def _has_weights(folder: Path, weights: Names) -> bool:
    try:
        return Source(folder).using(weights(folder)) is not None
    except CheckpointError:  # a shard was not fetched
        return False


def _download(
    repo: str, revision: str | None, names: Sequence[str], *, local_files_only: bool = False
) -> Path:
    """Return the snapshot's folder after fetching what it lacks of these names or globs."""
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        repo,
        revision=revision,
        allow_patterns=list(names),
        local_files_only=local_files_only,
        max_workers=4,
    )
    return Path(folder)


def _listing(repo: str, revision: str | None) -> list[str]:
    """Return the names of a repository's files; asks once, and not for long."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, revision=revision, timeout=10)
    return [sibling.rfilename for sibling in info.siblings or []]


def _choose(files: Sequence[str], weights: Sequence[str]) -> list[str]:
    """Return the patterns of the preferred weights that are among the files."""
    for name in weights:
        found = [file for file in files if "/" not in file and fnmatch(file, name)]
        if len(found) == 1:
            if name.endswith(".index.json"):  # model.safetensors.index.json, model-00001-of-...
                stem, suffix = name.removesuffix(".index.json").split(".", 1)
                return [found[0], f"{stem}-*.{suffix}"]
            return found
    return []
