"""Captions of a model, or of a file, against references; with domains and bad pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tablemodel import dataset

import seesay
from seesay.data import open_dataset
from seesay.data.record import Dataset
from seesay.errors import InputError, UsageError
from seesay.evaluate import caption_scores, captioning, read_predictions
from seesay.evaluate.predictions import Predictions, domains, number_of_picture
from seesay.model import Model

ROWS = [
    ("a.png", ["a red square", "a square of red paper"]),
    ("b.png", ["a green circle on a table", "green circle"]),
    ("c.png", ["two blue dogs", "blue dogs"]),
    ("d.png", ["a cat"]),
]


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("blip-tiny-captioning", seed=0)


def said(**captions: str) -> Predictions:
    return Predictions("said.json", "0", {f"{name}.png": text for name, text in captions.items()})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path, ROWS)


def test_captions_of_a_file_are_scored_without_a_model(data: Dataset) -> None:
    given = said(a="a red square", b="a green circle", c="a red square", d="a cat")
    report = captioning(None, data, predictions=given, resamples=20)
    captions = [given.said[name] for name, _ in ROWS]
    expected = caption_scores(captions, [texts for _, texts in ROWS])
    assert report.metrics == expected
    assert report.metrics["cider_d"] > report.chance["cider_d"]
    assert report.intervals.keys() == report.metrics.keys()
    assert report.counts["distinct_captions"] == 3
    assert report.model == {"name": "said.json", "fingerprint": "0"}
    worst = report.examples["Captions least like the references"][0]
    assert worst.lines[:2] == [("written", "a red square"), ("reference 1", "two blue dogs")]


def test_pictures_without_a_prediction_or_a_caption_are_counted(tmp_path: Path) -> None:
    data = dataset(tmp_path, [*ROWS, ("e.png", [])])
    report = captioning(None, data, predictions=said(a="a square", b="a dog"), resamples=0)
    assert report.counts["pictures"] == 2
    assert report.reasons() == {"no caption": 1, "no prediction": 2}
    with pytest.raises(InputError, match=r"said\.json speaks of none of the 4 pictures"):
        captioning(None, data, predictions=said(x="a square"))


def test_what_a_model_writes_is_what_it_writes_alone(
    model: Model, tmp_path: Path, data: Dataset
) -> None:
    mixed = dataset(tmp_path, [*ROWS, ("bad.png", ["nothing"])])
    out = tmp_path / "said.json"
    options = {"num_beams": 2, "max_length": 12}
    report = captioning(model, mixed, options=options, save=out, resamples=0, batch_size=2)
    assert report.reasons() == {"unreadable picture": 1}
    assert report.settings["options"]["num_beams"] == 2
    assert report.settings["options"]["min_length"] == 5  # as published
    assert report.settings["template"] == "a picture of {}"
    alone = model.caption([record.image for record in data], **options)  # type: ignore[arg-type]
    told = read_predictions(out)
    assert [told.said[name] for name, _ in ROWS] == [output.text for output in alone]
    again = captioning(None, data, predictions=told, resamples=0)
    assert again.metrics == report.metrics
    report.save(tmp_path / "report")
    assert "CIDEr-D" in (tmp_path / "report" / "report.html").read_text("utf-8")


def test_pictures_of_one_name_in_two_folders_keep_their_captions(
    model: Model, tmp_path: Path
) -> None:
    for folder, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (24, 24), colour).save(tmp_path / folder / "1.png")
    listing = tmp_path / "data.csv"
    listing.write_text("image,caption\na/1.png,it is red\nb/1.png,it is blue\n")
    data, out = open_dataset(listing), tmp_path / "said.json"
    report = captioning(model, data, options={"max_length": 12}, save=out, resamples=0)
    told = read_predictions(out)
    assert set(told.said) == {"1.png", "b/1.png"}
    alone = model.caption([record.image for record in data], max_length=12)  # type: ignore[arg-type]
    assert list(told.said.values()) == [output.text for output in alone]
    assert captioning(None, data, predictions=told, resamples=0).metrics == report.metrics


def test_sampling_follows_the_seed(model: Model, data: Dataset, tmp_path: Path) -> None:
    texts = []
    for seed in (1, 1, 2):
        options = {"do_sample": True, "num_beams": 1, "max_length": 12}
        out = tmp_path / "said.json"
        report = captioning(model, data, options=options, seed=seed, save=out, resamples=0)
        assert report.settings["options"]["seed"] == seed
        texts.append(out.read_text("utf-8"))
    assert texts[0] == texts[1] != texts[2]


def test_domains_are_corpora_of_their_own(tmp_path: Path) -> None:
    dataset(tmp_path, ROWS)
    groups = {"0": "in-domain", "1": "out-domain", "2": "in-domain", "3": "out-domain"}
    listing = {
        "images": [
            {"id": i, "file_name": name, "domain": groups[str(i)]}
            for i, (name, _) in enumerate(ROWS)
        ],
        "annotations": [
            {"id": 10 * i + j, "image_id": i, "caption": text}
            for i, (_, texts) in enumerate(ROWS)
            for j, text in enumerate(texts)
        ],
    }
    path = tmp_path / "nocaps.json"
    path.write_text(json.dumps(listing), encoding="utf-8")
    assert domains(path) == groups
    given = Predictions("x", "0", {"0": "a red square", "1": "a dog", "2": "dogs", "3": "a cat"})
    report = captioning(
        None, open_dataset(path), predictions=given, groups=domains(path), resamples=5
    )
    alone = caption_scores(["a red square", "dogs"], [ROWS[0][1], ROWS[2][1]])
    found = {key: report.metrics[f"in-domain_{key}"] for key in alone}
    assert found == alone
    assert report.counts["out-domain_pictures"] == 2


def test_what_cannot_be_is_said_before_the_work(model: Model, data: Dataset) -> None:
    with pytest.raises(UsageError, match="neither a model nor"):
        captioning(None, data)
    with pytest.raises(UsageError, match="cannot be written"):
        captioning(model, data, save="/nowhere/at/all.json")
    with pytest.raises(UsageError, match="num_beam"):
        captioning(model, data, options={"num_beam": 3})
    with pytest.raises(UsageError, match="cannot caption"):
        captioning(seesay.create("clip-tiny"), data)
    with pytest.raises(InputError, match="no captions"):
        captioning(model, data.select([]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "entry 0 is no prediction"),
        ('[{"image_id": 1}]', "entry 0"),
        ('[{"image_id": 1, "caption": "a"}, {"image_id": 1, "caption": "b"}]', "two things of 1"),
        ("nonsense", "not valid"),
        ("3", "no list"),
    ],
)
def test_bad_result_files_are_one_clear_error(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "said.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_predictions(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "nowhere.json")


def test_result_files_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "said.json"
    for content in (
        [{"question_id": 7, "answer": "two"}],
        [{"questionId": "7", "prediction": "two"}],
        {"7": {"multiple_choice": "one", "direct_answer": "two"}},
        {"7": "two"},
    ):
        path.write_text(json.dumps(content), encoding="utf-8")
        assert read_predictions(path).said in ({"7": "two"}, {"7": "one"})
    lines = tmp_path / "said.csv"
    lines.write_text("dev-0-0-0,True\n", encoding="utf-8")
    assert read_predictions(lines).said == {"dev-0-0-0": "True"}


def test_pictures_are_called_what_result_files_call_them() -> None:
    assert number_of_picture("val2014/x", "val2014/COCO_val2014_000000391895.jpg") == "391895"
    assert number_of_picture("391895", "anything.jpg") == "391895"
    assert number_of_picture("sub/dog7.jpg", "/data/sub/dog7.jpg") == "dog7.jpg"
