"""The texts and scores of transformers, for the same settings."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from generation.foreign import ENDS, Uncached, make, question
from seesay.generation import Options, Written, decode

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:Using the model-agnostic default")

NAMES = {
    "forced_bos_id": "forced_bos_token_id",
    "forced_eos_id": "forced_eos_token_id",
    "suppressed_ids": "suppress_tokens",
}
KINDS = ("bart", "gpt2")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


def theirs(model: Any, batch: Any, options: dict[str, Any]) -> tuple[list[list[int]], Any]:
    """What transformers writes, without prefix, end and padding, and its scores."""
    kwargs = {NAMES.get(name, name): value for name, value in options.items()}
    if "suppress_tokens" in kwargs:
        kwargs["suppress_tokens"] = list(kwargs["suppress_tokens"])
    if model.config.is_encoder_decoder:
        kwargs |= {"input_ids": batch.ids, "decoder_input_ids": batch.prefix}
    else:
        kwargs |= {"input_ids": batch.prefix, "attention_mask": batch.prefix_mask.long()}
    out = model.generate(**kwargs, return_dict_in_generate=True, output_scores=True)
    new = out.sequences[:, batch.prefix.shape[1] :].tolist()
    cut = [row[: min((row.index(e) for e in ENDS if e in row), default=len(row))] for row in new]
    scores = getattr(out, "sequences_scores", None)
    if scores is None:
        steps = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
        scores = torch.stack([s[: len(c) + 1].sum() for s, c in zip(steps, cut, strict=True)])
    return cut, scores.tolist()


def compare(model: Any, options: dict[str, Any], length: int = 3, seed: int = 0) -> list[Written]:
    batch = question("bart" if model.config.is_encoder_decoder else "gpt2", 3, length, seed)
    ids, scores = theirs(model, batch, options)
    found = decode(Uncached(model), batch, Options(**options), end_ids=ENDS)
    ours = [written for texts in found for written in texts]
    assert [written.ids for written in ours] == ids
    assert [written.score for written in ours] == pytest.approx(scores, abs=1e-4, rel=1e-5)
    return ours


RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "repetition": {"repetition_penalty": 1.6},
    "a liking for repetition": {"repetition_penalty": 0.7},
    "unigrams": {"no_repeat_ngram_size": 1},
    "bigrams": {"no_repeat_ngram_size": 2},
    "trigrams": {"no_repeat_ngram_size": 3},
    "least": {"min_length": 9},
    "least new": {"min_new_tokens": 5},
    "both lengths": {"min_length": 4, "max_length": 10},
    "one token": {"max_new_tokens": 1},
    "forced last": {"forced_eos_id": 2},
    "suppressed": {"suppressed_ids": (4, 11, 17, 30)},
    "no end": {"suppressed_ids": tuple(ENDS), "max_new_tokens": 8},
    "all": {
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 2,
        "min_length": 8,
        "forced_eos_id": 9,
        "suppressed_ids": (12, 13),
        "max_length": 13,
    },
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("beams", [1, 4])
def test_rules_are_those_of_transformers(model: Any, beams: int, rule: str) -> None:
    compare(model, {"num_beams": beams, **RULES[rule]})


@pytest.mark.parametrize("rule", ["none", "all"])
@pytest.mark.parametrize("penalty", [1.0, 0.0, -1.0, 2.0])
@pytest.mark.parametrize("stopping", [False, True, "never"])
def test_scores_and_early_stopping_are_those_of_transformers(
    model: Any, stopping: bool | str, penalty: float, rule: str
) -> None:
    beams = 3 if rule == "none" else 5
    how = {"early_stopping": stopping, "length_penalty": penalty, "num_beams": beams}
    compare(model, {**how, "num_return_sequences": beams, **RULES[rule]}, seed=beams)


def test_the_first_token_is_forced_after_a_single_one_only(model: Any) -> None:
    for beams, length in product((1, 3), (1, 2)):
        options = {"num_beams": beams, "forced_bos_id": 20}
        for written in compare(model, options, length=length):
            assert length > 1 or written.ids[0] == 20


def test_twenty_tokens_are_written_when_no_length_is_told(model: Any) -> None:
    for written in compare(model, {"suppressed_ids": tuple(ENDS)}):
        assert len(written.ids) == 20


@pytest.mark.parametrize("seed", range(4))
def test_other_weights_other_texts(seed: int) -> None:
    found = []
    for kind, beams in product(KINDS, (1, 3)):
        options = {"num_beams": beams, "max_new_tokens": 12, "no_repeat_ngram_size": 3}
        found += compare(make(kind, seed + 1), options, length=1 + seed % 4, seed=seed)
    assert len({tuple(written.ids) for written in found}) > 6


def test_the_end_is_sometimes_found_and_sometimes_not(model: Any) -> None:
    """Or the tests above would prove little."""
    found = [w for s in range(3) for w in compare(model, {"num_beams": 2}, seed=s)]
    assert {w.finished for w in found} == {True, False}
    assert len({len(w.ids) for w in found}) > 3
