"""What does not fit when a checkpoint is read, told at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from seesay.errors import CheckpointError, nearest


@dataclass
class Problems:
    """What does not fit, gathered so that a user sees all of it at once."""

    source: str
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    def explains(self, names: Iterable[str]) -> bool:
        """Whether a tensor made of these names is absent because of a problem already noted."""
        return any(line.startswith(tuple(names)) for line in self.shapes)

    def raise_if_any(self, present: Iterable[str]) -> None:
        """Raise one error that lists everything."""
        lines = []
        if self.missing:
            close = nearest(self.missing[0], self.unused or present)
            lines.append(f"{len(self.missing)} missing: {some(self.missing)}.{close}")
        if self.unused:
            lines.append(f"{len(self.unused)} not known: {some(self.unused)}")
        if self.shapes:
            lines.append(f"{len(self.shapes)} do not fit: {some(self.shapes, '; ')}")
        if lines:
            raise CheckpointError(
                f"{self.source}: the tensors do not fit the configuration: " + "; ".join(lines),
                "the weights and the configuration beside them must belong together",
            )


def some(names: Sequence[str], separator: str = ", ", limit: int = 8) -> str:
    """Return the first names, and how many more there are."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(names[:limit]) + more
