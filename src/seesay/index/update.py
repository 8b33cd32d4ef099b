"""Bringing a collection up to date with the files on the disk.

Files are compared by size and time of change, then by contents. Only contents the collection has
never seen go through the network: a renamed, moved, copied or merely touched picture keeps its
vector. What was encoded is put in the journal at once, so a killed run loses at most one batch.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seesay.errors import InputError
from seesay.index.items import Item
from seesay.index.journal import Journal
from seesay.index.scan import Contents, Found, look, read
from seesay.index.store import Generation, Root
from seesay.processing.folder import walk
from seesay.processing.image import FORMATS

if TYPE_CHECKING:
    from seesay.model import Model

WINDOW = 256
"""How many files are identified, then encoded, together: few enough to stay in the disk's cache."""


@dataclass(frozen=True)
class Failure:
    """A file that could not be read as a picture, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far an update is: files done of those that are new or look changed; how many failed."""

    done: int
    total: int
    failed: int


@dataclass(frozen=True)
class Report:
    """What an update did, counting pictures.

    Attributes:
        added: New files with new contents or copies of known ones.
        changed: Files with other contents than before.
        removed: Files that are gone.
        renamed: Files whose contents were known under a name that is gone.
        unchanged: The rest of the collection.
        encoded: How many went through the network; the others were known by their contents.
        failed: Files among those looked at that are no readable pictures, and folders that may
            not be entered.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    renamed: int = 0
    unchanged: int = 0
    encoded: int = 0
    failed: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The new state: what `store.publish` needs, the report, and whether there is any change."""

    items: list[Item]
    failed: list[Item]
    roots: tuple[Root, ...]
    width: int
    rows: Iterator[NDArray[np.float16]]
    report: Report
    differs: bool


class Update:
    """One run. Call it with the lock held.

    Args:
        old: The state to start from.
        journal: Where finished encodings go, and where an earlier run left some.
        model: Called when something has to be encoded, and not before.
        decoder: Identifies the software that reads pictures.
        rehash: Read every file again, whatever its time of change says.
    """

    def __init__(
        self,
        old: Generation,
        journal: Journal,
        model: Callable[[], Model],
        decoder: str,
        *,
        rehash: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._old = old
        self._journal = journal
        self._model = model
        self._rehash = rehash
        self._progress = progress
        items = old.items()
        self._items = {item.path: item for item in items}
        self._failed = {item.path: item for item in old.failed()}
        self._row = {item.sha256: row for row, item in enumerate(items)}
        self._pixels = {item.sha256: item.pixels for item in items}
        retry = decoder != old.state.decoder
        self._hopeless = {
            item.sha256: item.reason or ""
            for item in self._failed.values()
            if item.sha256 and not retry
        }
        self._unsteady: dict[str, str] = {}
        self._locked: list[str] = []
        self._encoded = self._done = self._total = 0

    def run(self, targets: Sequence[str], recursive: bool) -> Outcome:
        """Look at folders and files and work out the new state."""
        found, roots = self._find(targets, recursive)
        after: dict[str, Item] = {}
        todo = []
        for file in found.values():
            known = self._items.get(file.path) or self._failed.get(file.path)
            if known and not self._rehash and self._same(known, file):
                after[file.path] = known
            else:
                todo.append(file)
        self._total = len(todo)
        self._tell()
        after |= {item.path: item for item in self._identify(todo)}
        ordered = (after[path] for path in found)
        failures = [Failure(path, "the folder may not be read") for path in self._locked]
        failures += [Failure(item.path, item.reason) for item in ordered if item.reason is not None]
        after |= self._kept(after, targets)
        return self._outcome(after, roots, tuple(failures))

    def _find(
        self, targets: Sequence[str], recursive: bool
    ) -> tuple[dict[str, Found], tuple[Root, ...]]:
        """List the files to look at, and the roots there are now."""
        roots = {root.path: root for root in self._old.state.roots}
        paths: dict[str, None] = {}
        for target in targets:
            if os.path.isdir(target):
                roots[target] = Root(target, recursive)
                paths |= dict.fromkeys(walk(target, recursive=recursive, locked=self._locked))
            else:
                paths[target] = None
        looks = ((path, look(path)) for path in paths)
        return {path: file for path, file in looks if file}, tuple(roots.values())

    def _same(self, known: Item, file: Found) -> bool:
        """Whether a file is as it was when it was read."""
        unsure = known.mtime_ns == 0 or (known.sha256 not in self._hopeless and known.reason)
        return not unsure and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)

    def _kept(self, after: dict[str, Item], targets: Sequence[str]) -> dict[str, Item]:
        """Return the known files that were not looked at and are not gone.

        What lies in the folders looked at is checked, and what may have been moved into them.
        """
        inside = tuple(os.path.join(target, "") for target in targets)
        arrived = {item.sha256 for path, item in after.items() if path not in self._items}
        kept = {}
        for path, item in (self._items | self._failed).items():
            if path in after:
                continue
            suspect = path.startswith(inside) or path in targets or item.sha256 in arrived
            if not (suspect and look(path) is None):
                kept[path] = item
        return kept

    # -- contents --------------------------------------------------------------------------------

    def _identify(self, files: Sequence[Found]) -> Iterator[Item]:
        """Yield each file's item, in order; the next window is read while one is encoded."""
        windows = [files[i : i + WINDOW] for i in range(0, len(files), WINDOW)]
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(_identities, windows[0]) if windows else None
            for following in [*windows[1:], None]:
                if ahead is None:
                    return
                identities = ahead.result()
                ahead = pool.submit(_identities, following) if following is not None else None
                done = self._done + len(identities)
                self._encode(identities)
                self._done = done
                self._tell()
                yield from (self._item(*identity) for identity in identities)

    def _item(self, path: str, contents: Contents, reason: str | None) -> Item:
        digest = contents.sha256
        if reason is not None or digest in self._unsteady:
            # nothing is known of the contents: look again next time
            return Item(path, "", contents.size, 0, reason=reason or self._unsteady[digest])
        if digest in self._hopeless:
            reason, pixels = self._hopeless[digest], (0, 0)
        elif digest in self._row:
            pixels = self._pixels[digest]
        else:
            pixels = self._journal.pixels(digest)
        return Item(path, digest, contents.size, contents.mtime_ns, pixels, reason)

    def _encode(self, identities: Sequence[Identity]) -> None:
        """Put the vectors of the contents nobody knows into the journal."""
        unknown: dict[str, str] = {
            contents.sha256: path
            for path, contents, reason in identities
            if reason is None and not self._knows(contents.sha256)
        }
        if not unknown:
            return
        self._done += len(identities) - len(unknown)
        pictures = _Pictures(unknown)
        for chunk in self._model().stream_images(pictures):
            vectors = chunk.vectors.numpy()
            good = []
            for i in range(chunk.start, chunk.start + len(vectors)):
                digest = pictures.digests[i]
                if i in pictures.unsteady:
                    self._unsteady[digest] = pictures.unsteady[i]
                elif i in chunk.failures:
                    # the message begins with the name of the item, here "image 7"
                    self._hopeless[digest] = chunk.failures[i].what.removeprefix(f"image {i}: ")
                elif not np.isfinite(vectors[i - chunk.start]).all():
                    self._hopeless[digest] = "the model gives no finite vector for it"
                else:
                    good.append(i)
            if good:
                self._journal.append(
                    [pictures.digests[i] for i in good],
                    [pictures.pixels[i] for i in good],
                    vectors[[i - chunk.start for i in good]].astype("<f2"),
                )
            self._encoded += len(good)
            self._done += len(vectors)
            self._tell()

    def _knows(self, digest: str) -> bool:
        return digest in self._row or digest in self._journal or digest in self._hopeless

    def _tell(self) -> None:
        if self._progress is not None:
            failed = len(self._hopeless) + len(self._unsteady)
            self._progress(Progress(self._done, self._total, failed))

    # -- the new state ---------------------------------------------------------------------------

    def _outcome(
        self, after: dict[str, Item], roots: tuple[Root, ...], failures: tuple[Failure, ...]
    ) -> Outcome:
        ordered = sorted(after.values(), key=lambda item: os.fsencode(item.path))
        items = [item for item in ordered if item.reason is None]
        failed = [item for item in ordered if item.reason is not None]
        counts = _compare(self._items, items)
        width = int(self._old.vectors.shape[1]) or self._journal.width
        return Outcome(
            items,
            failed,
            roots,
            width,
            self._rows(items, width),
            replace(counts, encoded=self._encoded, failed=failures),
            differs=items != list(self._items.values())
            or failed != list(self._failed.values())
            or roots != self._old.state.roots,
        )

    def _rows(self, items: list[Item], width: int) -> Iterator[NDArray[np.float16]]:
        """Yield the vectors of the items, from the old generation and from the journal."""
        journal = self._journal.vectors() if len(self._journal) else self._old.vectors[:0]
        for start in range(0, len(items), 8192):
            piece = items[start : start + 8192]
            rows = np.empty((len(piece), width), "<f2")
            for row, item in zip(rows, piece, strict=True):
                place = self._row.get(item.sha256)
                if place is not None:
                    row[:] = self._old.vectors[place]
                else:
                    row[:] = journal[self._journal.row(item.sha256)]
            yield rows


