"""Where each tensor of a published layout goes, and the way back, with nothing left over.

A rule reads some names of the published layout and gives some names of ours; names may have holes
(`patterns.py`). The same rules run backwards to write the published layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seesay.checkpoints.patterns import compiled, filled, group
from seesay.checkpoints.problems import Problems, some
from seesay.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """Some tensors of the published layout become some tensors of ours.

    Attributes:
        theirs: Patterns of the published names.
        ours: Patterns of our names; empty when the tensors are dropped.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Turn theirs into ours."""
        return tensors

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Turn ours into theirs."""
        return tensors


@dataclass(frozen=True, init=False)
class Rename(Rule):
    """The same tensor under another name."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__((theirs,), (ours,))


@dataclass(frozen=True, init=False)
class Transpose(Rule):
    """A matrix stored the other way round."""

    def __init__(self, theirs: str, ours: str) -> None:
        super().__init__((theirs,), (ours,))

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Transpose the matrix."""
        return [tensors[0].T.contiguous()]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Transpose it back."""
        return self.forward(tensors)


@dataclass(frozen=True)
class Reshape(Rule):
    """The same numbers in another shape.

    Attributes:
        into: Our shape; -1 once at most.
        back: Their shape; -1 once at most.
    """

    into: tuple[int, ...]
    back: tuple[int, ...]

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Give the tensor our shape."""
        return [tensors[0].reshape(self.into)]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Give the tensor their shape."""
        return [tensors[0].reshape(self.back)]


@dataclass(frozen=True, init=False)
class Split(Rule):
    """One tensor of theirs cut into equal parts along the first dimension."""

    def __init__(self, theirs: str, ours: Sequence[str]) -> None:
        super().__init__((theirs,), tuple(ours))

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Cut."""
        if len(tensors[0]) % len(self.ours):
            raise ValueError(f"{len(tensors[0])} rows cannot be cut into {len(self.ours)}")
        return [part.contiguous() for part in tensors[0].chunk(len(self.ours))]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Join."""
        return [torch.cat(tensors)]


@dataclass(frozen=True, init=False)
class Fuse(Rule):
    """Several tensors of theirs, of equal size, joined along the first dimension."""

    def __init__(self, theirs: Sequence[str], ours: str) -> None:
        super().__init__(tuple(theirs), (ours,))

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Join."""
        return [torch.cat(tensors)]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Cut."""
        return [part.contiguous() for part in tensors[0].chunk(len(self.theirs))]


@dataclass(frozen=True, init=False)
class Drop(Rule):
    """A tensor that may be there and that we do not need, with the reason."""

    why: str = field(compare=False)

    def __init__(self, theirs: str, why: str) -> None:
        super().__init__((theirs,), ())
        object.__setattr__(self, "why", why)


@dataclass(frozen=True, init=False)
class Constant(Rule):
    """A number of the configuration stored as a tensor: written, and not needed when reading."""

    value: int

    def __init__(self, theirs: str, value: int) -> None:
        super().__init__((theirs,), ())
        object.__setattr__(self, "value", value)


@dataclass(frozen=True, init=False)
class Computed(Rule):
    """A tensor that follows from the configuration: it may be absent, must be right, is written.

    Attributes:
        make: Returns the tensor.
        why: The reason why we need not keep it.
    """

    make: Callable[[], Tensor] = field(compare=False)
    why: str = field(compare=False)

    def __init__(self, theirs: str, make: Callable[[], Tensor], why: str) -> None:
        super().__init__((theirs,), ())
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "why", why)


@dataclass(frozen=True, init=False)
class Tie(Rule):
    """A second copy of a tensor that another rule reads; it may be absent, and must be equal."""

    original: str

    def __init__(self, copy: str, original: str) -> None:
        super().__init__((copy,), ())
        object.__setattr__(self, "original", original)


@dataclass(frozen=True, init=False)
class Shared(Rule):
    """One tensor that is stored under several names: any of them will do, and all must be equal.

    Attributes:
        written: Under how many of the names it is written, from the first on.
    """

    written: int

    def __init__(self, theirs: Sequence[str], ours: str, written: int = 1) -> None:
        super().__init__(tuple(theirs), (ours,))
        object.__setattr__(self, "written", written)

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Give it the names that are written."""
        return tensors * self.written


@dataclass(frozen=True, init=False)
class Chosen(Rule):
    """Tensors of ours, each the first of some of theirs that is stored; those may be fewer.

    Attributes:
        wanted: For each of ours all names of theirs, the preferred one first.
    """

    wanted: tuple[tuple[str, ...], ...]

    def __init__(self, theirs: Sequence[str], wanted: Mapping[str, Sequence[str]]) -> None:
        super().__init__(tuple(theirs), tuple(wanted))
        object.__setattr__(self, "wanted", tuple(map(tuple, wanted.values())))

    def names(self, found: Sequence[str]) -> list[str]:
        """Return, for each of ours, which of the stored names it is."""
        return [next(name for name in names if name in found) for names in self.wanted]


@dataclass(frozen=True, init=False)
class Temperature(Rule):
    """What similarities are divided by; ours is the logarithm of what they are multiplied with.

    Attributes:
        unsaid: The temperature that is not written, None when every one is.
    """

    unsaid: float | None

    def __init__(self, theirs: str, ours: str, unsaid: float | None = None) -> None:
        super().__init__((theirs,), (ours,))
        object.__setattr__(self, "unsaid", unsaid)

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """Take the logarithm of the inverse."""
        if not (tensors[0].is_meta or bool((tensors[0] > 0).all())):
            raise ValueError(f"a temperature of {tensors[0].tolist()}")
        return [-tensors[0].double().log().float()]

    def inverse(self, tensors: list[Tensor]) -> list[Tensor]:
        """Go back, in double precision where single would not come back the same."""
        scale = tensors[0]
        exact = (-scale.double()).exp()
        if scale.is_meta:
            return [exact.float()]
        if self.unsaid and torch.equal(scale.float(), torch.tensor(-math.log(self.unsaid))):
            return []
        same = torch.equal(self.forward([exact.float()])[0], scale.float())
        return [exact.float() if same else exact]


