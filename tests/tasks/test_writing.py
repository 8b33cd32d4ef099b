"""Captions and answers: options, order, sharing of images, ranking as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from contract.probes import build, picture, pictures
from seesay.errors import InputError, UsageError
from seesay.model import Model
from seesay.tasks import answer, caption
from seesay.tasks.answer import AnswerInput
from seesay.tasks.caption import CaptionInput
from seesay.tasks.writing import asked


@pytest.fixture(scope="module")
def captioner() -> Model:
    return build("blip-tiny-captioning")


@pytest.fixture(scope="module")
def answerer() -> Model:
    return build("blip-tiny-vqa")


def counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through the encoder, call by call."""
    sizes: list[int] = []
    encode = model.module.encode_image

    def count(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(model.module, "encode_image", count)
    return sizes


def test_what_is_not_told_is_as_published(captioner: Model) -> None:
    [usual] = captioner.caption(picture())
    [told] = captioner.caption(picture(), num_beams=3, max_length=20, min_length=5)
    assert usual == told
    [greedy] = captioner.caption(picture(), num_beams=1)
    assert greedy.captions[0].logprobs != usual.captions[0].logprobs


def test_who_samples_gets_no_beams_and_several_captions_sorted(captioner: Model) -> None:
    how = {"do_sample": True, "top_p": 0.9, "num_return_sequences": 4, "seed": 3}
    [found] = captioner.caption(picture(), **how)
    scores = [text.score for text in found.captions]
    assert len(set(scores)) == 4
    assert scores == sorted(scores, reverse=True)
    for text in found.captions:
        assert text.score == pytest.approx(sum(text.logprobs), abs=1e-4)
    assert captioner.caption(picture(), **how) == [found]
    assert captioner.caption(picture(), **(how | {"seed": 4})) != [found]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 0}, "num_beams=0"),
        ({"num_beam": 3}, "Did you mean num_beams"),
        ({"top_p": 0.9}, "without sampling"),
        ({"num_return_sequences": 5}, "num_beams=5 or more"),
        ({"max_new_tokens": "many"}, "whole number"),
    ],
)
def test_options_that_cannot_be_are_refused(
    captioner: Model, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        captioner.caption(picture(), **options)


def test_lengths_that_there_are_no_positions_for_are_refused(
    captioner: Model, answerer: Model
) -> None:
    """The tiny ones have 48; four are taken by the start and "a picture of"."""
    with pytest.raises(UsageError, match="a text of 50 tokens, 4 of them given"):
        captioner.caption(picture(), max_length=50)
    with pytest.raises(UsageError, match="a text of 64 tokens, 61 of them given") as caught:
        captioner.caption(picture(), "a " * 60, max_new_tokens=3)
    assert "fewer words" in str(caught.value.hint)
    with pytest.raises(UsageError, match="more than the model's 48"):
        answerer.answer(picture(), "what?", max_new_tokens=49)
    # the last token is written, and never read
    [longest] = captioner.caption(picture(), max_length=49, min_length=49, num_beams=1)
    assert len(longest.captions[0].logprobs) == 45


def test_requests_with_other_options_are_served_together(captioner: Model) -> None:
    options: list[dict[str, Any]] = [{}, {"num_beams": 1}, {}, {"max_new_tokens": 3}]
    requests = [
        CaptionInput(image=image, options=how)
        for image, how in zip(pictures(), options, strict=True)
    ]
    together = list(caption.run(captioner, requests))
    for request, found in zip(requests, together, strict=True):
        [alone] = caption.run(captioner, [request])
        assert not isinstance(found, InputError)
        assert not isinstance(alone, InputError)
        assert [text.text for text in found.captions] == [text.text for text in alone.captions]


def test_an_image_with_many_questions_is_encoded_once(
    answerer: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sizes = counted(answerer, monkeypatch)
    first, second = picture(seed=1), picture(seed=2)
    asked = ["what?", "how many dogs are there?", "why", "what?", "where is it"]
    images = [first, first, first, second, second]
    found = answerer.answer(images, asked, num_beams=1, batch_size=2)
    assert sizes == [2]
    for i, image in enumerate((first, second)):
        image.save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in (0, 0, 0, 1, 1)]  # equal, and not the same object
    answerer.answer(paths, asked, num_beams=1, batch_size=2)
    assert sizes == [2, 2]
    for image, question, one in zip(images, asked, found, strict=True):
        [alone] = answerer.answer(image, question, num_beams=1)
        assert one.answer == alone.answer


def test_results_come_in_order_whatever_the_batches(answerer: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    one, two = picture(seed=1), picture(seed=2)
    asked: list[tuple[Any, str, dict[str, Any]]] = [
        (one, "what is it?", {}),
        (one, "and how many?", {"max_new_tokens": 2}),
        (tmp_path / "bad.png", "what", {}),
        (tmp_path / "bad.png", "who", {}),
        (two, "what is it?", {}),
        (one, "what is it?", {}),
        (one, "who", {}),
    ]
    requests = [AnswerInput(image=i, question=q, options=o) for i, q, o in asked]
    alone = [result for request in requests for result in answer.run(answerer, [request])]
    for size in (1, 2, 3, 7):
        found = list(answer.run(answerer, requests, batch_size=size))
        for a, b in zip(found, alone, strict=True):
            assert isinstance(a, InputError) == isinstance(b, InputError)
            if not isinstance(a, InputError) and not isinstance(b, InputError):
                assert a.answer == b.answer
    assert [isinstance(result, InputError) for result in alone].count(True) == 2


def test_answers_are_ranked_by_the_sum_of_smoothed_log_probabilities(answerer: Model) -> None:
    """As salesforce/BLIP ranks: cross-entropy with label smoothing of 0.1, summed over tokens."""
    candidates, question = ["yes", "two small dogs", "on the red sofa"], "what is on the sofa?"
    [found] = answerer.rank(picture(), question, candidates)
    processor: Any = answerer.processor
    from seesay.processing.image import open_picture

    pixels = processor.images([open_picture(picture())])
    expected = {}
    for candidate in candidates:
        (ids, mask), _ = processor.written([candidate], task="answer")
        prompt = processor.prompts("answer", [question])
        prompt = prompt._replace(pixels=pixels, prefix=ids, prefix_mask=mask)
        with torch.inference_mode():
            logits = answerer.module(prompt)[0]
        loss = torch.nn.functional.cross_entropy(
            logits[:-1], ids[0, 1:], label_smoothing=0.1, reduction="sum"
        )
        expected[candidate] = -float(loss)
    assert {a.text: a.score for a in found.answers} == pytest.approx(expected, abs=1e-3)
    assert found.answer == max(expected, key=lambda text: expected[text])


def test_only_answers_that_begin_likeliest_are_scored_whole(answerer: Model) -> None:
    from seesay.generation import first_logprobs
    from seesay.processing.image import open_picture

    candidates = ["yes", "no", "three", "a dog", "blue", "tree"]
    [found] = answerer.rank(picture(), "what?", candidates, top=3)
    processor: Any = answerer.processor
    prompt = processor.prompts("answer", ["what?"])
    pixels = processor.images([open_picture(picture())])
    first = first_logprobs(answerer.module, prompt._replace(pixels=pixels))[0]  # type: ignore[arg-type]
    (ids, _), starts = processor.written(candidates, task="answer")
    begun = {
        text: float(first[row[at]]) for text, row, at in zip(candidates, ids, starts, strict=True)
    }
    likeliest = sorted(candidates, key=lambda text: -begun[text])[:3]
    assert {answer.text for answer in found.answers} == set(likeliest)


def test_options_for_writing_do_not_go_with_a_list(answerer: Model) -> None:
    request = AnswerInput(
        image=picture(), question="what?", answers=("yes", "no"), options={"num_beams": 2}
    )
    with pytest.raises(UsageError, match="num_beams has no effect"):
        list(answer.run(answerer, [request]))
    with pytest.raises(UsageError, match="top=0"):
        answerer.rank(picture(), "what?", ["yes"], top=0)


def test_a_model_that_writes_something_else_says_so(captioner: Model, answerer: Model) -> None:
    with pytest.raises(UsageError, match="cannot ask") as caught:
        captioner.answer(picture(), "what?")
    assert "blip-vqa-base" in str(caught.value)
    with pytest.raises(UsageError, match="cannot caption"):
        answerer.caption(picture())
    with pytest.raises(UsageError, match="cannot match"):
        answerer.match(picture(), "a")


def test_what_people_read_is_the_text(captioner: Model, answerer: Model) -> None:
    [found] = captioner.caption(picture(), num_beams=2, num_return_sequences=2)
    assert found.show() == " | ".join(text.text for text in found.captions)
    [chosen] = answerer.rank(picture(), "what?", ["yes", "no", "1", "2"])
    assert chosen.show().count("|") == 2


def test_drawing_is_as_published_unless_told_otherwise() -> None:
    model = build("blip-tiny-captioning")
    drawn = asked(model, "caption", {"do_sample": True})[1]
    assert (drawn.top_p, drawn.repetition_penalty, drawn.num_beams) == (0.9, 1.1, 1)
    assert asked(model, "caption", {"do_sample": True, "top_p": 0.5})[1].top_p == 0.5
    assert asked(model, "caption", {"do_sample": True, "num_beams": 2})[1].top_p == 1.0
    assert asked(model, "caption", {})[1].repetition_penalty == 1.0


def test_nothing_asked_is_nothing_answered() -> None:
    assert build("blip-tiny-vqa").answer([], []) == []
    with pytest.raises(UsageError, match="prompt is list"):
        build("blip-tiny-captioning").caption([], prompt=["a"])  # type: ignore[arg-type]
