"""`decode` finds what slow definitions find, whatever else is in the batch."""

from __future__ import annotations

import pytest
import torch

from generation.toy import ENDS, VOCAB, Toy, prompt, row, slow_beams, slow_greedy
from seesay.errors import UsageError
from seesay.generation import Options, Written, decode, rank, stream
from seesay.generation.sampling import remaining
from seesay.types import Prompt


def both(written: Written) -> tuple[list[int], list[float]]:
    return written.ids, written.logprobs


def same(left: list[Written], right: list[Written]) -> None:
    assert [w.ids for w in left] == [w.ids for w in right]
    assert [w.finished for w in left] == [w.finished for w in right]
    for a, b in zip(left, right, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-4)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("limit", [1, 2, 9])
def test_greedy_takes_the_best_token_each_time(seed: int, limit: int) -> None:
    module, batch = Toy(seed), prompt(5, seed)
    found = decode(module, batch, Options(max_new_tokens=limit), end_ids=ENDS)
    for i, (written,) in enumerate(found):
        ids, total = slow_greedy(module, row(batch, i), limit)
        ended = ids[-1] in ENDS
        assert written.ids == (ids[:-1] if ended else ids)
        assert written.finished == ended
        assert written.score == pytest.approx(total, abs=1e-4)
        assert sum(written.logprobs) == pytest.approx(total, abs=1e-4)
        assert len(written.logprobs) == len(ids)


@pytest.mark.parametrize("stopping", [False, True, "never"])
@pytest.mark.parametrize("penalty", [1.0, 0.0, -1.5, 2.5])
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_beams_are_those_of_the_definition(
    beams: int, penalty: float, stopping: bool | str
) -> None:
    module, batch = Toy(beams), prompt(4, beams)
    options = Options(
        num_beams=beams,
        num_return_sequences=beams,
        length_penalty=penalty,
        early_stopping=stopping,
        max_new_tokens=8,
    )
    for i, found in enumerate(decode(module, batch, options, end_ids=ENDS)):
        expected = slow_beams(module, row(batch, i), 8, beams, penalty, stopping)
        cut = [ids[:-1] if ids[-1] in ENDS else ids for _, ids in expected]
        assert [written.ids for written in found] == cut
        assert [w.score for w in found] == pytest.approx([s for s, _ in expected], abs=1e-4)
        for written, (score, ids) in zip(found, expected, strict=True):
            assert written.finished == (ids[-1] in ENDS)
            assert sum(written.logprobs) / len(ids) ** penalty == pytest.approx(score, abs=1e-4)


ALONE = {
    "greedy": Options(max_new_tokens=9),
    "the prefix counts": Options(max_length=7, min_length=4),
    "rules": Options(repetition_penalty=1.7, no_repeat_ngram_size=2, max_new_tokens=9),
    "beams": Options(num_beams=3, num_return_sequences=3, max_length=9, min_length=5),
    "beams with rules": Options(
        num_beams=4,
        repetition_penalty=1.3,
        no_repeat_ngram_size=1,
        min_new_tokens=3,
        forced_eos_id=3,
        forced_bos_id=9,
        suppressed_ids=(8, 10),
    ),
    "groups": Options(
        num_beams=4,
        num_beam_groups=2,
        diversity_penalty=0.8,
        num_return_sequences=4,
        no_repeat_ngram_size=2,
    ),
    "draws": Options(do_sample=True, seed=3, num_return_sequences=3, top_p=0.9),
    "drawn beams": Options(do_sample=True, seed=3, num_beams=3, num_return_sequences=2, top_k=9),
    "typical": Options(do_sample=True, seed=5, typical_p=0.7, temperature=1.3),
}


@pytest.mark.parametrize("name", ALONE)
def test_a_row_alone_gives_what_it_gives_in_a_batch(name: str) -> None:
    module, batch = Toy(1), prompt(6, 2)
    together = decode(module, batch, ALONE[name], end_ids=ENDS)
    assert len({tuple(texts[0].ids) for texts in together}) > 1
    for i, texts in enumerate(together):
        assert len(texts) == ALONE[name].num_return_sequences
        same(texts, decode(module, row(batch, i), ALONE[name], end_ids=ENDS)[0])


