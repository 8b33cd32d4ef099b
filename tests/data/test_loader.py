"""Batches: functions of the step, equal for any number of threads, wherever a run resumes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.made import jpeg, pictures, write
from seesay.data import Dataset, open_dataset
from seesay.data.augment import AUGMENTATIONS
from seesay.data.loader import Batch, Loader, text_lengths
from seesay.data.order import Order
from seesay.data.record import Record
from seesay.errors import InputError, UsageError
from seesay.processing.image import ImageSpec, open_picture, pixels
from seesay.types import Picture, TextBatch


class Words:
    """A processor whose token ids are lengths of words."""

    image = ImageSpec(size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def images(self, pictures: Sequence[Picture]) -> Tensor:
        return pixels(pictures, self.image)

    def texts(self, texts: Sequence[str]) -> TextBatch:
        rows = [[len(word) for word in text.split()] for text in texts]
        ids = torch.zeros(len(rows), max(map(len, rows), default=0), dtype=torch.long)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = torch.tensor(found)
        return TextBatch(ids, ids > 0)

    def settings(self) -> dict[str, Any]:
        return {}

    def save(self, folder: Path) -> None:
        """Nothing to save."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Twenty records of twelve pictures, every fourth with two captions."""
    folder = tmp_path_factory.mktemp("set")
    pictures(folder, *(f"{i}.jpg" for i in range(12)), size=(90, 70))
    lines = []
    for i in range(20):
        texts = [" ".join("w" * (1 + j % 5) for j in range(i % 7 + 1))]
        texts += ["another caption"] if i % 4 == 0 else []
        lines.append(f'{{"image": "{i % 12}.jpg", "text": {texts!r}, "label": {i % 3}}}')
    return open_dataset(write(folder / "t.jsonl", "\n".join(lines).replace("'", '"')))


def same(a: Batch, b: Batch) -> bool:
    assert (a.rows, a.labels.tolist()) == (b.rows, b.labels.tolist())
    pairs = [(a.pixels, b.pixels), (a.ids, b.ids), (a.mask, b.mask), (a.views, b.views)]
    return all(
        (x is None and y is None) or (x is not None and y is not None and torch.equal(x, y))
        for x, y in pairs
    )


@pytest.mark.parametrize("augment", ["none", "blip_pretrain", "slip_view"])
def test_batches_are_equal_for_any_number_of_threads_and_any_start(
    dataset: Dataset, augment: str
) -> None:
    order = Order(20, 6, seed=5)
    options: dict[str, Any] = {"augment": augment, "seed": 9, "views": 2}
    with Loader(dataset, order, Words(), workers=0, **options) as plain:
        expected = [plain(step) for step in range(9)]
    for workers, steps in ((1, range(9)), (4, range(9)), (3, range(5, 9)), (2, (8, 0, 7, 1, 1))):
        with Loader(dataset, order, Words(), workers=workers, **options) as loader:
            for step in steps:
                assert same(loader(step), expected[step]), (workers, step)


def test_a_batch_has_what_its_records_have(dataset: Dataset) -> None:
    order = Order(20, 7, seed=1)
    batch = Loader(dataset, order, Words(), workers=0, text="first")(0)
    assert batch.rows == order.batch(0)
    for i, row in enumerate(batch.rows):
        record = dataset[row]
        assert batch.pixels is not None
        exact = pixels([open_picture(str(record.image))], Words.image)[0]
        torch.testing.assert_close(batch.pixels[i], exact, rtol=0, atol=0)
        words = record.texts[0].split()
        assert batch.ids is not None
        assert batch.mask is not None
        assert batch.ids[i][batch.mask[i]].tolist() == [len(word) for word in words]
        assert batch.labels[i] == record.label
        assert batch.image_ids[i] == row % 12
    longest = max(len(dataset[row].texts[0].split()) for row in batch.rows)
    assert batch.ids is not None
    assert batch.ids.shape[1] == longest, "padded to the longest of the batch, no further"
    assert batch.labels.dtype == batch.image_ids.dtype == torch.int64


