"""Where the pictures lie that a listing names.

A listing may come from a stranger, so its names stay below one folder. Only a table that users
write themselves may name a file by its absolute path, as training CSVs commonly do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from seesay.errors import UsageError


class Refused(ValueError):
    """A name that leads nowhere we go; the message says why."""


@dataclass(frozen=True)
class Places:
    """The folder that names are relative to.

    Attributes:
        root: Absolute.
        absolute: Whether a name may be an absolute path.
    """

    root: str
    absolute: bool = False

    def resolve(self, name: str) -> str:
        """Return the absolute path of a picture.

        Raises:
            Refused: The name is empty, remote, or leaves the folder.
        """
        if not name or "\0" in name:
            raise Refused("names no picture" if not name else f"{name!r} is no file name")
        if "://" in name[:16]:
            raise Refused(f"{name}: remote images are not fetched; download it and name the file")
        if os.path.isabs(name):
            if not self.absolute:
                raise Refused(f"{name} is an absolute path; names are relative to {self.root}")
            return os.path.normpath(name)
        path = os.path.normpath(os.path.join(self.root, name))
        if not path.startswith(os.path.join(self.root, "")):
            raise Refused(f"{name} leaves {self.root}; move the file, or give another root")
        return path


def find_root(
    given: str | os.PathLike[str] | None, listing: str, guesses: Iterable[str], example: str | None
) -> str:
    """Return the folder of the pictures: the one given, or the first guess that has the example.

    Args:
        given: What the user said; believed.
        listing: The file with the names.
        guesses: Folders relative to that of the listing; the first is taken when all fail.
        example: A name the listing has.

    Raises:
        UsageError: There is no such folder as the one given.
    """
    if given is not None:
        root = os.path.abspath(given)
        if not os.path.isdir(root):
            raise UsageError(f"root={os.fspath(given)!r} is not a folder")
        return root
    folder = os.path.dirname(os.path.abspath(listing))
    folders = [os.path.normpath(os.path.join(folder, guess)) for guess in guesses]
    for root in folders:
        if example and os.path.isfile(os.path.join(root, example)):
            return root
    return folders[0]
