"""Answers and verdicts on data whose figures are known by hand, and models that do not look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

import seesay
from seesay.data.questions import Question, Questions
from seesay.errors import InputError, UsageError
from seesay.evaluate import answering, comparing, read_predictions
from seesay.evaluate.predictions import Predictions
from seesay.model import Model


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    for i in range(6):
        Image.new("RGB", (24, 24), (40 * i, 200 - 30 * i, 90)).save(tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(6)]


def asked(*rows: tuple[Sequence[str], str, Sequence[str], str | None]) -> Questions:
    """Questions of (pictures, text, answers, kind), numbered from 1."""
    return Questions(
        "asked",
        (
            Question(tuple(images), text, tuple(answers), str(i), kind, where=f"asked:{i}")
            for i, (images, text, answers, kind) in enumerate(rows, 1)
        ),
    )


def said(**answers: str) -> Predictions:
    return Predictions("said", "0", {name.strip("q"): text for name, text in answers.items()})


def vqa(pictures: Sequence[str]) -> Questions:
    return asked(
        (pictures[:1], "what color is it?", ["red"] * 9 + ["pink"], "other"),
        (pictures[:1], "is it red?", ["yes"] * 5 + ["no"] * 5, "yes/no"),
        (pictures[1:2], "what color is it?", ["red"] * 2 + ["blue"] * 8, "other"),
        (pictures[2:3], "what color is it?", [], "other"),
    )


def test_accuracy_by_hand_and_by_kind(pictures: list[str]) -> None:
    given = said(q1="Red.", q2="no", q3="the red", q4="blue")
    report = answering(None, vqa(pictures), predictions=given, resamples=10)
    # "red" of two annotators: 0.2 of the time one is left out, so (8 * 2/3 + 2 * 1/3) / 10
    assert report.metrics["accuracy"] == pytest.approx((1 + 1 + 0.6) / 3)
    assert report.metrics["other_accuracy"] == pytest.approx((1 + 0.6) / 2)
    assert report.metrics["yes/no_accuracy"] == 1
    assert report.settings["measure"] == "vqa"
    assert report.counts["questions"] == 3
    assert report.counts["pictures"] == 2
    assert report.reasons() == {"no answer": 1}
    # of the other "what color" question: blue for the first, red for the third; no one else is
    # asked "is it red?", where the commonest answer of all is no annotator's
    assert report.metrics["question_only_accuracy"] == pytest.approx((0 + 0 + 0.6) / 3)
    table = report.tables[1]
    assert list(table.rows[0][:3]) == ["what color", 2, pytest.approx(0.8)]
    assert report.examples["Right answers"][0].lines[1] == ("answered", "Red.")


def test_the_measure_follows_the_data(pictures: list[str]) -> None:
    single = asked((pictures[:1], "how many?", ["2"], None), (pictures[1:2], "who?", ["a"], None))
    report = answering(None, single, predictions=said(q1="two", q2="b"), resamples=0)
    assert report.settings["measure"] == "exact"
    assert report.metrics["accuracy"] == 0.5
    rows = [
        Question((pictures[i],), "what?", ("dog",) * 2 + ("cat",), str(i), None,
                 ("dog", "cat", "cow"), "", right=i)
        for i in (0, 1)
    ]  # fmt: skip
    choices = Questions("aokvqa", rows)
    given = said(q0="dog", q1="dog")
    direct = answering(None, choices, predictions=given, resamples=0)
    assert direct.settings["measure"] == "direct"
    assert direct.metrics["accuracy"] == pytest.approx(2 / 3)
    chosen = answering(None, choices, mode="choices", predictions=given, resamples=0)
    assert chosen.settings["measure"] == "choice"
    assert chosen.metrics["accuracy"] == 0.5


def test_a_right_answer_reaches_one_however_few_were_asked(pictures: list[str]) -> None:
    for annotators, measure in ((2, "exact"), (3, "exact"), (4, "vqa")):
        answers = ["red"] * annotators
        rows = [(pictures[i : i + 1], "what color is it?", answers, None) for i in (0, 1)]
        given = said(q1="red", q2="red")
        report = answering(None, asked(*rows), predictions=given, resamples=0)
        assert report.settings["measure"] == measure
        assert report.metrics["accuracy"] == 1


def test_questions_of_one_number_are_not_scored_by_predictions(
    model: Model, pictures: list[str], tmp_path: Path
) -> None:
    rows = [Question((pictures[i],), "what?", ("dog",), "7", where=f"asked:{i}") for i in (0, 1)]
    with pytest.raises(InputError, match="asked:0 and asked:1 are both number 7"):
        answering(None, Questions("asked", rows), predictions=said(q7="dog"))
    with pytest.raises(InputError, match="both number 7"):
        answering(model, Questions("asked", rows), save=tmp_path / "said.json")
    verdicts = [
        Question((pictures[0], pictures[i]), "both", ("True",), "7", where=f"nlvr:{i}")
        for i in (1, 2)
    ]
    with pytest.raises(InputError, match="nlvr:1 and nlvr:2 are both number 7"):
        comparing(None, Questions("nlvr", verdicts), predictions=said(q7="True"))


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("blip-tiny-vqa", seed=0)


def test_a_model_that_does_not_look_is_caught(
    model: Model, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins that know the answers: one looks at the picture, one only reads the question."""
    from seesay.tasks import answer as task
    from seesay.tasks.caption import WrittenText

    shades = {path: shade for path, shade in zip(pictures, "abcdef", strict=True)}
    rows = [([path], "which shade?", [shades[path]], None) for path in pictures]
    for looks, accuracy, shuffled in ((True, 1, 0), (False, 1 / 6, 1 / 6)):

        def run(_model: Model, requests: Sequence[task.AnswerInput], *, batch_size: int = 8,
                looks: bool = looks):  # fmt: skip
            for request in requests:
                text = shades[str(request.image)] if looks else "a"
                written = WrittenText(text=text, score=0, logprobs=[], finished=True)
                yield task.AnswerOutput(answers=[written])

        monkeypatch.setattr(task, "run", run)
        report = answering(model, asked(*rows), controls=True, resamples=5)
        assert report.metrics["accuracy"] == pytest.approx(accuracy)
        assert report.metrics["shuffled_accuracy"] == pytest.approx(shuffled)
        assert report.metrics["difference_by_looking"] == pytest.approx(accuracy - shuffled)


