"""Which weights move: freezing by pattern, and keeping what is frozen in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from seesay.errors import UsageError, nearest


class Trainable(NamedTuple):
    """How many numbers training changes, and how many there are."""

    trained: int
    total: int

    def __str__(self) -> str:
        share = 100 * self.trained / max(1, self.total)
        return f"{self.trained:,} of {self.total:,} parameters are trained ({share:.3g} %)"


def freeze(module: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Take parameters out of training; the others stay as they are.

    A frozen parameter has no gradient. That alone would leave dropout switched on, and running
    statistics moving, in a part that should not change: `training_mode` sees to that.

    Args:
        module: Any.
        patterns: See `matching`.

    Returns:
        The names of the parameters that matched.

    Raises:
        UsageError: A pattern matches nothing.
    """
    names = matching(module, patterns)
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return names


def training_mode(module: nn.Module) -> None:
    """Put a module in training mode, and what is frozen inside it in evaluation mode.

    Used wherever `module.train()` would be: that switches frozen parts on as well. A part is
    frozen when it has parameters and none of them is trained.
    """
    module.train()
    for part in _frozen_parts(module):
        part.eval()


def trainable(module: nn.Module) -> Trainable:
    """Count the parameters; one that is used twice counts once."""
    counts = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return Trainable(sum(n for n, trained in counts if trained), sum(n for n, _ in counts))


def matching(module: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Return the names of the parameters that patterns stand for, in the module's order.

    Args:
        module: Any.
        patterns: Shell-style: "*" is any text, dots included, "?" one character, "[0-3]" one of
            some. Each is compared with whole names of parameters ("*.bias", "logit_scale") and of
            modules, which stand for all that is below them ("image", "text.blocks.[0-3]").

    Raises:
        UsageError: A pattern matches nothing; the nearest names are given.
    """
    # a parameter that has several names is matched by any of them
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    matched: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = {n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")}
        if not found:
            raise UsageError(
                f"{pattern!r} matches no parameter.{nearest(pattern, _known(names))}",
                f"the module's parts: {', '.join(dict.fromkeys(n.split('.')[0] for n in names))}",
            )
        matched |= found
    return [name for name in names if name in matched]


def _known(names: Sequence[str]) -> list[str]:
    """Names of parameters and of all modules above them."""
    parts = [name.split(".") for name in names]
    above = (".".join(p[:depth]) for p in parts for depth in range(1, len(p) + 1))
    return list(dict.fromkeys(above))


def _frozen_parts(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest modules that have parameters and train none of them."""
    states = {parameter.requires_grad for parameter in module.parameters()}
    if states == {False}:
        yield module
    elif states:
        for child in module.children():
            yield from _frozen_parts(child)
