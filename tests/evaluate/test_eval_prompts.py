"""Prompts of every kind with figures known by hand, and models that do not look, or do not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import seesay
from evaluate.saying import prompted, saying
from seesay.errors import InputError, SeesayError, UsageError
from seesay.evaluate import instructed
from seesay.evaluate.kinds import kind_of, token_of
from seesay.evaluate.predictions import Predictions

LEFT, RIGHT = "<loc_0><loc_0><loc_499><loc_999>", "<loc_500><loc_0><loc_999><loc_999>"
QUAD = "<loc_0><loc_0><loc_499><loc_0><loc_499><loc_999><loc_0><loc_999>"
SQUARE = f"<poly>{QUAD}</poly>"


def row(image: str, prefix: str, suffix: Any) -> dict[str, Any]:
    return {"image": image, "prefix": prefix, "suffix": suffix}


def test_each_kind_of_prompt_has_figures_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "<OD>": (f"cat{LEFT}dog{RIGHT}", f"cat{LEFT}cow{RIGHT}"),
        "<DocVQA>who?": (["Coca Cola", "Coca Cola Company"], "CocaCola"),
        "<OCR>": ("one two\nthree", "two ome three"),
        "<OCR_WITH_REGION>": (f"one{QUAD}", f"one{QUAD}two{QUAD}"),
        "<CAPTION_TO_PHRASE_GROUNDING>a cat and a dog": (
            f"a cat{LEFT}a dog{RIGHT}",
            f"a cat{LEFT}a dog{LEFT}",
        ),
        "<REFERRING_EXPRESSION_SEGMENTATION>the cat": (QUAD, SQUARE),
    }
    rows = [row("a.png", prompt, wanted) for prompt, (wanted, _) in answers.items()]
    model = saying(monkeypatch, lambda _, prompt: answers[prompt][1])
    report = instructed(model, prompted(tmp_path, rows), resamples=3)
    assert report.metrics == pytest.approx(
        {
            "map": 0.5,
            "map50": 0.5,
            "map75": 0.5,
            "ar100": 0.5,
            "anls": 8 / 9,
            "accuracy": 0.0,
            # "two ome three" for "one two three"; lines count as separated by spaces
            "cer": 6 / 13,
            "wer": 2 / 3,
            "word_f1": 2 / 3,
            "f1": 2 / 3,
            "place_f1": 2 / 3,
            "grounding_accuracy": 0.5,
            "mask_iou": 1.0,
            "cumulative_mask_iou": 1.0,
        },
        abs=0.02,
    )
    assert report.settings["tasks"] == {prompt.split(">")[0] + ">": 1 for prompt in answers}
    assert report.settings["detections_by"] == "order, all taken as sure"
    assert ("dog", 1, 0.0, 0.0) in report.tables[0].rows
    report.save(tmp_path / "report")


@pytest.mark.parametrize(
    ("prompt", "error", "said"),
    [
        ("<OD>cars", UsageError, "<OD> stands alone, but 'cars' follows it"),
        ("<CAPTION_TO_PHRASE_GROUNDING>", UsageError, "needs something behind it"),
        ("<DocVQA>" + "who? " * 2000, InputError, "tokens, and"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_named_with_its_row(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    error: type[SeesayError],
    said: str,
) -> None:
    asked: list[str] = []

    def say(_: str, prompt: str) -> str:
        asked.append(prompt)
        return "no"

    model = saying(monkeypatch, say)
    rows = [row("a.png", "<DocVQA>who?", "I"), row("b.png", prompt, "no"), row("c.png", "x", "y")]
    with pytest.raises(error, match=r"rows\.jsonl:2: ") as caught:
        instructed(model, prompted(tmp_path, rows), resamples=3)
    assert said in caught.value.what
    assert f"(the prompt {prompt[:60]!r})" in caught.value.what
    assert not asked  # it is known before any answer is written


def documents(folder: Path, pictures: int = 12) -> Any:
    """Three questions about each picture, each with an answer of its own."""
    return prompted(
        folder,
        [
            row(f"{i:02}.png", f"<DocVQA>what is {what}?", f"{what * 3}{i:02}{what * 2}")
            for i in range(pictures)
            for what in ("x", "y", "z")
        ],
    )


def right(image: str, prompt: str) -> str:
    what = prompt[-2]
    return what * 3 + image[:2] + what * 2


def blind_to_questions(image: str, _: str) -> str:
    return right(image, "x?")


def blind_to_pictures(_: str, prompt: str) -> str:
    return right("07.png", prompt)


def test_a_model_that_looks_and_reads_passes_the_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = instructed(saying(monkeypatch, right), documents(tmp_path), controls=True)
    assert report.metrics["anls"] == report.metrics["accuracy"] == 1
    # one or two of seven letters are wrong with another picture; all but two with another question
    assert 5 / 7 <= report.metrics["other_pictures_anls"] <= 6 / 7
    assert report.metrics["other_questions_anls"] == 0
    assert report.metrics["gained_by_reading_anls"] == 1
    assert report.intervals["gained_by_looking_anls"][0] > 0
    looked, read = report.notes
    assert looked.startswith("The model is not image-blind (answers): ANLS 100.0 %")
    assert read.startswith("The model is not question-blind (answers): ANLS 100.0 %")
    assert "0 % of what it says is the same" in read


def test_a_question_blind_model_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saying(monkeypatch, blind_to_questions)
    report = instructed(model, documents(tmp_path), controls=True, resamples=100)
    assert report.metrics["anls"] == pytest.approx(1 / 3)
    assert report.metrics["other_questions_anls"] == pytest.approx(1 / 3)
    assert report.notes[0].startswith("The model is not image-blind")
    assert report.notes[1] == (
        "The model is question-blind (answers): ANLS 33.3 % with the right questions, 33.3 % with "
        "others, and 100 % of what it says is the same."
    )


def test_an_image_blind_model_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saying(monkeypatch, blind_to_pictures)
    report = instructed(model, documents(tmp_path), controls=True, resamples=100)
    assert report.notes[0].startswith("The model is image-blind (answers)")
    assert "100 % of what it says is the same" in report.notes[0]
    assert report.notes[1].startswith("The model is not question-blind")
    controls = next(table for table in report.tables if table.heading == "Controls")
    assert controls.rows[0][-1] == 1


def test_a_model_that_says_other_things_of_no_use_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saying(monkeypatch, lambda image, prompt: f"{prompt[-2]}?{image}")
    report = instructed(model, documents(tmp_path), controls=True, resamples=50)
    assert report.notes[0].startswith("No sign that the model is not image-blind (answers)")


def test_places_in_another_picture_are_the_same_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    rows = [row(f"{i}.png", "<OD>", f"cat{LEFT}") for i in range(4)]
    questions = prompted(tmp_path, rows)
    for i in range(4):
        Image.new("RGB", (50 + 40 * i, 300 - 60 * i)).save(tmp_path / f"{i}.png")
    model = saying(monkeypatch, lambda image, prompt: f"cat{LEFT}")
    report = instructed(model, questions, controls=True, resamples=5)
    assert report.metrics["map"] == pytest.approx(1)
    assert report.metrics["other_pictures_map"] == pytest.approx(1)
    assert report.chance["map"] == pytest.approx(1)
    # all prompts are alike, so there are no other questions
    assert [note.split(" (")[0] for note in report.notes] == ["The model is image-blind"]


def test_rows_of_other_kinds_are_left_alone_and_rows_without_answers_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("a.png", "<OD>", f"cat{LEFT}"), row("a.png", "<OCR>", "text")]
    rows += [row("b.png", "<OCR>", None), row("bad.png", "<OCR>", "text")]
    questions = prompted(tmp_path, rows)
    model = saying(monkeypatch, lambda *_: "text")
    report = instructed(model, questions, kinds=["reading"], resamples=0)
    assert report.metrics == {"cer": 0, "wer": 0, "word_f1": 1}
    assert report.counts["questions"] == 1
    assert sorted(report.reasons()) == ["no answer", "unreadable picture"]
    with pytest.raises(InputError, match="no prompt for masks"):
        instructed(model, questions, kinds=["masks"])
    with pytest.raises(UsageError, match="no kind of prompts called 'bozes'"):
        instructed(model, questions, kinds=["bozes"])


def test_answers_of_a_file_are_scored_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = documents(tmp_path, 2)
    out = tmp_path / "said.json"
    mine = instructed(saying(monkeypatch, right), questions, save=out, resamples=0)
    said = seesay.evaluate.read_predictions(out)
    assert instructed(None, questions, predictions=said, resamples=0).metrics == mine.metrics
    # the best constant answer is near one of six, and of the others no more than half
    assert mine.chance["accuracy"] == pytest.approx(1 / 6)
    placed = prompted(tmp_path, [row("a.png", "<OD>", f"cat{LEFT}")])
    with pytest.raises(UsageError, match="boxes have them"):
        instructed(None, placed, predictions=Predictions("x", "0", {"0": "cat"}))
    with pytest.raises(UsageError, match="ask the model again"):
        instructed(None, questions, predictions=said, controls=True)


def test_questions_without_answers_are_answered_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = prompted(tmp_path, [row("07.png", "<DocVQA>what is x?", None)])
    model, out = saying(monkeypatch, right), tmp_path / "said.json"
    report = instructed(model, questions, save=out)
    assert report.metrics == {}
    assert list(seesay.evaluate.read_predictions(out).said.values()) == ["xxx07xx"]
    with pytest.raises(InputError, match="no answers to compare with"):
        instructed(model, questions)


def test_a_prompt_is_asked_as_it_is_learnt_with_a_task_token_or_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row("a.png", "who?", "a.png says who?"),
        row("b.png", "<my-own>x", "b.png says <my-own>x"),
    ]
    model = saying(monkeypatch, lambda image, prompt: f"{image} says {prompt}")
    report = instructed(model, prompted(tmp_path, rows), resamples=0, max_new_tokens=2)
    assert report.metrics["accuracy"] == 1


def test_one_picture_can_be_asked_other_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = instructed(saying(monkeypatch, right), documents(tmp_path, 1), controls=True)
    assert report.metrics["gained_by_reading_anls"] == 1
    assert not any("pictures" in name for name in report.metrics)


def test_of_several_right_readings_the_nearest_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("a.png", "<OCR>", ["seven words of quite another text altogether", "one two"])]
    model = saying(monkeypatch, lambda *_: "one twx")
    report = instructed(model, prompted(tmp_path, rows), resamples=0)
    assert report.metrics == {"cer": 1 / 7, "wer": 0.5, "word_f1": 0.5}


def test_a_task_token_is_only_one_at_the_beginning() -> None:
    assert token_of(" <OCR>") == "<OCR>"
    assert token_of("what is <OCR>?") == ""
    assert kind_of("<CAPTION_TO_PHRASE_GROUNDING> the <OCR> sign").name == "phrases"
    assert kind_of("<DocVQA>who?").name == kind_of("who?").name == "answers"