@dataclass(frozen=True, init=False)
class Assumed(Rule):
    """A tensor of ours that the layout need not store, and what it is then.

    It is never written: a rule before it says how.
    """

    make: Callable[[], Tensor] = field(compare=False)

    def __init__(self, ours: str, make: Callable[[], Tensor]) -> None:
        super().__init__((), (ours,))
        object.__setattr__(self, "make", make)


class KeyMap:
    """An ordered list of rules; the first one that matches a name takes it."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules

    def forward(
        self, theirs: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
    ) -> dict[str, Tensor]:
        """Turn the tensors of a checkpoint into ours.

        Args:
            theirs: Published names to tensors.
            expected: Our names to tensors of the right shape (their values do not matter).
            source: What to call the checkpoint in messages.

        Raises:
            CheckpointError: Tensors are missing, left over, or of a wrong shape or kind. All of
                them are listed at once.
        """
        problems = Problems(source)
        groups = group(theirs, [rule.theirs for rule in self.rules], problems.unused)
        ours: dict[str, Tensor] = {}
        for (index, holes), found in groups.items():
            rule = self.rules[index]
            names = [filled(pattern, holes) for pattern in rule.theirs]
            if isinstance(rule, Tie):
                original = theirs.get(filled(rule.original, holes))
                if original is not None and not _same(theirs[names[0]], original):
                    problems.shapes.append(
                        f"{names[0]} should equal {filled(rule.original, holes)}"
                    )
                continue
            if isinstance(rule, Computed):
                if not _same(theirs[names[0]], rule.make()):
                    problems.shapes.append(f"{names[0]} is not what the configuration makes it")
                continue
            absent = [name for position, name in enumerate(names) if position not in found]
            if isinstance(rule, Shared):
                names = [name for name in names if name not in absent]
                if not all(_same(theirs[name], theirs[names[0]]) for name in names):
                    problems.shapes.append(f"{' and '.join(names)} should be equal")
            elif isinstance(rule, Chosen):
                names = rule.names([name for name in names if name not in absent])
            elif absent:
                problems.missing += absent
                continue
            try:
                made = rule.forward([theirs[name] for name in names])
            except (ValueError, RuntimeError, IndexError) as error:
                problems.shapes.append(f"{', '.join(names)}: {error}")
                made = []
            for pattern, tensor in zip(rule.ours, made, strict=False):
                name = filled(pattern, holes)
                if name not in expected:
                    problems.unused += [n for n in names if n not in problems.unused]
                elif name in ours:
                    problems.shapes.append(f"{', '.join(names)}: {name} is given twice")
                else:
                    ours[name] = tensor
                    _check(names, tensor, expected[name], problems)
        for rule in self.rules:
            if isinstance(rule, Assumed) and rule.ours[0] in expected:
                ours.setdefault(rule.ours[0], rule.make())
        blamed = set(problems.missing)
        for name in expected:
            if name not in ours:
                theirs_name = self.published(name)
                if not blamed.intersection(theirs_name) and not problems.explains(theirs_name):
                    problems.missing += [n for n in theirs_name if n not in problems.missing]
        problems.raise_if_any(theirs)
        return ours

    def inverse(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn our tensors into those of the published layout; dropped ones are not written.

        The tensors of `Constant` and `Computed` rules are added.

        Raises:
            CheckpointError: The layout has no place for one of our tensors.
        """
        unused: list[str] = []
        groups = group(ours, [rule.ours for rule in self.rules], unused)
        theirs = {r.theirs[0]: torch.tensor(r.value) for r in self.rules if isinstance(r, Constant)}
        theirs |= {r.theirs[0]: r.make() for r in self.rules if isinstance(r, Computed)}
        for (index, holes), found in groups.items():
            rule = self.rules[index]
            if len(found) < len(rule.ours):
                unused += found.values()
                continue
            made = rule.inverse([ours[found[i]] for i in range(len(rule.ours))])
            for pattern, tensor in zip(rule.theirs, made, strict=False):  # some give fewer
                theirs[filled(pattern, holes)] = tensor
        if unused:
            raise CheckpointError(f"this layout has no place for {some(unused)}")
        return theirs

    def published(self, name: str) -> list[str]:
        """Return the published names that one of our tensors is made of, or its own name."""
        for rule in self.rules:
            for pattern in rule.ours:
                match = compiled(pattern).fullmatch(name)
                if match:
                    return [filled(p, tuple(match.groupdict().items())) for p in rule.theirs]
        return [name]


def _check(names: list[str], tensor: Tensor, expected: Tensor, problems: Problems) -> None:
    if tensor.shape != expected.shape:
        found, wanted = list(tensor.shape), list(expected.shape)
        problems.shapes.append(f"{', '.join(names)}: shape {found}, expected {wanted}")
    elif tensor.is_floating_point() != expected.is_floating_point():
        problems.shapes.append(f"{', '.join(names)}: {tensor.dtype}, expected {expected.dtype}")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a.is_meta or b.is_meta or torch.equal(a.to(b.dtype), b))
