"""Each evaluation on data whose answers are known, with what real data brings along."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tablemodel import TableModel, dataset

import seesay
from seesay.data import open_dataset
from seesay.data.record import Dataset
from seesay.errors import CheckpointError, InputError, UsageError
from seesay.evaluate import cra, matching, retrieval, zeroshot

E = np.eye(4)
SHARED = [("a.png", ["one", "both"]), ("b.png", ["two", "both"]), ("c.png", ["three"])]
IMAGES = {"a.png": E[0], "b.png": E[1], "c.png": E[2], "d.png": E[3]}
TEXTS = {
    "one": E[0], "two": E[1], "three": E[0] + 0.1 * E[2], "both": E[0] + E[1] + 0.5 * E[3],
    "four": E[3], "a dog": E[0], "a cat": E[1],
}  # fmt: skip


@pytest.fixture
def model() -> TableModel:
    return TableModel(IMAGES, TEXTS)


def test_retrieval_on_answers_known_by_hand(model: TableModel, tmp_path: Path) -> None:
    report = retrieval(model, dataset(tmp_path, SHARED), depths=(1, 2), resamples=0)
    # "both" is one text of two right pictures, and "three" finds a.png before its own picture
    assert report.counts["captions"] == 4
    assert report.counts["pairs"] == 5
    assert report.metrics["text_to_image_r@1"] == pytest.approx(3 / 4)
    assert report.metrics["text_to_image_r@2"] == pytest.approx(1)
    assert report.metrics["text_to_image_mean_rank"] == pytest.approx(5 / 4)
    assert report.metrics["image_to_text_r@1"] == pytest.approx(1)
    assert report.metrics["mean_recall"] == pytest.approx((3 / 4 + 1 + 1 + 1) / 4)
    # chance: "both" has two right pictures of three, the others one
    assert report.chance["text_to_image_r@1"] == pytest.approx((2 / 3 + 3 * 1 / 3) / 4)
    (missed, *_), *_ = report.examples.values()
    assert missed.lines == [("caption", "three")]
    assert missed.title.startswith("rank 2 of 3")
    assert missed.pictures == [("wanted", 2), ("found", 0)]


def test_bad_pictures_are_counted_and_take_their_captions_along(
    model: TableModel, tmp_path: Path
) -> None:
    rows = [*SHARED, ("bad.png", ["four"]), ("d.png", [])]
    report = retrieval(model, dataset(tmp_path, rows), resamples=0, batch_size=2)
    assert report.counts["pictures"] == 3
    assert report.counts["captions"] == 4
    assert report.reasons() == {"no caption": 1, "unreadable picture": 1}
    assert [where for where, _, _ in report.skipped] == ["list:4", "list:3"]
    clean = retrieval(model, dataset(tmp_path, SHARED), resamples=0)
    assert report.metrics == clean.metrics


def test_pictures_in_tar_shards_fail_one_by_one_too(tmp_path: Path) -> None:
    good = io.BytesIO()
    Image.new("RGB", (24, 24), (200, 40, 40)).save(good, "PNG")
    with tarfile.open(tmp_path / "shard-000.tar", "w") as shard:
        for name, data in {
            "1.png": good.getvalue(), "1.txt": b"a red square",
            "2.png": good.getvalue()[:40], "2.txt": b"a broken square",
            "3.png": b"", "3.txt": b"nothing",
        }.items():  # fmt: skip
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    data = open_dataset(tmp_path / "shard-000.tar")
    report = retrieval(seesay.create("mini-tiny"), data, resamples=0)
    assert report.counts["pictures"] == 1
    assert report.counts["skipped"] == 2
    report.save(tmp_path / "out")
    assert "data:image/jpeg" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_long_and_short_captions_are_reported_apart(model: TableModel, tmp_path: Path) -> None:
    texts = {"one": E[0], "a b c d": E[2], "two": E[1], "e f g h": E[1], "three": E[2]}
    long = TableModel(IMAGES, texts)
    rows = [("a.png", ["one", "a b c d"]), ("b.png", ["two", "e f g h"]), ("c.png", ["three"])]
    report = retrieval(long, dataset(tmp_path, rows), long_from=3, depths=(1,), resamples=0)
    assert report.counts["long_captions"] == 2
    assert report.metrics["short_text_to_image_r@1"] == 1
    assert report.metrics["short_image_to_text_r@1"] == 1
    assert report.metrics["long_text_to_image_r@1"] == 0.5  # "a b c d" finds c.png
    # two pictures have a long caption; a.png ties between both, b.png finds its own
    assert report.metrics["long_image_to_text_r@1"] == pytest.approx(0.75)
    assert report.chance["long_text_to_image_r@1"] == pytest.approx(1 / 3)
    assert report.chance["long_image_to_text_r@1"] == pytest.approx(1 / 2)
    whole = retrieval(long, dataset(tmp_path, rows), resamples=0)
    assert not any(key.startswith("long") for key in whole.metrics)


def test_captions_the_tokenizer_cuts_off_are_counted(model: TableModel, tmp_path: Path) -> None:
    """The table's tokenizer reads 32 characters."""
    texts = {"x" * 31: E[0], "x" * 32: E[1], "y" * 33: E[2]}
    rows = [(f"{n}.png", [text]) for n, text in zip("abc", texts, strict=True)]
    report = retrieval(TableModel(IMAGES, texts), dataset(tmp_path, rows), resamples=0)
    assert report.counts["captions_cut_off"] == 2


