"""Scores of given texts are sums over the definition, and rank as it does."""

from __future__ import annotations

import pytest
import torch

from generation.toy import VOCAB, Toy, prompt, row, slow_logprobs
from seesay.errors import UsageError
from seesay.generation import Options, decode, first_logprobs, rank, score
from seesay.types import Prompt, TextBatch

CANDIDATES = [[9, 10, 3], [9, 3], [11, 12, 13, 7], [14, 3], [20, 21, 22, 9, 3], [9, 11, 3]]


def slow(module: Toy, alone: Prompt, ids: list[int], smoothing: float) -> float:
    total = 0.0
    for i, token in enumerate(ids):
        logprobs = slow_logprobs(module, alone, ids[:i])
        total += (1 - smoothing) * logprobs[token] + smoothing * sum(logprobs) / VOCAB
    return total


def texts(candidates: list[list[int]], rows: int) -> TextBatch:
    """[DEC] and each candidate, for every row."""
    longest = max(map(len, candidates)) + 1
    ids = [[8, *ids, *[0] * (longest - 1 - len(ids))] for ids in candidates] * rows
    lengths = torch.tensor([[len(ids) + 1] for ids in candidates] * rows)
    return TextBatch(torch.tensor(ids), torch.arange(longest) < lengths)


@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_scores_are_sums_of_log_probabilities(smoothing: float, chunk: int | None) -> None:
    module, batch = Toy(1), prompt(3)
    found = score(module, batch, texts(CANDIDATES, 3), smoothing=smoothing, chunk=chunk)
    for i in range(3):
        alone = row(batch, i)._replace(
            prefix=torch.tensor([[8]]), prefix_mask=torch.tensor([[True]])
        )
        expected = [slow(module, alone, ids, smoothing) for ids in CANDIDATES]
        assert found.total[i].tolist() == pytest.approx(expected, abs=1e-4)
        lengths = [len(ids) for ids in CANDIDATES]
        assert found.lengths[i].tolist() == lengths
        means = [total / length for total, length in zip(expected, lengths, strict=True)]
        assert found.mean[i].tolist() == pytest.approx(means, abs=1e-4)


def test_only_what_comes_after_the_start_is_scored() -> None:
    module, batch = Toy(1), prompt(2)
    whole = score(module, batch, texts(CANDIDATES, 2))
    later = score(module, batch, texts(CANDIDATES, 2), torch.full((12,), 2))
    heads = first_logprobs(
        module,
        batch._replace(prefix=torch.full((2, 1), 8), prefix_mask=torch.ones(2, 1).bool()),
    )[:, [ids[0] for ids in CANDIDATES]]
    torch.testing.assert_close(whole.total - heads, later.total, atol=1e-4, rtol=0)
    assert (whole.lengths - later.lengths == 1).all()


def test_what_decode_writes_is_scored_as_it_was_written() -> None:
    module, batch = Toy(1), prompt(3, lengths=[1, 1, 1])
    written = [w for (w,) in decode(module, batch, Options(num_beams=3), end_ids=())]
    rows = torch.tensor([[*b, *w.ids] for b, w in zip(batch.prefix.tolist(), written, strict=True)])
    found = score(module, batch, TextBatch(rows, torch.ones_like(rows, dtype=torch.bool)))
    assert found.mean[:, 0].tolist() == pytest.approx([w.score for w in written], abs=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_candidates_are_ranked_after_prefixes_of_any_length(smoothing: float) -> None:
    module, batch = Toy(1), prompt(4)
    found = rank(module, batch, CANDIDATES, smoothing=smoothing, chunk=2)
    for i in range(4):
        totals = [slow(module, row(batch, i), ids, smoothing) for ids in CANDIDATES]
        order = sorted(range(len(totals)), key=totals.__getitem__, reverse=True)
        assert found.candidates[i].tolist() == order
        assert found.total[i].tolist() == pytest.approx(sorted(totals, reverse=True), abs=1e-4)


def test_candidates_with_unlikely_first_tokens_are_not_scored() -> None:
    module, batch = Toy(1), prompt(4)
    found = rank(module, batch, CANDIDATES, top=3)
    for i in range(4):
        heads = slow_logprobs(module, row(batch, i), [])
        third = sorted((heads[ids[0]] for ids in CANDIDATES), reverse=True)[2]
        assert all(heads[CANDIDATES[c][0]] >= third - 1e-6 for c in found.candidates[i])
        assert found.candidates.shape == (4, 3)
        totals = {c: slow(module, row(batch, i), ids, 0) for c, ids in enumerate(CANDIDATES)}
        assert found.total[i].tolist() == pytest.approx(
            [totals[c] for c in found.candidates[i].tolist()], abs=1e-4
        )


def test_images_are_encoded_once() -> None:
    class Counting(Toy):
        encoded = 0

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            self.encoded += 1
            return super().encode_image(pixels)

    module = Counting(1)
    rank(module, prompt(2), CANDIDATES, top=4, chunk=1)
    assert module.encoded == 1


def test_what_cannot_be_scored_is_refused() -> None:
    module, batch = Toy(1), prompt(4)
    with pytest.raises(UsageError, match="6 texts for 4 rows"):
        score(module, batch, texts(CANDIDATES, 1))
    with pytest.raises(UsageError, match="before the first token"):
        score(module, batch, texts(CANDIDATES, 4), 0)
    for candidates in ([], [[9], []]):
        with pytest.raises(UsageError, match="candidate is empty"):
            rank(module, batch, candidates)