@pytest.mark.parametrize("name", ALONE)
def test_padding_of_prefixes_changes_nothing(name: str) -> None:
    module, batch = Toy(1), prompt(6, 2)
    more = torch.full((6, 5), 3)
    padded = batch._replace(
        prefix=torch.cat([batch.prefix, more], 1),
        prefix_mask=torch.cat([batch.prefix_mask, torch.zeros_like(more, dtype=torch.bool)], 1),
    )
    for one, other in zip(
        decode(module, batch, ALONE[name], end_ids=ENDS),
        decode(module, padded, ALONE[name], end_ids=ENDS),
        strict=True,
    ):
        same(one, other)


@pytest.mark.parametrize("beams", [1, 3])
def test_images_that_are_done_cost_nothing(beams: int) -> None:
    module, batch = Toy(4), prompt(8, 4)
    found = decode(module, batch, Options(num_beams=beams, max_new_tokens=30), end_ids=ENDS)
    assert module.steps == sorted(module.steps, reverse=True)
    assert module.steps[-1] < module.steps[0] <= 8 * beams
    if beams == 1:
        lengths = [len(texts[0].logprobs) for texts in found]
        # the last token of a text is not read any more
        assert sum(module.steps) == sum(length - 1 for length in lengths)


@pytest.mark.parametrize(
    ("done", "places"),
    [("", []), ("0000", [0, 1, 2, 3]), ("1111", []), ("0100", [0, 3, 2]), ("1001", [2, 1]),
     ("0011", [0, 1]), ("1100", [3, 2]), ("10000", [4, 1, 2, 3])],
)  # fmt: skip
def test_the_last_images_take_the_places_of_those_that_are_done(
    done: str, places: list[int]
) -> None:
    assert remaining([letter == "1" for letter in done]) == places


def test_beams_that_stay_in_place_are_not_reordered() -> None:
    module, batch = Toy(4), prompt(1, 4)
    decode(module, batch, Options(max_new_tokens=9, min_new_tokens=9), end_ids=ENDS)
    assert module.log == []


def test_what_ends_by_length_is_not_finished_and_says_so() -> None:
    module = Toy(0)
    (one,), *_ = decode(
        module, prompt(1), Options(max_new_tokens=2, suppressed_ids=ENDS), end_ids=ENDS
    )
    assert not one.finished
    assert len(one.ids) == 2


def test_groups_avoid_each_other() -> None:
    """One beam each and a penalty beyond all log-probabilities: no step repeats a token."""
    options = Options(
        num_beams=3, num_beam_groups=3, diversity_penalty=1e6, num_return_sequences=3,
        max_new_tokens=6, suppressed_ids=ENDS, length_penalty=0,
    )  # fmt: skip
    for texts in decode(Toy(2), prompt(4, 1), options, end_ids=ENDS):
        for step in zip(*(written.ids for written in texts), strict=True):
            assert len(set(step)) == 3


def test_groups_are_those_of_the_definition() -> None:
    """Two groups: the first is a plain search, the second one whose tokens cost more."""
    from generation.toy import slow_logprobs

    module, batch, penalty, limit = Toy(3), prompt(4, 3), 1.1, 5
    options = Options(
        num_beams=2, num_beam_groups=2, diversity_penalty=penalty, num_return_sequences=2,
        max_new_tokens=limit, suppressed_ids=ENDS,
    )  # fmt: skip
    found = decode(module, batch, options, end_ids=ENDS)
    for i, texts in enumerate(found):
        alone = row(batch, i)
        lines: list[list[int]] = [[], []]
        totals = [0.0, 0.0]
        for _ in range(limit):
            taken: list[int] = []
            for g in range(2):
                logprobs = slow_logprobs(module, alone, lines[g])
                costs = [p - penalty * taken.count(t) for t, p in enumerate(logprobs)]
                allowed = [t for t in range(VOCAB) if t not in ENDS]
                token = max(allowed, key=costs.__getitem__)
                taken.append(token)
                lines[g].append(token)
                totals[g] += costs[token]
        expected = sorted(zip(totals, lines, strict=True), reverse=True)
        assert [w.ids for w in texts] == [ids for _, ids in expected]
        scores = [total / limit for total, _ in expected]
        assert [w.score for w in texts] == pytest.approx(scores, abs=1e-4)