def test_a_sample_looks_alike_in_any_batch_and_differs_between_epochs(dataset: Dataset) -> None:
    alone = Loader(dataset, Order(20, 1), Words(), augment="blip_finetune", workers=0)
    together = Loader(dataset, Order(20, 20), Words(), augment="blip_finetune", workers=0)
    singles = {(b := alone(step)).rows[0]: b.pixels for step in range(20)}
    batch, later = together(0), together(1)
    for i, row in enumerate(batch.rows):
        assert batch.pixels is not None
        assert later.pixels is not None
        assert torch.equal(batch.pixels[i], singles[row][0])  # type: ignore[index]
        assert not torch.equal(batch.pixels[i], later.pixels[later.rows.index(row)])


def test_captions_are_chosen_at_random_by_the_seed(dataset: Dataset) -> None:
    def lengths(seed: int) -> list[int]:
        loader = Loader(dataset, Order(20, 20), Words(), seed=seed, images=False)
        found = []
        for step in range(60):
            batch = loader(step)
            assert batch.mask is not None
            found.append(int(batch.mask[batch.rows.index(4)].sum()))
        return found

    drawn = lengths(0)
    assert set(drawn) == {2, 5}, "the two captions of record 4"
    assert 15 < drawn.count(2) < 45
    assert drawn == lengths(0)
    assert drawn != lengths(1)


def test_views_come_beside_the_crop_and_leave_it_as_it_was(dataset: Dataset) -> None:
    order = Order(20, 4)
    plain = Loader(dataset, order, Words(), augment="slip", workers=0)(0)
    batch = Loader(dataset, order, Words(), augment="slip", views=2, workers=0)(0)
    assert batch.views is not None
    assert batch.pixels is not None
    assert plain.pixels is not None
    assert batch.views.shape == (4, 2, 3, 16, 16)
    assert torch.equal(batch.pixels, plain.pixels)
    assert not torch.equal(batch.views[:, 0], batch.views[:, 1])


def test_pictures_or_texts_can_be_left_out(dataset: Dataset) -> None:
    batch = Loader(dataset, Order(20, 4), Words(), images=False, text="none")(0)
    assert batch.pixels is batch.ids is batch.mask is batch.views is None
    assert len(batch.rows) == len(batch.labels) == 4


