"""Answers that are well-formed whatever the network says: edges in order, whole outlines, an end.

Reference: none. The released code writes freely and drops what does not fit.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.families.florence2.parsing import Grammar, grammar_of
from seesay.generation.rules import Draft, Rule
from seesay.processing.bytelevel import SPECIAL, ByteLevelTokenizer
from seesay.regions.locations import NAMES

OTHER, START, END, WORD, BLANK, PLACE, PART, OPEN, CLOSE = range(9)
"""Kinds of tokens: never written; `<s>`; the end; text that can be a label; text that cannot, as it
is spaces alone; a location; `<sep>`; `<poly>`; `</poly>`."""

UNLIKELY = -20.0
"""The score of a token that must come although other rules forbid all that could."""

BOX, QUAD, OUTLINE = 4, 8, 6
"""How many places a box and a quad have, and an outline at least."""


class Standing(NamedTuple):
    """Where an answer stands, read off its last tokens.

    Attributes:
        places: How many places it ends with.
        before: The kind of the token before them.
        inside: Whether they are in a `<poly>` that is open.
    """

    places: int
    before: int
    inside: bool


class WellFormed:
    """Lets only those tokens be written with which an answer can still become well-formed.

    A region is begun only where the rest of it and the end fit in the tokens that are left, so that
    the end always comes where an answer is complete. Other rules may forbid all that could come: no
    run of three tokens comes twice, say, and an edge must lie at the rim. Then they are overruled,
    at a price for which beams prefer any other answer.

    Args:
        grammar: How the answer is written.
        kinds: The kind of each id.
        places: The ids of `<loc_0>` to `<loc_999>`.
    """

    def __init__(self, grammar: Grammar, kinds: list[int], places: list[int]) -> None:
        self.grammar = grammar
        # drafts have -1 where a row has nothing yet, and that finds the last
        self.kinds = torch.tensor([*kinds, START], dtype=torch.int8)
        self.places = torch.tensor(places)
        self.bins = {id: bin for bin, id in enumerate(places)}
        self._masks: dict[object, Tensor] = {}

    def apply(self, scores: Tensor, draft: Draft) -> Tensor:
        """Forbid all ids that may not come next."""
        if self.kinds.device != draft.ids.device:
            self.kinds, self.places = (x.to(draft.ids.device) for x in (self.kinds, self.places))
        rows = self.kinds[draft.ids].tolist()
        last = draft.ids[:, -2:].tolist()
        allowed, least = [], []
        for row, ids, limit in zip(rows, last, draft.limits, strict=True):
            standing = stands(row)
            left = limit - draft.written - 1
            after = self.steps(standing)
            # the end is one more token
            fits = [kind for kind, more in after.items() if kind == END or more < left]
            allowed.append(tuple(sorted(fits, key=after.__getitem__)) or (END,))
            least.append(self._least(standing, ids))
        if len(set(allowed)) == 1:
            scores.masked_fill_(self._forbidden(allowed[0], scores), -inf)
        else:
            for i, kinds in enumerate(allowed):
                scores[i].masked_fill_(self._forbidden(kinds, scores), -inf)
        for i, bin in enumerate(least):
            if bin:
                scores[i].index_fill_(0, self.places[:bin], -inf)
        stuck = scores.amax(1) == -inf
        if bool(stuck.any()):
            for i in stuck.nonzero()[:, 0].tolist():
                id = self.places[least[i]] if allowed[i][0] == PLACE else self._first(allowed[i][0])
                scores[i, id] = UNLIKELY
        return scores

    def steps(self, standing: Standing) -> dict[int, int]:
        """Return the kinds that may come next, each with how many tokens must follow it."""
        count, before, inside = standing
        grammar = self.grammar
        close = 1 if inside else 0
        outline = {OPEN: OUTLINE + 1} if grammar in ("outlines", "polygons") else {}
        begun = {END: 0, START: 0}
        if inside or (grammar == "polygons" and (count or before == PART)):
            steps = {PLACE: max(OUTLINE - count - 1, (count + 1) % 2) + close}
            if count >= OUTLINE and count % 2 == 0:
                steps |= {PART: OUTLINE + close, CLOSE if inside else END: 0}
            return steps
        if grammar == "polygons":
            return outline | ({END: 0} if before == CLOSE else begun | {PLACE: OUTLINE - 1})
        size = QUAD if grammar == "quads" else BOX
        if count % size:
            return {PLACE: size - count % size - 1}
        one, label = {PLACE: size - 1}, {WORD: 0 if grammar == "answer" else size}
        match grammar:
            case "proposals":
                return one | (begun if not count else {END: 0})
            case "answer":
                if count:
                    return {END: 0} | one
                written = label | {BLANK: 0, END: 0} | one
                return written if before in (WORD, BLANK) else begun | label
        if before in (WORD, BLANK) and not count:
            return one | label | {BLANK: size} | outline
        if before == CLOSE and not count:
            return {END: 0} | label | outline
        if count:
            return {END: 0} | label | ({} if grammar == "quads" else one)
        return begun | label

    def _least(self, standing: Standing, ids: list[int]) -> int:
        """The bin that the right or bottom edge must not be below."""
        places, _, inside = standing
        if inside or self.grammar in ("quads", "polygons") or places % BOX < 2:
            return 0
        return self.bins[ids[0]]

    def _forbidden(self, allowed: tuple[int, ...], scores: Tensor) -> Tensor:
        """A mask over the ids, True where their kind is not allowed."""
        size, device = scores.shape[1], scores.device
        key = (frozenset(allowed), size, device)
        if key not in self._masks:
            known = self.kinds[:-1].to(device)[:size]
            wanted = torch.tensor(allowed, dtype=torch.int8, device=device)
            mask = torch.ones(size, dtype=torch.bool, device=device)
            mask[: len(known)] = ~torch.isin(known, wanted)
            self._masks[key] = mask
        return self._masks[key]

    def _first(self, kind: int) -> int:
        return int((self.kinds == kind).nonzero()[0])


def stands(kinds: list[int]) -> Standing:
    """Return where an answer stands whose tokens are of these kinds, the prefix included."""
    end = len(kinds)
    while end and kinds[end - 1] == PLACE:
        end -= 1
    before = start = end - 1
    while start >= 0 and kinds[start] in (PLACE, PART):
        start -= 1
    return Standing(
        len(kinds) - end,
        kinds[before] if before >= 0 else START,
        start >= 0 and kinds[start] == OPEN,
    )


def rule(tokenizer: ByteLevelTokenizer, task: str) -> Rule | None:
    """Return the rule that keeps the answers of a task well-formed; None where it is text alone.

    Args:
        tokenizer: Where the ids of places and signs are looked up by name.
        task: The task token, or a raw prompt that begins with it.

    Raises:
        UsageError: The tokenizer has no places.
    """
    grammar = grammar_of(task)
    return None if grammar == "text" else _made(tokenizer, grammar)


@lru_cache(maxsize=16)
def _made(tokenizer: ByteLevelTokenizer, grammar: Grammar) -> WellFormed:
    """The rule, once for a tokenizer: it looks at every token of the vocabulary."""
    ids = tokenizer.vocabulary
    missing = [name for name in NAMES if name not in ids]
    if missing:
        raise UsageError(
            f"the tokenizer has no token {missing[0]}",
            "constrained answers need all of <loc_0> to <loc_999>",
        )
    signs = {"<sep>": PART, "<poly>": OPEN, "</poly>": CLOSE}
    kinds = [OTHER] * tokenizer.size
    special = {*tokenizer.whole, *SPECIAL}
    texts = {id: name for name, id in ids.items() if name not in special}
    for id, text in zip(texts, tokenizer.decode([[id] for id in texts]), strict=True):
        # no category begins so, and the letters of a token, spelled out, would be read as it; what
        # is read off a picture may have them
        angled = "<" in text and grammar not in ("quads", "answer")
        kinds[id] = OTHER if angled else WORD if text.strip() else BLANK
    for name, kind in signs.items():
        if name in ids:
            kinds[ids[name]] = kind
    places = [ids[name] for name in NAMES]
    for id in places:
        kinds[id] = PLACE
    kinds[tokenizer.start_id], kinds[tokenizer.end_id] = START, END
    return WellFormed(grammar, kinds, places)