class Only:
    """A rule that allows a few ids, and after some tokens none."""

    def __init__(self, ids: list[int], dead: int = 99) -> None:
        self.ids, self.dead = ids, dead

    def apply(self, scores: torch.Tensor, draft: object) -> torch.Tensor:
        allowed = torch.full_like(scores, -torch.inf)
        if draft.written < self.dead:  # type: ignore[attr-defined]
            allowed[:, self.ids] = 0
        return scores + allowed


@pytest.mark.parametrize(
    "options",
    [Options(), Options(num_beams=3), Options(do_sample=True, seed=1),
     Options(do_sample=True, num_beams=3, seed=1)],
)  # fmt: skip
def test_rules_of_ones_own_are_obeyed_to_the_dead_end(options: Options) -> None:
    found = decode(Toy(1), prompt(3), options, end_ids=ENDS, rules=[Only([9, 11])])
    assert all(set(texts[0].ids) <= {9, 11} for texts in found)
    found = decode(Toy(1), prompt(3), options, end_ids=ENDS, rules=[Only([9, 11], 4)])
    assert all(len(texts[0].ids) == 4 and not texts[0].finished for texts in found)
    found = decode(Toy(1), prompt(3), options, end_ids=ENDS, rules=[Only([9, 11], 0)])
    assert all(texts[0].ids == [] and not texts[0].finished for texts in found)


def test_there_are_no_more_texts_than_rules_allow() -> None:
    options = Options(num_beams=4, num_return_sequences=4, max_new_tokens=2)
    found = decode(Toy(1), prompt(2), options, end_ids=ENDS, rules=[Only([9])])
    assert [[w.ids for w in texts] for texts in found] == [[[9, 9]]] * 2
    found = decode(Toy(1), prompt(2), options, end_ids=ENDS, rules=[Only([9, 3])])
    assert {tuple(w.ids) for w in found[0]} == {(), (9,), (9, 9)}


def test_more_beams_than_tokens_work() -> None:
    options = Options(num_beams=VOCAB + 2, num_return_sequences=5, max_new_tokens=3)
    texts = decode(Toy(1), prompt(1), options, end_ids=ENDS)[0]
    assert len({tuple(w.ids) for w in texts}) == 5
    scores = [w.score for w in texts]
    assert scores == sorted(scores, reverse=True)


BAD = {
    "tokens to none": (Options(max_length=2), {}, "max_length=2 counts them"),
    "a stop without texts": (Options(stop=(".",)), {}, "`text`"),
    "an id beyond": (Options(suppressed_ids=(VOCAB,)), {}, "suppressed_ids"),
    "an end beyond": (Options(), {"end_ids": [-1]}, "end_ids"),
    "keys of another number": (Options(), {"keys": [1]}, "1 keys for 4 rows"),
    "a negative key": (Options(), {"keys": [1, -2, 3, 4]}, "a key is -2"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_said(name: str) -> None:
    options, more, text = BAD[name]
    with pytest.raises(UsageError) as raised:
        decode(Toy(), prompt(4), options, **{"end_ids": ENDS, **more})
    assert text in str(raised.value)
    assert raised.value.hint or "vocabulary" in str(raised.value)


def test_a_prefix_padded_on_the_left_is_refused() -> None:
    batch = prompt(4)
    for mask in (batch.prefix_mask.flip(1), batch.prefix_mask & False):
        with pytest.raises(UsageError, match="padded on the left"):
            decode(Toy(), batch._replace(prefix_mask=mask), Options(), end_ids=ENDS)


@pytest.mark.parametrize("options", [Options(), Options(num_beams=2), Options(do_sample=True)])
def test_numbers_gone_wrong_are_no_text(options: Options) -> None:
    class Overflown(Toy):
        def prefill(self, batch: Prompt) -> tuple[torch.Tensor, object]:
            logits, state = super().prefill(batch)
            return logits * torch.nan, state

    with pytest.raises(UsageError, match="not numbers"):
        decode(Overflown(), prompt(2), options, end_ids=ENDS)


def test_of_no_images_there_is_nothing_to_write() -> None:
    none = prompt(1)
    none = none._replace(**{k: v[:0] for k, v in none._asdict().items() if v is not None})
    for how in ({}, {"num_beams": 3, "max_length": 9}, {"do_sample": True, "seed": 1}):
        assert decode(Toy(), none, Options(**how), end_ids=ENDS) == []
        assert list(stream(Toy(), none, Options(**how), end_ids=ENDS)) == []
    assert rank(Toy(), none, [[9, 3], [10]], top=1).total.shape == (0, 1)
