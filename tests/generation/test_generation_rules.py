"""Rules and filters do what their definitions say, and what transformers' processors do."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.generation import Draft, Options
from seesay.generation.filters import Temperature, TopK, TopP, TypicalP, best, make_filters
from seesay.generation.rules import (
    ForcedFirst,
    ForcedLast,
    LeastLength,
    NoRepeatNGram,
    RepetitionPenalty,
    Suppressed,
    make_rules,
)

VOCAB = 11
few = settings(max_examples=40, deadline=None)
Rows = list[list[int]]
rows_of_ids = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9), min_size=1, max_size=4
)


def draft(rows: Rows, starts: list[int] | None = None, limit: int = 20) -> Draft:
    """A draft of rows, aligned at the right; everything is prefix unless told."""
    longest = max(map(len, rows))
    ids = torch.tensor([[-1] * (longest - len(row)) + row for row in rows])
    starts = starts or [len(row) for row in rows]
    (written,) = {len(row) - start for row, start in zip(rows, starts, strict=True)}
    return Draft(ids, starts, [limit] * len(rows), written)


def scores(rows: Rows, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(rows), VOCAB, generator=generator)


@few
@given(rows_of_ids, st.integers(1, 4))
def test_no_run_of_tokens_comes_twice(rows: Rows, size: int) -> None:
    given_ = scores(rows)
    found = NoRepeatNGram(size).apply(given_.clone(), draft(rows))
    for row, before, after in zip(rows, given_.tolist(), found.tolist(), strict=True):
        runs = {tuple(row[i : i + size]) for i in range(len(row) - size + 1)}
        for token in range(VOCAB):
            forbidden = len(row) >= size - 1 and tuple([*row, token][-size:]) in runs
            assert after[token] == (-inf if forbidden else before[token])


@few
@given(rows_of_ids, st.floats(0.3, 3))
def test_tokens_of_the_draft_are_penalised_once(rows: Rows, penalty: float) -> None:
    given_ = scores(rows)
    found = RepetitionPenalty(penalty).apply(given_.clone(), draft(rows))
    for row, before, after in zip(rows, given_.tolist(), found.tolist(), strict=True):
        for token, score in enumerate(before):
            changed = score * penalty if score < 0 else score / penalty
            assert after[token] == pytest.approx(changed if token in row else score, rel=1e-5)


@few
@given(rows_of_ids, st.integers(0, 12), st.integers(0, 12), st.integers(0, 5))
def test_no_end_before_the_least_length(
    rows: Rows, with_prefix: int, new: int, written: int
) -> None:
    ends = (2, 5)
    longer = [[*row, *[7] * written] for row in rows]
    starts = [len(row) for row in rows]
    given_ = scores(rows)
    rule = LeastLength(ends, with_prefix, new)
    found = rule.apply(given_.clone(), draft(longer, starts))
    for row, before, after in zip(longer, given_, found, strict=True):
        short = len(row) < with_prefix or written < new
        for token in range(VOCAB):
            assert after[token] == (-inf if short and token in ends else before[token])


def test_the_first_and_the_last_are_forced_row_by_row() -> None:
    rows = [[4], [4, 5], [6]]
    found = ForcedFirst(3).apply(scores(rows), draft(rows))
    assert found[0].tolist() == found[2].tolist() == [0 if i == 3 else -inf for i in range(VOCAB)]
    assert torch.equal(found[1], scores(rows)[1])
    again = draft([[4, 3], [4, 5, 3]], [1, 2])
    assert torch.equal(ForcedFirst(3).apply(scores(rows[:2]), again), scores(rows[:2]))
    last = Draft(torch.tensor([[4, 3], [4, 3]]), [1, 1], [2, 3], 1)
    found = ForcedLast(9).apply(scores(rows[:2]), last)
    assert found[0].tolist() == [0 if i == 9 else -inf for i in range(VOCAB)]
    assert torch.equal(found[1], scores(rows[:2])[1])


def test_suppressed_ids_are_forbidden() -> None:
    found = Suppressed((1, 8)).apply(scores([[1]]), draft([[1]]))
    assert [i for i in range(VOCAB) if found[0, i] == -inf] == [1, 8]


def test_what_changes_nothing_is_no_rule() -> None:
    assert make_rules(Options(), (1,)) == []
    assert make_filters(Options(do_sample=True), 1) == []
    assert make_filters(Options(), 1) == []


@few
@given(st.integers(1, 30), st.integers(1, 3), st.integers(0, 99))
def test_the_best_are_found_in_blocks(count: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    given_ = torch.randn(rows, 8 * 30 * 4 + 3, generator=generator)
    values, places = best(given_, count, width=4)
    assert torch.equal(values, given_.topk(count)[0])
    assert torch.equal(given_.gather(1, places), values)


@few
@given(st.integers(0, 999), st.floats(0.05, 1), st.sampled_from([0.1, 1.0, 6.0]))
def test_the_nucleus_is_the_smallest_with_the_mass(seed: int, mass: float, spread: float) -> None:
    given_ = torch.randn(2, 400, generator=torch.Generator().manual_seed(seed)) * spread
    found = TopP(mass, 1).apply(given_.clone(), draft([[1], [1]]))
    for before, after in zip(given_.double().softmax(-1), found, strict=True):
        kept = after > -inf
        assert before[kept].sum() >= mass - 1e-5
        assert before[kept].sum() - before[kept].min() <= mass + 1e-5
        assert kept.all() or before[kept].min() >= before[~kept].max()


FILTERS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "temperature": (Temperature(0.6), "TemperatureLogitsWarper", {"temperature": 0.6}),
    "top 7": (TopK(7), "TopKLogitsWarper", {"top_k": 7}),
    "more than there are": (TopK(9999), "TopKLogitsWarper", {"top_k": 9999}),
    "nucleus": (TopP(0.8, 1), "TopPLogitsWarper", {"top_p": 0.8}),
    "small nucleus of 3": (
        TopP(0.01, 3),
        "TopPLogitsWarper",
        {"top_p": 0.01, "min_tokens_to_keep": 3},
    ),
    "typical": (TypicalP(0.3, 1), "TypicalLogitsWarper", {"mass": 0.3}),
    "typical of 2": (
        TypicalP(0.05, 2),
        "TypicalLogitsWarper",
        {"mass": 0.05, "min_tokens_to_keep": 2},
    ),
}


@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("forbidden", [0, 500])
@pytest.mark.parametrize("name", FILTERS)
def test_filters_are_those_of_transformers(name: str, spread: float, forbidden: int) -> None:
    logits_process = pytest.importorskip("transformers.generation.logits_process")
    ours, theirs, arguments = FILTERS[name]
    given_ = torch.randn(5, 700, generator=torch.Generator().manual_seed(1)) * spread
    given_[:, :forbidden] = -inf
    expected = getattr(logits_process, theirs)(**arguments)(None, given_)
    found = ours.apply(given_.clone(), draft([[1]] * 5))
    torch.testing.assert_close(found, expected)


def test_all_options_together_give_the_distribution_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    settings_ = {"temperature": 1.4, "top_k": 40, "top_p": 0.85, "typical_p": 0.9}
    shared = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_length": 9}
    config = transformers.GPT2Config(
        vocab_size=200, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=2
    )
    model = transformers.GPT2LMHeadModel(config)
    how = transformers.GenerationConfig(
        do_sample=True, num_beams=1, suppress_tokens=[4, 5], max_length=30, **settings_, **shared
    )
    how._eos_token_tensor = torch.tensor([2])
    processors = model._get_logits_processor(how, input_ids_seq_length=3, device="cpu")
    ids = torch.tensor([[7, 8, 7, 9, 7], [10, 11, 12, 10, 11]])
    given_ = torch.randn(2, 200, generator=torch.Generator().manual_seed(2)) * 3
    expected = processors(ids, given_).softmax(-1)
    options = Options(do_sample=True, suppressed_ids=(4, 5), **settings_, **shared)
    found, written = given_.clone(), Draft(ids, [3, 3], [27, 27], 2)
    for rule in [*make_rules(options, [2]), *make_filters(options, 1)]:
        found = rule.apply(found, written)
    torch.testing.assert_close(found.softmax(-1), expected)
