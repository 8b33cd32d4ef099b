"""What the networks make of images, of texts, and of a text that looks at an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seesay.errors import InputError, UsageError, all_or_raise
from seesay.protocols import TokenEncoder
from seesay.types import ImageInput

if TYPE_CHECKING:
    from torch import Tensor

    from seesay.model import Model
    from seesay.tasks.pictures import Seen


@dataclass(frozen=True, kw_only=True)
class FeaturesInput:
    """An image, a text, or both: then the text looks at the image."""

    image: ImageInput | None = field(
        default=None, metadata={"help": "An image, or a folder.", "each": True}
    )
    text: str | None = field(default=None, metadata={"help": "A text; with IMAGE, read over it."})


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of one request, float32 on the CPU.

    Attributes:
        of: "image", "text", or "pair": a text that looked at an image.
        tokens: Features of each token [L, D], padding left out; None for networks that give none.
        pooled: What stands for the whole [D]: what `vector` is projected from; for a pair the
            features of the first token, by which a match is judged.
        vector: The unit vector [E] of the space that images and texts share; None for a pair.
    """

    of: str
    tokens: Tensor | None
    pooled: Tensor
    vector: Tensor | None

    def show(self) -> str:
        """Return the shapes, for people."""
        named = {"tokens": self.tokens, "pooled": self.pooled, "vector": self.vector}
        shapes = [f"{name} {list(t.shape)}" for name, t in named.items() if t is not None]
        return f"{self.of}: {', '.join(shapes)}"

    @staticmethod
    def arrays(results: Sequence[Features]) -> dict[str, Any]:
        """Return what a file of many holds.

        `pooled` [N, D]; `vectors` [N, E] and `tokens` [N, L, D] where all have them, the latter
        padded with zeros, and `lengths` [N], how many tokens each has.
        """
        from torch import stack, tensor
        from torch.nn.utils.rnn import pad_sequence

        found = {"pooled": stack([result.pooled for result in results])}
        vectors = [result.vector for result in results if result.vector is not None]
        if len(vectors) == len(results):
            found["vectors"] = stack(vectors)
        tokens = [result.tokens for result in results if result.tokens is not None]
        if len(tokens) == len(results):
            found["tokens"] = pad_sequence(tokens, batch_first=True)
            found["lengths"] = tensor([len(row) for row in tokens])
        return {name: value.numpy() for name, value in found.items()}


def features(
    model: Model,
    images: Iterable[ImageInput] | ImageInput | None = None,
    texts: Sequence[str] | str | None = None,
    *,
    batch_size: int = 32,
) -> list[Features]:
    """Return features of images, of texts, or of pairs.

    Args:
        model: A dual encoder; for pairs and tokens, one that looks at both together.
        images: One or many, or None.
        texts: One or many, or None; with images, pairs of the two: one of either goes with all.
        batch_size: How many go through the network together.

    Raises:
        UsageError: There are neither images nor texts, they do not pair up, or the model has no
            such features.
        ItemsFailed: Some images cannot be read.
    """
    from seesay.tasks.match import pairs
    from seesay.tasks.pictures import as_list
    from seesay.tasks.vectors import as_texts

    seen = None if images is None else as_list(images)
    read = None if texts is None else as_texts(texts)
    if seen is not None and read is not None:
        requests = [FeaturesInput(image=i, text=t) for i, t in pairs(seen, read)]
    else:
        requests = [FeaturesInput(image=i) for i in seen or ()]
        requests += [FeaturesInput(text=t) for t in read or ()]
    return all_or_raise(run(model, requests, batch_size=batch_size))


def run(
    model: Model, requests: Sequence[FeaturesInput], *, batch_size: int = 32
) -> Iterator[Features | InputError]:
    """Serve requests; those that look at images and those that are texts alone in batches each."""
    from seesay.tasks.pictures import serve

    model.require("features")
    if any(request.image is None and request.text is None for request in requests):
        raise UsageError("features are of an image, a text, or both", "give one at least")
    module: Any = model.module
    whole = isinstance(module, TokenEncoder)
    if not whole and any(None not in (request.image, request.text) for request in requests):
        raise UsageError(
            f"{model.name} does not look at images and texts together",
            "ask for features of images, or of texts",
        )

    def respond(groups: list[list[FeaturesInput]], seen: Seen) -> list[Features]:
        asked = [request.text for group in groups for request in group]
        if asked[0] is not None:
            return _pairs(model, [text or "" for text in asked], seen.features[:, 0])
        found = _images(module, seen.features[:, 0], whole)
        return [one for one in found for _ in groups[0]]

    looking = serve(
        model,
        [request for request in requests if request.image is not None],
        respond,
        see=module.encode_image if whole else module.pool_image,
        alike=lambda request: request.text is None,
        batch_size=batch_size,
    )
    reading = _texts(model, [r.text or "" for r in requests if r.image is None], whole, batch_size)
    for request in requests:
        yield next(reading if request.image is None else looking)


def _images(module: Any, seen: Tensor, whole: bool) -> list[Features]:
    """Features of images, of which tokens [B, P, D] or pooled features [B, D] are known."""
    pooled = module.pool_tokens(seen) if whole else seen
    vectors = module.project_image(pooled)
    return [
        Features(
            of="image", tokens=_plain(row) if whole else None, pooled=_plain(p), vector=_plain(v)
        )
        for row, p, v in zip(seen, pooled, vectors, strict=True)
    ]


def _pairs(model: Model, texts: Sequence[str], tokens: Tensor) -> list[Features]:
    """Features of texts that look at image tokens [G, P, D], as many at each."""
    from seesay.tasks.match import pair_ids

    module: Any = model.module
    ids, mask = pair_ids(model, texts)
    rows = [row[kept] for row, kept in zip(module.fuse(tokens, ids, mask), mask, strict=True)]
    return [
        Features(of="pair", tokens=_plain(row), pooled=_plain(row[0]), vector=None) for row in rows
    ]


def _texts(model: Model, texts: Sequence[str], whole: bool, batch_size: int) -> Iterator[Features]:
    """Features of texts on their own."""
    from seesay.device import without_gradient

    module: Any = model.module
    for start in range(0, len(texts), batch_size):
        ids, mask = model.processor.texts(texts[start : start + batch_size])
        ids, mask = ids.to(model.device), mask.to(model.device)
        with without_gradient(module):
            tokens = module.encode_text(ids, mask) if whole else None
            pooled = module.pool_text(ids, mask)
            vectors = module.project_text(pooled)
        for i, kept in enumerate(mask):
            row = None if tokens is None else _plain(tokens[i][kept])
            yield Features(
                of="text", tokens=row, pooled=_plain(pooled[i]), vector=_plain(vectors[i])
            )


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu()