def test_answers_are_those_the_model_gives_alone(
    model: Model, pictures: list[str], tmp_path: Path
) -> None:
    rows = [(pictures[i : i + 1], f"what is {i}?", ["a", "b"], None) for i in (0, 0, 1, 2)]
    broken = str(tmp_path / "broken.png")
    Path(broken).write_bytes(b"no picture")
    questions = asked(*rows, ([broken], "what?", ["a", "b"], None))
    out = tmp_path / "said.json"
    report = answering(model, questions, options={"num_beams": 2}, save=out, resamples=0)
    assert report.reasons() == {"unreadable picture": 1}
    told = read_predictions(out).said
    texts = [text for _, text, _, _ in rows]
    alone = model.answer([images[0] for images, _, _, _ in rows], texts, num_beams=2)
    assert [told[str(i)] for i in range(1, 5)] == [output.answer for output in alone]
    ranked = answering(model, questions, mode="rank", answers=["a", "b", "c"], top=2, save=out,
                       resamples=0)  # fmt: skip
    best = model.rank(rows[0][0][0], texts[0], ["a", "b", "c"], top=2)
    first = best[0].answer if isinstance(best, list) else best.answer
    assert read_predictions(out).said["1"] == first
    assert ranked.settings["top"] == 2


def test_questions_without_answers_can_only_be_saved(
    model: Model, pictures: list[str], tmp_path: Path
) -> None:
    questions = asked((pictures[:1], "what?", [], None))
    with pytest.raises(InputError, match="no answers to compare with"):
        answering(model, questions)
    out = tmp_path / "said.json"
    report = answering(model, questions, save=out)
    assert report.metrics == {}
    assert set(read_predictions(out).said) == {"1"}


def test_what_does_not_go_together_is_refused(model: Model, pictures: list[str]) -> None:
    questions = vqa(pictures)
    with pytest.raises(UsageError, match="nothing to rank"):
        answering(model, questions, mode="rank")
    with pytest.raises(UsageError, match="no effect in mode 'generate'"):
        answering(model, questions, answers=["a"])
    with pytest.raises(UsageError, match="num_beams has no effect"):
        answering(model, questions, mode="rank", answers=["a"], options={"num_beams": 3})
    with pytest.raises(UsageError, match="controls ask the model again"):
        answering(None, questions, predictions=said(q1="red"), controls=True)
    with pytest.raises(InputError, match="answers none of the questions"):
        answering(None, questions, predictions=said(q9="red"))
    with pytest.raises(InputError, match="about one picture each"):
        comparing(None, questions, predictions=said(q1="true"))


def pairs(pictures: Sequence[str]) -> Questions:
    rows = [("dev-1-0-0", "both", "True"), ("dev-1-1-0", "both", "False"),
            ("dev-2-0-0", "both", "True"), ("dev-2-0-1", "one", "maybe")]  # fmt: skip
    return Questions(
        "nlvr",
        (Question((pictures[i], pictures[i + 1]), text, (label,), name, where=f"nlvr:{i}")
         for i, (name, text, label) in enumerate(rows)),
    )  # fmt: skip


def test_accuracy_and_consistency_of_statements(pictures: list[str], tmp_path: Path) -> None:
    verdicts = {"dev-1-0-0": "true", "dev-1-1-0": "True", "dev-2-0-0": "True"}
    report = comparing(None, pairs(pictures), predictions=Predictions("x", "0", verdicts))
    assert report.metrics["accuracy"] == pytest.approx(2 / 3)
    # the statement of set 1 is judged wrongly once, that of set 2 never
    assert report.metrics["consistency"] == pytest.approx(1 / 2)
    assert report.chance["accuracy"] == pytest.approx(2 / 3)
    assert report.reasons() == {"neither true nor false": 1}
    wrong = report.examples["Wrong verdicts"][0]
    assert wrong.pictures == [("left", 1), ("right", 5)]
    assert report.source is not None
    assert report.source[5].image == pictures[2]
    report.save(tmp_path / "report")


def test_verdicts_of_a_model(pictures: list[str], tmp_path: Path) -> None:
    model, out = seesay.create("blip-tiny-nlvr", seed=0), tmp_path / "said.csv"
    report = comparing(model, pairs(pictures), controls=True, save=out, resamples=5)
    assert {"shuffled_accuracy", "difference_by_looking"} < report.metrics.keys()
    told = read_predictions(out).said
    alone = model.compare(pictures[0], pictures[1], "both")[0]
    assert told["dev-1-0-0"] == str(alone.true)
    given = Predictions("x", "0", {"dev-1-0-0": "perhaps"})
    with pytest.raises(InputError, match="'perhaps' is neither"):
        comparing(None, pairs(pictures), predictions=given)
