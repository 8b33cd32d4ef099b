"""What a model said to prompts beside what is right: figures, chance, tables and examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.data.readers.prompted import PROPOSAL
from seesay.evaluate.asking import elsewhere
from seesay.evaluate.exchange import Control, resized
from seesay.evaluate.extremes import BEST, WORST
from seesay.evaluate.kinds import ANSWERS, Kind, Row, Scored, kind_of, token_of
from seesay.evaluate.ranking import Ints
from seesay.evaluate.regions.detection import Detections
from seesay.evaluate.report import Example, Table
from seesay.evaluate.text.edits import anls, document_accuracy
from seesay.regions import Regions

if TYPE_CHECKING:
    from seesay.data.questions import Question, Questions
    from seesay.evaluate.regions.exact import Wanted
    from seesay.model import Model

LABELS = 200
"""Labels that get a row of their own in the report, the commonest."""


class Compared:
    """Rows of questions with what was said to them, by kind of prompt.

    Args:
        model: Reads places in what is right; None where nothing has a place.
        questions: With what is right to say.
        wanted: Exact regions in its place.
        rows: Which questions.
        said: What was said, by row.

    Attributes:
        places: Which of the rows each kind has, from 0.
        scored: The figures of each kind.
    """

    def __init__(
        self,
        model: Model | None,
        questions: Questions,
        wanted: Wanted | None,
        rows: Sequence[int],
        said: Mapping[int, Regions],
    ) -> None:
        self._parse = getattr(model.processor, "parse", None) if model is not None else None
        self._questions, self._wanted, self._rows, self._said = questions, wanted, rows, said
        listed: dict[Kind, list[int]] = {}
        for place, row in enumerate(rows):
            listed.setdefault(kind_of(questions[row].text), []).append(place)
        self.places: dict[Kind, Ints] = {k: np.array(v, np.int64) for k, v in listed.items()}
        self._right = {row: self._compared(questions[row], said[row]) for row in rows}
        self.scored = {kind: self._score(kind, self._listed(kind)) for kind in self.places}

    def with_others(self, what: str, said: Mapping[int, Regions]) -> Iterator[Control]:
        """Compare what was said when "pictures" or "questions" were exchanged, for each kind."""
        for kind, places in self.places.items():
            kept = np.array([p for p in places.tolist() if self._rows[p] in said], np.int64)
            if not len(kept):
                continue
            rows = [self._rows[place] for place in kept.tolist()]
            unmoved = np.mean([_same(self._said[row], said[row]) for row in rows])
            own = self.scored[kind] if len(kept) == len(places) else self._score(kind, rows)
            yield Control(what, kind, own, self._score(kind, rows, said), kept, float(unmoved))

    def chance(self, seed: int) -> dict[str, float]:
        """Return what knowing nothing reaches.

        Of questions the best of the ten commonest answers, given to all; of other kinds what the
        model said, each taken for another prompt of the task.
        """
        found: dict[str, float] = {}
        for kind, places in self.places.items():
            rows = self._listed(kind)
            if kind is ANSWERS:
                found |= self._constant(rows)
                continue
            swapped: dict[int, Regions] = {}
            by_token: dict[str, list[int]] = {}
            for row in rows:
                by_token.setdefault(token_of(self._questions[row].text), []).append(row)
            for alike in by_token.values():
                if len(alike) > 1:
                    order = elsewhere(len(alike), seed).tolist()
                    swapped |= {alike[i]: self._said[alike[j]] for i, j in enumerate(order)}
            if len(swapped) == len(rows):
                found |= self._score(kind, rows, swapped).statistic(np.ones(len(places), np.int64))
        return found

    def settings(self) -> dict[str, Any]:
        """Return which tasks there were, and what detections were put in order by."""
        tokens = Counter(token_of(self._questions[row].text) or "question" for row in self._rows)
        told: dict[str, Any] = {"tasks": dict(tokens.most_common())}
        boxes = [scored for scored in self.scored.values() if isinstance(scored, Detections)]
        if boxes:
            told["detections_by"] = "score" if boxes[0].scored else "order, all taken as sure"
        return told

    def tables(self) -> Iterator[Table]:
        """Yield the figures of each task of a kind that has several, and those of labels."""
        columns = ["task", "prompts", "figure", "value"]
        rows: list[list[str | int | float]] = []
        for kind in self.places:
            by_token: dict[str, list[int]] = {}
            for row in self._listed(kind):
                by_token.setdefault(token_of(self._questions[row].text), []).append(row)
            for token, some in by_token.items() if len(by_token) > 1 else ():
                figures = self._score(kind, some).statistic(np.ones(len(some), np.int64))
                rows += [[token or "question", len(some), *pair] for pair in figures.items()]
        if rows:
            yield Table("By task", columns, rows)
        for scored in self.scored.values():
            if isinstance(scored, Detections):
                labels = sorted(scored.by_label(), key=lambda row: -row[1])[:LABELS]
                yield Table("By label", ["label", "boxes", "map", "map50"], labels)

    def examples(self) -> dict[str, list[Example]]:
        """Return the worst and the best of each kind."""
        found = {}
        for kind in self.places:
            rows = self._listed(kind)
            values = np.array([kind.each(self._right[row]) for row in rows])
            order = np.argsort(values, kind="stable").tolist()
            worst = order[: min(WORST, (len(order) + 1) // 2)]
            best = order[::-1][: min(BEST, len(order) // 2)]
            for heading, some in (("worst", worst), ("best", best)):
                shown = [self._example(rows[i], float(values[i])) for i in some]
                found[f"{kind.name.capitalize()}, the {heading}"] = shown
        return found

    def _listed(self, kind: Kind) -> list[int]:
        return [self._rows[place] for place in self.places[kind].tolist()]

    def _score(
        self, kind: Kind, rows: Sequence[int], said: Mapping[int, Regions] | None = None
    ) -> Scored:
        """The figures of some rows; with `said`, as if that had been said to them."""
        if said is None:
            return kind.score([self._right[row] for row in rows])
        return kind.score([_instead(self._right[row], said[row]) for row in rows])

    def _compared(self, question: Question, found: Regions) -> Row:
        if self._wanted is not None:
            regions, crowds = self._wanted[question.id]
            if token_of(question.text) == PROPOSAL:  # whose boxes have no names
                regions = [replace(region, label="") for region in regions]
            return Row(found, Regions("", list(regions), found.size), ("",), crowds)
        right = [Regions(answer, [], found.size) for answer in question.answers]
        if self._parse is not None and token_of(question.text):
            right = [self._parse(question.text, one.text, found.size) for one in right]
        return Row(found, right[0], tuple(one.text for one in right))

    def _constant(self, rows: Sequence[int]) -> dict[str, float]:
        texts = [self._right[row].texts for row in rows]
        common = Counter(text for several in texts for text in several).most_common(10)
        return {
            name: max(float(np.mean([measure(text, some) for some in texts])) for text, _ in common)
            for name, measure in (("anls", anls), ("accuracy", document_accuracy))
        }

    def _example(self, row: int, value: float) -> Example:
        question, right = self._questions[row], self._right[row]
        said = right.found.show() if right.found.regions else right.found.text
        wanted = right.wanted.show() if right.wanted.regions else " / ".join(right.texts[:3])
        lines = [("prompt", question.text), ("said", said), ("wanted", wanted)]
        return Example(f"{100 * value:.0f} %", lines, [("picture", row)])


def _instead(row: Row, found: Regions) -> Row:
    """A row where something else was said."""
    return Row(resized(found, row.wanted.size), row.wanted, row.texts, row.crowds)


def _same(one: Regions, other: Regions) -> bool:
    return (one.raw or one.text) == (other.raw or other.text)
