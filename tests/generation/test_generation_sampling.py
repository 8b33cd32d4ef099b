"""Draws follow the probabilities, repeat under a seed, and know nothing of other rows."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from generation.toy import ENDS, Toy, prompt, row, slow_logprobs
from seesay.generation import Options, decode

ONE = Options(do_sample=True, max_new_tokens=1)


def test_draws_follow_the_probabilities() -> None:
    module, batch = Toy(1, sharpness=1), prompt(1)
    count = 4000
    options = ONE.changed(num_return_sequences=count, seed=0)
    (texts,) = decode(module, batch, options, end_ids=())
    shares = Counter(written.ids[0] for written in texts)
    for token, logprob in enumerate(slow_logprobs(module, batch, [])):
        probability = torch.tensor(logprob).exp().item()
        spread = (probability * (1 - probability) / count) ** 0.5
        assert abs(shares[token] / count - probability) < 5 * spread + 1e-9
    for written in texts[:50]:  # scores are the model's own, whatever was drawn from
        expected = slow_logprobs(module, batch, [])[written.ids[0]]
        assert written.score == pytest.approx(expected, abs=1e-4)


def test_drawn_beams_follow_the_probabilities() -> None:
    """Two are drawn without replacement: these probabilities are known."""
    module, batch = Toy(1, sharpness=1), prompt(1)
    rows = 1500
    many = batch._replace(**{
        name: value.repeat_interleave(rows, 0)
        for name, value in batch._asdict().items()
        if value is not None
    })  # fmt: skip
    options = Options(do_sample=True, num_beams=2, num_return_sequences=2, max_new_tokens=1, seed=1)
    found = decode(module, many, options, end_ids=(), keys=range(rows))
    probability = torch.tensor(slow_logprobs(module, batch, [])).exp()
    likely = probability.topk(2)[1].tolist()
    first, second = probability[likely].tolist()
    expected = first * second / (1 - first) + second * first / (1 - second)
    share = sum({w.ids[0] for w in texts} == set(likely) for texts in found) / rows
    assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / rows) ** 0.5)
    assert all(texts[0].score >= texts[1].score for texts in found)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_seed_repeats_and_another_does_not(beams: int) -> None:
    module, batch = Toy(0, sharpness=1), prompt(6)
    first, again, other = (
        [
            texts[0].ids
            for texts in decode(
                module,
                batch,
                Options(do_sample=True, num_beams=beams, seed=seed, suppressed_ids=ENDS),
                end_ids=ENDS,
            )
        ]
        for seed in (4, 4, 5)
    )
    assert first == again != other


def test_without_a_seed_torch_decides() -> None:
    module, batch = Toy(0, sharpness=1), prompt(3)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        texts = decode(module, batch, Options(do_sample=True), end_ids=ENDS)
        found.append([written.ids for (written,) in texts])
    assert found[0] == found[1] != found[2]


def test_keys_tell_the_draws_of_rows_apart() -> None:
    module = Toy(0, sharpness=1)
    batch = prompt(1)
    twice = batch._replace(**{
        name: torch.cat([value, value])
        for name, value in batch._asdict().items()
        if value is not None
    })  # fmt: skip
    options = Options(do_sample=True, seed=1, suppressed_ids=ENDS)

    def texts(keys: list[int] | None) -> list[list[int]]:
        return [w.ids for (w,) in decode(module, twice, options, end_ids=ENDS, keys=keys)]

    assert len({tuple(ids) for ids in texts(None)}) == 1
    assert len({tuple(ids) for ids in texts([0, 1])}) == 2
    alone = decode(module, row(twice, 1), options, end_ids=ENDS, keys=[1])
    assert alone[0][0].ids == texts([0, 1])[1]
    without = decode(module, twice, Options(do_sample=True, suppressed_ids=ENDS), end_ids=ENDS)
    assert without[0][0].ids != without[1][0].ids


def test_several_texts_of_an_image_differ_and_wait_for_each_other() -> None:
    module, batch = Toy(0, sharpness=1), prompt(3)
    options = Options(do_sample=True, num_return_sequences=4, seed=0, max_new_tokens=12)
    found = decode(module, batch, options, end_ids=ENDS)
    assert len({tuple(w.ids) for w in found[0]}) > 1
    assert all(count % 4 == 0 for count in module.steps)
    for i, texts in enumerate(found):
        for written in texts:
            logprobs = [
                slow_logprobs(module, row(batch, i), written.ids[:k])[token]
                for k, token in enumerate(written.ids)
            ]
            expected = written.logprobs[: len(written.ids)]
            assert logprobs == pytest.approx(expected, abs=1e-4)
            assert not set(written.ids) & set(ENDS)


def test_filters_leave_out_what_they_forbid() -> None:
    module, batch = Toy(0, sharpness=0.3), prompt(1)
    best = torch.tensor(slow_logprobs(module, batch, [])).topk(3)[1].tolist()
    options = ONE.changed(top_k=3, num_return_sequences=300, seed=0)
    (texts,) = decode(module, batch, options, end_ids=())
    assert {written.ids[0] for written in texts} == set(best)
    cold = ONE.changed(temperature=1e-4, num_return_sequences=20, seed=0)
    (texts,) = decode(module, batch, cold, end_ids=())
    assert {written.ids[0] for written in texts} == {best[0]}