def test_a_fast_decode_is_close_and_cuts_the_same_crop(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg", size=(1200, 900))
    big = open_dataset(tmp_path)
    for augment in ("none", "clip", "blip_pretrain"):
        options: dict[str, Any] = {"augment": augment, "text": "none", "workers": 0}
        exact = Loader(big, Order(2, 2), Words(), **options)(0).pixels
        fast = Loader(big, Order(2, 2), Words(), decode="fast", **options)(0).pixels
        assert exact is not None
        assert fast is not None
        assert float((exact - fast).abs().mean()) < 0.05


@pytest.fixture
def damaged(tmp_path: Path) -> Dataset:
    """Eight records, of which one is missing, one broken and one says nothing."""
    pictures(tmp_path, *(f"{i}.jpg" for i in range(8)))
    (tmp_path / "2.jpg").unlink()
    (tmp_path / "5.jpg").write_bytes(jpeg()[:200])
    rows = "".join(f"{i}.jpg,{'' if i == 6 else 'words'}\n" for i in range(8))
    return open_dataset(write(tmp_path / "t.csv", "image,caption\n" + rows))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_stops_and_names_its_row(damaged: Dataset, workers: int) -> None:
    only = damaged.select([2])
    with (
        Loader(only, Order(1, 1), Words(), workers=workers) as loader,
        pytest.raises(InputError, match=r"t\.csv:4: .*2\.jpg: no such file"),
    ):
        loader(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_records_make_the_batch_smaller_and_are_counted_once(
    damaged: Dataset, workers: int
) -> None:
    with Loader(
        damaged, Order(8, 8), Words(), workers=workers, on_missing="skip", views=1
    ) as loader:
        for step in range(3):
            batch = loader(step)
            assert sorted(batch.rows) == [0, 1, 3, 4, 7]
            assert batch.pixels is not None
            assert batch.views is not None
            assert batch.ids is not None
            sizes = {len(t) for t in (batch.pixels, batch.ids, batch.labels, batch.views)}
            assert sizes == {5}
        assert set(loader.skipped) == {2, 5, 6}
        assert "t.csv:7" in loader.skipped[5]


def test_a_batch_of_nothing_is_empty(damaged: Dataset) -> None:
    only = damaged.select([2])
    batch = Loader(only, Order(1, 1), Words(), workers=0, on_missing="skip", views=2)(0)
    assert batch.pixels is not None
    assert batch.views is not None
    assert batch.pixels.shape == (0, 3, 16, 16)
    assert batch.views.shape == (0, 2, 3, 16, 16)
    assert batch.rows == []


def test_no_more_is_decoded_ahead_than_said(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    lock = threading.Lock()
    picture = Dataset.picture

    def counted(self: Dataset, i: int, at_least: Any = 0) -> Picture:
        with lock:
            decoded.append(i)
        return picture(self, i, at_least)

    monkeypatch.setattr(Dataset, "picture", counted)
    loader = Loader(dataset, Order(20, 2), Words(), workers=2, prefetch=3)
    loader(0)
    assert len(loader._pending) == 3
    loader.close()
    assert not loader._pending
    assert len(decoded) <= 8
    assert not [t for t in threading.enumerate() if t.name.startswith("seesay-data")]


def test_classes_speak_through_templates(tmp_path: Path) -> None:
    folder = open_dataset(pictures(tmp_path, "cat/1.jpg", "dog/2.jpg"))
    options: dict[str, Any] = {"workers": 0, "images": False}
    batch = Loader(folder, Order(2, 2), Words(), templates=("one {}",), **options)(0)
    assert batch.ids is not None
    assert batch.ids.tolist() == [[3, 3], [3, 3]]
    numbered = open_dataset(write(tmp_path / "t.csv", "image,label\na.jpg,3\n"))
    with pytest.raises(InputError, match=r"label 3 has no name\n.*classes\.txt"):
        Loader(numbered, Order(1, 1), Words(), **options)(0)


def test_who_has_nothing_to_say_is_told_before_the_first_step(damaged: Dataset) -> None:
    with pytest.raises(InputError, match=r"t\.csv:8: has no caption"):
        Loader(damaged, Order(8, 2), Words())
    with pytest.raises(InputError, match=r"t\.csv:8: has no caption"):
        Loader(damaged.select([6]), Order(1, 1), Words(), on_missing="skip")


def test_records_that_say_nothing_are_kept_when_asked_for(tmp_path: Path) -> None:
    unsaid = open_dataset(pictures(tmp_path, "1.jpg", "2.jpg"))
    with pytest.raises(InputError, match="has no caption"):
        Loader(unsaid, Order(2, 2), Words(), workers=0)(0)
    batch = Loader(unsaid, Order(2, 2), Words(), workers=0, silent=True)(0)
    assert batch.captions == [-1, -1]
    assert batch.mask is not None
    assert not batch.mask.any()


def test_a_batch_says_which_captions_it_took(dataset: Dataset) -> None:
    batch = Loader(dataset, Order(20, 20), Words(), images=False)(3)
    assert batch.ids is not None
    assert batch.mask is not None
    for i, (row, caption) in enumerate(zip(batch.rows, batch.captions, strict=True)):
        said = [len(word) for word in dataset[row].texts[caption].split()]
        assert batch.ids[i][batch.mask[i]].tolist() == said
    assert set(batch.captions) == {0, 1}


def test_lengths_are_those_of_the_longest_caption(dataset: Dataset) -> None:
    lengths = text_lengths(dataset, Words())
    expected = [max(len(text.split()) for text in record.texts) for record in dataset]
    assert lengths.tolist() == expected
    unsaid = Dataset("x", [Record("a.jpg", (), None, "a", "x:1")], form="x")
    assert text_lengths(unsaid, Words()).tolist() == [0]


def test_mistakes_are_told(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"'blip'.*Did you mean .*\n.*known: none, clip"):
        Loader(dataset, Order(20, 2), Words(), augment="blip")
    with pytest.raises(UsageError, match="an order of 3 for 20 records"):
        Loader(dataset, Order(3, 2), Words())
    assert AUGMENTATIONS["none"] is None
    assert np.array_equal(dataset.image_numbers, [i % 12 for i in range(20)])
