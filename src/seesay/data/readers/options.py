"""What a user may say about a dataset beyond where it lies."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TypedDict

from seesay.errors import UsageError, nearest


class Said(TypedDict, total=False):
    """The fields of `Options`, as arguments."""

    split: str | None
    image_column: str | None
    text_column: str | None
    label_column: str | None
    separator: str | None
    root: str | os.PathLike[str] | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the file itself does not say, or says in its own words.

    Attributes:
        split: Which part: "train", "val", "train+restval".
        image_column: The column with the picture's file name.
        text_column: The column with the caption.
        label_column: The column with the class.
        separator: What stands between the columns of a CSV.
        root: The folder that file names are relative to.
    """

    split: str | None = None
    image_column: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    separator: str | None = None
    root: str | os.PathLike[str] | None = None

    @classmethod
    def of(cls, said: Said, *besides: str) -> Options:
        """Return what was said in arguments.

        Args:
            said: The arguments.
            besides: Those that whoever was called takes itself, and that may be meant too.

        Raises:
            UsageError: There is no option of that name.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in said:
            if name not in known:
                close = nearest(name, [*known, *besides])
                raise UsageError(
                    f"there is no option {name}.{close}", f"there are {', '.join(known)}"
                )
        return cls(**said)

    def only(self, form: str, *allowed: str) -> None:
        """Refuse options that a format has no use for.

        Raises:
            UsageError: One of them is given.
        """
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None and field.name not in allowed:
                raise UsageError(
                    f"{field.name}={getattr(self, field.name)!r} means nothing for {form}",
                    f"what can be said there: {', '.join(allowed) or 'nothing'}",
                )

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts asked for; none means all."""
        return tuple(part.strip() for part in self.split.split("+")) if self.split else ()