def test_intervals_contain_the_figure_and_repeat(model: TableModel, tmp_path: Path) -> None:
    data = dataset(tmp_path, SHARED)
    first, second = (retrieval(model, data, resamples=50, seed=1) for _ in range(2))
    assert first.intervals == second.intervals
    assert first.intervals.keys() == first.metrics.keys()
    for key, (low, high) in first.intervals.items():
        assert low <= first.metrics[key] <= high


def test_a_model_in_training_is_afterwards_as_it_was() -> None:
    """Modes of every submodule, the random numbers, and the next step of training."""
    model = seesay.create("clip-tiny", seed=1)
    frozen = next(iter(model.module.children()))
    model.module.train()
    frozen.eval()
    modes = [m.training for m in model.module.modules()]
    folder = Path(seesay.__file__).parents[2] / "examples" / "gallery"
    from seesay.data.record import Record

    records = [
        Record(str(path), (path.stem,), None, path.name, path.name)
        for path in sorted(folder.glob("*.jpg"))[:6]
    ]
    data = Dataset("six", records, form="folder")
    state = torch.get_rng_state()
    report = retrieval(model, data, resamples=0, batch_size=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model.module.modules()] == modes
    assert report.counts["pictures"] == 6
    pixels = torch.randn(2, 3, *model.processor.image.size)
    model.module.embed_image(pixels).sum().backward()
    ids, mask = model.processor.texts(["a dog", "a cat"])
    model.module.embed_text(ids, mask).sum().backward()
    with pytest.raises(UsageError, match="depths"):
        retrieval(model, data, depths=(0,))


def test_modes_come_back_after_an_error(model: TableModel, tmp_path: Path) -> None:
    model.module.train()
    model.images["a.png"] = torch.full((4,), torch.nan)
    with pytest.raises(CheckpointError, match="not finite for 1 of 3 pictures"):
        retrieval(model, dataset(tmp_path, SHARED))
    assert model.module.training


