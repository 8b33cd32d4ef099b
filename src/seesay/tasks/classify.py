"""Zero-shot classification: an image against the texts of its possible labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seesay.errors import InputError, UsageError, all_or_raise, nearest
from seesay.types import ImageInput

if TYPE_CHECKING:
    from torch import Tensor

    from seesay.model import Model

TEMPLATES: dict[str, Sequence[str]] = {"photo": ("a photo of a {}.",), "none": ("{}",)}
"""The prompt sets of a family that brings none of its own."""


@dataclass(frozen=True, kw_only=True)
class ClassifyInput:
    """An image and the labels it may have."""

    image: ImageInput = field(metadata={"help": "An image, or a folder.", "each": True})
    labels: tuple[str, ...] = field(metadata={"help": "The labels, separated by commas."})
    templates: str | None = field(
        default=None,
        metadata={"help": "A prompt set of the model, or one template with {} for the label."},
    )


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """A label and its probability among the labels given."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class ClassifyOutput:
    """The labels, most probable first; probabilities sum to 1."""

    scores: list[LabelScore]

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.scores[0].label

    def show(self) -> str:
        """Return the three most probable labels, for people."""
        return "   ".join(f"{s.label} {s.score:.0%}" for s in self.scores[:3])


def classify(
    model: Model,
    images: Iterable[ImageInput] | ImageInput,
    labels: Sequence[str],
    templates: Sequence[str] | str | None = None,
    *,
    batch_size: int = 32,
) -> list[ClassifyOutput]:
    """Classify images by the similarity of each to its labels' texts.

    A label's vector is the mean of its unit vectors over the templates, made a unit vector again;
    the probabilities are the softmax of the similarities times the model's logit scale.

    Args:
        model: A dual encoder.
        images: Paths, encoded bytes, PIL images or arrays [h, w, c]; one or many.
        labels: What each image may be; at least one, no duplicates.
        templates: A list of strings with "{}" for the label, one such string, the name of one of
            the family's prompt sets, or None for the family's default.
        batch_size: How many images go through the network together.

    Raises:
        UsageError: No labels, a label twice, or an unknown template.
        ItemsFailed: Some images cannot be read.

    Paper: arXiv 2103.00020, section 3.1.
    """
    from seesay.tasks.pictures import as_list

    model.require("classify")
    items = as_list(images)
    classes = label_vectors(model, labels, templates)
    return all_or_raise(_scores(model, items, [(labels, classes)] * len(items), batch_size))


def label_vectors(
    model: Model, labels: Sequence[str], templates: Sequence[str] | str | None = None
) -> Tensor:
    """Unit vectors [number of labels, E] of a zero-shot classifier; see `classify`."""
    import torch.nn.functional as F

    if isinstance(labels, str):
        raise UsageError(f"labels is the string {labels!r}", f"give a list: [{labels!r}, ...]")
    if not labels or any(not label.strip() for label in labels):
        raise UsageError("classification needs labels, none of them empty", "--labels cat,dog")
    if len(set(labels)) < len(labels):
        raise UsageError("a label is given twice")
    chosen = prompts(model, templates)
    texts = [prompt.replace("{}", label) for label in labels for prompt in chosen]
    vectors = model.embed_texts(texts).view(len(labels), len(chosen), -1)
    return F.normalize(vectors.mean(dim=1), dim=-1)


def run(
    model: Model, requests: Sequence[ClassifyInput], *, batch_size: int = 32
) -> Iterator[ClassifyOutput | InputError]:
    """Classify each request; the texts of equal labels are encoded once."""
    keys = [(request.labels, request.templates) for request in requests]
    vectors = {key: label_vectors(model, *key) for key in dict.fromkeys(keys)}
    classes = [(key[0], vectors[key]) for key in keys]
    return _scores(model, [request.image for request in requests], classes, batch_size)


def _scores(
    model: Model,
    images: Sequence[ImageInput],
    classes: Sequence[tuple[Sequence[str], Tensor]],
    batch_size: int,
) -> Iterator[ClassifyOutput | InputError]:
    """One result per image, each against its own labels and their vectors."""
    scale = model.module.logit_scale.detach().float().exp().cpu()  # type: ignore[operator]
    encoded = model.each_image(images, batch_size=batch_size)
    for (vector, failure), (labels, vectors) in zip(encoded, classes, strict=True):
        if failure is not None:
            yield failure
            continue
        row = (scale * vectors @ vector).softmax(-1)
        order = row.argsort(descending=True).tolist()
        scores = [LabelScore(label=labels[j], score=float(row[j])) for j in order]
        yield ClassifyOutput(scores=scores)


def prompts(model: Model, templates: Sequence[str] | str | None) -> Sequence[str]:
    """Return the templates that are meant; see `classify`.

    Raises:
        UsageError: There is no such prompt set, or a template lacks its "{}".
    """
    sets = model.family.prompt_sets()
    if templates is None:
        return next(iter(sets.values()))
    if isinstance(templates, str):
        if templates in sets:
            return sets[templates]
        if "{}" not in templates:
            raise UsageError(
                f"{templates!r} is neither a prompt set nor a template.{nearest(templates, sets)}",
                f"prompt sets: {', '.join(sets)}; a template has {{}} where the label goes",
            )
        return [templates]
    if not templates or any("{}" not in template for template in templates):
        raise UsageError("every template needs {} where the label goes")
    return templates