Identity = tuple[str, Contents, str | None]
"""A file's path, its contents, and why they cannot be read."""


class _Pictures(Sequence[Any]):
    """Files read when the model asks for them, refused when they are no longer what they were."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.digests = list(paths)
        self.pixels = [(0, 0)] * len(paths)
        self.unsteady: dict[int, str] = {}
        self._paths = list(paths.values())

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: Any) -> bytes:
        try:
            data, contents = read(self._paths[index])
            if contents.sha256 != self.digests[index]:
                raise InputError("changed while it was being read")
        except InputError as error:
            self.unsteady[index] = error.what
            raise
        self.pixels[index] = pixels_of(data)
        return data


def _identities(files: Sequence[Found]) -> list[Identity]:
    """Read files to know their contents."""
    found: list[Identity] = []
    for file in files:
        try:
            found.append((file.path, read(file.path)[1], None))
        except InputError as error:
            found.append((file.path, Contents("", max(file.size, 0), 0), error.what))
    return found


def pixels_of(data: bytes) -> tuple[int, int]:
    """Width and height of the upright picture, from the header alone; (0, 0) when there is none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            # for other containers Pillow would decode the whole picture to look for EXIF
            has_exif = image.format in ("JPEG", "TIFF") or "exif" in image.info
            turned = has_exif and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (height, width) if turned else (width, height)
    except Exception:  # a damaged picture: the model says what is wrong with it
        return 0, 0


def _compare(before: dict[str, Item], items: Sequence[Item]) -> Report:
    """Count what happened to the pictures; a rename is a lost name and a new one, same contents."""
    after = {item.path: item.sha256 for item in items}
    same = sum(path in before and before[path].sha256 == digest for path, digest in after.items())
    changed = sum(path in before for path in after) - same
    lost = Counter(item.sha256 for path, item in before.items() if path not in after)
    gained = Counter(digest for path, digest in after.items() if path not in before)
    renamed = (lost & gained).total()
    return Report(
        added=gained.total() - renamed,
        changed=changed,
        removed=lost.total() - renamed,
        renamed=renamed,
        unchanged=same,
    )