def test_data_of_no_use_is_one_clear_error(model: TableModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no captions"):
        retrieval(model, dataset(tmp_path, [("a.png", [])]))
    with pytest.raises(InputError, match=r"none of the 1 pictures of list can be read: .*bad"):
        retrieval(model, dataset(tmp_path, [("bad.png", ["one"])]))
    with pytest.raises(InputError, match="no labels"):
        zeroshot(model, dataset(tmp_path, SHARED))
    with pytest.raises(InputError, match="two captions"):
        cra(model, dataset(tmp_path, [("a.png", ["one"])]))


LABELLED = [
    ("a.png", [], 0), ("b.png", [], 1), ("c.png", [], 0), ("d.png", [], None), ("bad.png", [], 1),
]  # fmt: skip


def test_zeroshot_on_answers_known_by_hand(model: TableModel, tmp_path: Path) -> None:
    model.images["c.png"] = model.images["b.png"]
    data = dataset(tmp_path, LABELLED, classes=("a dog", "a cat"))
    report = zeroshot(model, data, resamples=20)
    assert report.metrics == pytest.approx({"top1": 2 / 3, "mean_per_class": 3 / 4})
    assert report.chance == pytest.approx({"top1": 1 / 2, "mean_per_class": 1 / 2})
    assert report.reasons() == {"no label among the classes": 1, "unreadable picture": 1}
    assert report.tables[0].rows == [("a dog", 2, 0.5, "a cat 1"), ("a cat", 1, 1.0, "")]
    assert report.settings["templates"] == ["{}"]
    assert [e.lines for e in report.examples["Pictures taken for something else"]] == [
        [("wanted", "a dog"), ("found", "a cat")]
    ]


def test_classes_may_have_other_names(model: TableModel, tmp_path: Path) -> None:
    data = dataset(tmp_path, LABELLED[:2], classes=("x", "y"))
    assert zeroshot(model, data, classes=["two", "one"], resamples=0).metrics["top1"] == 0
    # a name that both share: the pictures cannot be told apart, and chance is what is left
    assert zeroshot(model, data, classes=["one", "one"], resamples=0).metrics["top1"] == 0.5
    with pytest.raises(UsageError, match="3 class names for the 2 classes"):
        zeroshot(model, data, classes=["one", "two", "three"])


def test_a_picture_with_several_labels_is_right_by_any(model: TableModel, tmp_path: Path) -> None:
    rows = [("a.png", [], 1), ("a.png", [], 0), ("b.png", [], 1)]
    report = zeroshot(model, dataset(tmp_path, rows, classes=("one", "two")), resamples=0)
    assert report.counts["pictures"] == 2
    assert report.metrics["top1"] == 1


PAIRS = [
    ("a.png", ["one"], 1), ("a.png", ["two"], 0), ("b.png", ["two"], 1), ("b.png", ["three"], 0),
    ("c.png", ["three"], 1), ("c.png", ["one"], 0), ("d.png", ["four"], 1), ("d.png", ["one"], 0),
]  # fmt: skip


def test_matching_of_labelled_pairs(model: TableModel, tmp_path: Path) -> None:
    report = matching(model, dataset(tmp_path, PAIRS), threshold=0.5, resamples=10)
    # "three" is barely like c.png: the one right pair that is missed
    assert report.metrics["accuracy"] == pytest.approx(7 / 8)
    assert report.metrics["precision"] == 1
    assert report.metrics["recall"] == pytest.approx(3 / 4)
    assert report.metrics["roc_auc"] == 1
    assert report.counts["right_pairs"] == 4
    assert report.settings["threshold_from"] == "given"
    named = dataset(tmp_path, PAIRS, classes=("yes", "no"))
    swapped = matching(model, named, threshold=0.5, resamples=0)
    assert swapped.metrics["accuracy"] == pytest.approx(1 / 8)
    named = dataset(tmp_path, PAIRS, classes=("dog", "cat"))
    with pytest.raises(InputError, match="label 'cat' does not say"):
        matching(model, named, threshold=0.5)
    both = dataset(tmp_path, [*PAIRS, ("a.png", ["one"], 0)])
    with pytest.raises(InputError, match="both 0 and 1"):
        matching(model, both, threshold=0.5)


def test_the_threshold_comes_from_pictures_that_are_not_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(20)]
    images = {name: rng.standard_normal(4) for name in names}
    texts = {f"text {name}": images[name] + 0.3 * rng.standard_normal(4) for name in names}
    model = TableModel(images, texts)
    data = dataset(tmp_path, [(name, [f"text {name}"]) for name in names])
    for negatives in ("random", "hard"):
        report = matching(model, data, negatives=negatives, seed=3, resamples=0)
        assert report.counts["pairs"] == report.counts["pairs_to_choose_threshold"] == 20
        assert report.settings["threshold_from"] == "best F1 on the other half of the pictures"
        assert report.metrics["roc_auc"] > 0.8
        assert report.metrics == matching(model, data, negatives=negatives, seed=3).metrics
    with pytest.raises(UsageError, match="too few"):
        matching(
            model, dataset(tmp_path, [("0.png", ["text 0.png"], 1), ("0.png", ["text 1.png"], 0)])
        )


def test_cra_asks_first_captions_for_second_ones(tmp_path: Path) -> None:
    texts = {"a1": E[0], "a2": E[0], "b1": E[1], "b2": E[2], "c1": E[2], "c2": E[2] + 0.1 * E[3]}
    rows = [(f"{n}.png", [f"{n}1", f"{n}2"]) for n in "abc"] + [("bad.png", ["a1"])]
    report = cra(TableModel(IMAGES, texts), dataset(tmp_path, rows), resamples=10)
    # a1 finds a2; b1 is like nothing, all tie; c1 finds b2 first
    assert report.metrics["cra"] == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert report.counts["pool"] == 3
    assert report.reasons() == {"one caption only": 1}
    assert report.chance["cra"] == pytest.approx(1 / 3)
    assert cra(TableModel(IMAGES, texts), dataset(tmp_path, rows), limit=2).counts["pool"] == 2


def test_a_report_says_what_its_figures_depend_on(model: TableModel, tmp_path: Path) -> None:
    report = retrieval(model, dataset(tmp_path, SHARED), resamples=10, seed=7)
    report.save(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert told["metrics"] == report.metrics
    assert told["model"]["fingerprint"] == "fingerprint-of-table"
    assert told["model"]["processor"] == {"size": [8, 8]}
    assert told["dataset"]["digest"] == dataset(tmp_path, SHARED).digest
    assert told["settings"]["seed"] == 7
    assert told["settings"]["depths"] == [1, 5, 10]
    assert {"seesay", "torch", "python", "processor", "cores"} <= told["machine"].keys()
    assert told["intervals"]["level"] == 0.95
    assert told["seconds"] > 0
    assert told["skipped"] == {"count": 0, "reasons": {}, "items": []}
