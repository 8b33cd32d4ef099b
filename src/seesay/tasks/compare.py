"""What is said of two images: true or false."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.types import ImageInput

if TYPE_CHECKING:
    from seesay.model import Model
    from seesay.tasks.pictures import Seen


@dataclass(frozen=True, kw_only=True)
class CompareInput:
    """Two images and a statement."""

    first: ImageInput = field(metadata={"help": "An image, the left one."})
    second: ImageInput = field(metadata={"help": "Another, the right one."})
    statement: str = field(metadata={"help": "What is said of the two.", "each": True})


@dataclass(frozen=True, kw_only=True)
class CompareOutput:
    """Whether the statement is true.

    Attributes:
        true: Whether it is, by what is more likely.
        probability: How likely it is, 0..1.
    """

    true: bool
    probability: float

    def show(self) -> str:
        """Return the verdict, for people."""
        return f"{'true' if self.true else 'false'}   {self.probability:.1%}"


def compare(
    model: Model,
    first: Iterable[ImageInput] | ImageInput,
    second: Iterable[ImageInput] | ImageInput,
    statements: Sequence[str] | str,
    *,
    batch_size: int = 16,
) -> list[CompareOutput]:
    """Say how likely statements about pairs of images are true.

    Args:
        model: One that was trained to compare.
        first: The left images.
        second: The right images; as many.
        statements: As many, or one for all pairs; for one pair, any number.
        batch_size: How many go through the network together.

    Raises:
        UsageError: The numbers do not pair up.
        ItemsFailed: Some images cannot be read.

    Paper: arXiv 1811.00491 (NLVR2).
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    left, right = as_list(first), as_list(second)
    if len(left) != len(right):
        raise UsageError(f"{len(left)} first and {len(right)} second images do not pair up")
    requests = [
        CompareInput(first=pair[0], second=pair[1], statement=statement)
        for pair, statement in pairs(
            list(zip(left, right, strict=True)), as_texts(statements), "statements"
        )
    ]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[CompareInput], *, batch_size: int = 16
) -> Iterator[CompareOutput | InputError]:
    """Serve requests in batches."""
    from seesay.tasks.match import pair_ids
    from seesay.tasks.pictures import serve

    model.require("compare")
    module: Any = model.module

    def respond(groups: list[list[CompareInput]], seen: Seen) -> list[CompareOutput]:
        ids, mask = pair_ids(model, [request.statement for group in groups for request in group])
        first, second = seen.features.repeat_interleave(len(groups[0]), 0).unbind(1)
        likely = module.compare(first, second, ids, mask).float().softmax(-1)[:, 1]
        return [CompareOutput(true=p > 0.5, probability=p) for p in likely.tolist()]

    yield from serve(
        model,
        requests,
        respond,
        see=lambda pixels: pixels,  # the network looks at both together
        images=lambda request: (request.first, request.second),
        batch_size=batch_size,
    )
