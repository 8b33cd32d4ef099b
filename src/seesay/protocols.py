"""What a model can do, as small protocols. A task needs one of them; nothing inherits from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seesay.generation.rules import Rule
    from seesay.processing.image import ImageSpec
    from seesay.regions import Region, Regions
    from seesay.types import Picture, Prompt, TextBatch


@runtime_checkable
class DualEncoder(Protocol):
    """Images and texts as unit vectors of one space."""

    logit_scale: Tensor
    """Scalar parameter: similarities are multiplied by its exponential."""

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to unit vectors [B, E]."""
        ...

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, L] and boolean mask [B, L] to unit vectors [B, E]."""
        ...


@runtime_checkable
class PooledEncoder(Protocol):
    """A dual encoder in two steps: a long way to pooled features, a short one to the vector.

    What is frozen of a tower is mostly the long way, so training can keep its results.
    `embed_image` and `embed_text` are the one after the other.
    """

    def pool_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to pooled features [B, D]."""
        ...

    def project_image(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, D] to unit vectors [B, E]."""
        ...

    def pool_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, L] and boolean mask [B, L] to pooled features [B, D]."""
        ...

    def project_text(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, D] to unit vectors [B, E]."""
        ...


@runtime_checkable
class Localiser(Protocol):
    """A dual encoder whose last spatial features can be asked where a text is in a picture."""

    def relevance_layer(self) -> nn.Module:
        """The module whose output, [B, D, h, w] or [B, 1 + P, D], relevance maps are read from."""
        ...


@runtime_checkable
class TokenEncoder(Protocol):
    """A pooled encoder that also gives the features of every token."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to image tokens [B, P, D]."""
        ...

    def pool_tokens(self, tokens: Tensor) -> Tensor:
        """Image tokens [B, P, D] to what `pool_image` gives for their pixels [B, D]."""
        ...

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, L] and boolean mask [B, L] of a text on its own to features [B, L, D]."""
        ...

    def fuse(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Image tokens [B, P, D] and texts [B * n, L] about them to features [B * n, L, D]."""
        ...


@runtime_checkable
class WordLocaliser(Protocol):
    """A matcher whose words can be asked where in a picture they look."""

    def attention_layers(self) -> Sequence[nn.Module]:
        """The layers in which texts attend to image tokens, in order.

        Each has `q_proj`, `k_proj`, `v_proj`, `out_proj` and `num_heads`.
        """
        ...


@runtime_checkable
class Matcher(Protocol):
    """Looks at an image and a text together, and judges whether the one describes the other."""

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] to image tokens [B, P, D]."""
        ...

    def match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Image tokens [B, P, D] and texts [B * n, L] to logits [B * n, 2]: no match, match.

        The n texts of an image stand side by side.
        """
        ...


@runtime_checkable
class Comparer(Protocol):
    """Judges what is said of two images."""

    def compare(self, first: Tensor, second: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Two pixels [B, 3, h, w] and a text [B, L] to logits [B, 2]: false, true."""
        ...


@runtime_checkable
class PairClassifier(Protocol):
    """Says which class a pair of image and text is of; its configuration names the classes."""

    def classify_pair(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Pixels [B, 3, h, w] and a text [B, L] to logits [B, C]."""
        ...


class State(Protocol):
    """What a generator remembers of the texts it is writing: K beams of each of B images."""

    def reorder(self, rows: Tensor) -> State:
        """Go on from other beams.

        Args:
            rows: int64 [B' * K]; what comes next in row i goes on from row rows[i]. Beams stay with
                their image, side by side; images may be left out.
        """
        ...


@runtime_checkable
class Generator(Protocol):
    """Writes a text, one token after another, about what it is given."""

    def forward(self, batch: Prompt) -> Tensor:
        """Logits [B * n, L, V] of what follows each position of the prefix (teacher forcing)."""
        ...

    def prefill(self, batch: Prompt) -> tuple[Tensor, State]:
        """Read everything once; logits [B, V] of the token after each prefix, and the state."""
        ...

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Append one id to each beam [B * K]; logits [B * K, V] of the next one.

        The first step after `prefill` tells K: every beam goes on from its image's prefix.
        """
        ...


class Processor(Protocol):
    """Pictures and strings to tensors, for one checkpoint."""

    image: ImageSpec
    """How pictures become pixels."""

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        """Pictures to normalised pixels [B, 3, h, w], float32."""
        ...

    def texts(self, texts: Sequence[str]) -> TextBatch:
        """Strings to ids and mask; raises InputError when there is no tokenizer."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that decides pixels and ids, as JSON; part of the model's fingerprint."""
        ...

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files into a native checkpoint folder."""
        ...


@runtime_checkable
class Speaker(Protocol):
    """What the processor of a generator can do besides: prompts to ids, and ids to text."""

    end_ids: tuple[int, ...]
    """Ids that end what is written."""

    def prompts(self, task: str, texts: Sequence[str]) -> Prompt:
        """Return what is read and how what is written begins, for texts of a task; no pixels.

        `texts` are the beginnings of captions for "caption", and questions for "answer".
        """
        ...

    def written(
        self,
        texts: Sequence[str],
        prefix: str = "",
        max_length: int | None = None,
        *,
        task: str = "caption",
    ) -> tuple[TextBatch, Tensor]:
        """Return start, prefix, text and end as ids and mask [B, L], and where each text begins.

        The second, int64 [B], is the position of the first id that is scored or learnt.
        """
        ...

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of rows of written ids."""
        ...


@runtime_checkable
class RegionSpeaker(Protocol):
    """What the processor of a generator can do besides that writes where things are.

    `task` is the text that was asked, or what it begins with: it decides the grammar of the answer.
    """

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return what each id of a row adds to its text; joined, they are the text."""
        ...

    def parse(
        self,
        task: str,
        text: str,
        size: tuple[int, int],
        logprobs: Sequence[tuple[str, float]] | None = None,
    ) -> Regions:
        """Return what a written text says, and where, in pixels of a picture of this size.

        Never raises, whatever the text. `logprobs` are its pieces with their log-probabilities,
        for the scores of regions.
        """
        ...

    def spell(self, task: str, regions: Sequence[Region], size: tuple[int, int]) -> str:
        """Return the text that says these regions: what `parse` reads back, to the quantiser."""
        ...

    def rule(self, task: str) -> Rule | None:
        """Return the rule that keeps what is written well-formed; None where every text is."""
        ...
