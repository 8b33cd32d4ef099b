"""The first hits are put in the order of a model that judges pairs; the pictures are read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import seesay
from contract.probes import build, picture
from seesay.cli.main import run
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.index import Collection
from seesay.index.items import Hit
from seesay.index.rerank import rerank
from seesay.model import Model
from seesay.tasks import match

QUERY = "a red square"


@pytest.fixture(scope="module")
def judge() -> Model:
    return build("blip-tiny-retrieval")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(8):
        picture(40 + i, 30, i).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def collection(tmp_path: Path, photos: Path) -> Collection:
    made = Collection.create(tmp_path / "photos.index", seesay.create("clip-tiny"))
    made.add(photos)
    return made


def test_the_first_are_in_order_of_their_probabilities(
    collection: Collection, judge: Model
) -> None:
    plain = collection.search(QUERY, 8)
    found = collection.search(QUERY, 8, rerank=judge)
    likely = {p.path: judge.match(p.path, QUERY)[0].probability or 0.0 for p in plain}
    assert [hit.path for hit in found] == sorted(likely, key=lambda path: -likely[path])
    cosines = {hit.path: hit.score for hit in plain}
    for rank, hit in enumerate(found, 1):
        assert hit.rank == rank
        assert hit.score == pytest.approx(likely[hit.path], abs=1e-4)
        assert hit.cosine == cosines[hit.path]
    assert all(hit.cosine is None for hit in plain)


def test_only_so_many_are_judged_but_never_fewer_than_are_shown(
    collection: Collection, judge: Model
) -> None:
    plain = [hit.path for hit in collection.search(QUERY, 8)]
    done: list[int] = []
    found = collection.search(QUERY, 2, rerank=judge, top=3, judged=done.append)
    assert done == [1, 2, 3]
    assert {hit.path for hit in found} <= set(plain[:3])
    assert len(found) == 2
    assert {hit.path for hit in collection.search(QUERY, 5, rerank=judge, top=1)} == set(plain[:5])


def test_equal_probabilities_keep_the_order_of_the_vectors(
    judge: Model, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = [Hit(i, 0.9 - i / 10, str(photos / f"{i}.png"), (1, 1)) for i in range(1, 6)]
    same = match.MatchOutput(itc=None, itm=0.0, probability=0.5)
    monkeypatch.setattr(match, "run", lambda _model, requests, **_: [same] * len(requests))
    assert [hit.path for hit in rerank(hits, QUERY, judge)] == [hit.path for hit in hits]


def test_pictures_that_are_gone_are_named_and_left_out(
    collection: Collection, judge: Model, photos: Path
) -> None:
    (photos / "3.png").unlink()
    (photos / "5.png").write_bytes(b"no picture any more")
    errors: list[InputError] = []
    found = collection.search(QUERY, 8, rerank=judge, errors=errors)
    assert sorted(Path(hit.path).name for hit in found) == [f"{i}.png" for i in (0, 1, 2, 4, 6, 7)]
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5, 6]
    assert {Path(e.what.split(": ")[0]).name for e in errors} == {"3.png", "5.png"}
    with pytest.raises(ItemsFailed, match="2 of 8"):
        collection.search(QUERY, 8, rerank=judge)


@pytest.mark.parametrize(
    ("query", "image", "said"),
    [
        (None, True, "the query has none"),
        ("a.png", False, "the query has none"),
        ("beach", True, "several terms"),
        ("beach + sunset", False, "several terms"),
        ("-beach", False, "several terms"),
    ],
)
def test_queries_that_are_no_single_text_are_refused(
    collection: Collection, judge: Model, query: str | None, image: bool, said: str
) -> None:
    given: Any = picture() if image else None
    with pytest.raises(UsageError, match=said):
        collection.search(query, image=given, rerank=judge)


def test_quoted_signs_are_words(collection: Collection, judge: Model) -> None:
    assert len(collection.search('"salt + pepper"', 3, rerank=judge)) == 3


def test_a_model_that_only_compares_cannot_judge(collection: Collection) -> None:
    with pytest.raises(UsageError, match="does not judge pairs"):
        collection.search(QUERY, rerank=seesay.create("clip-tiny"))
    with pytest.raises(UsageError, match="top=0"):
        collection.search(QUERY, rerank="blip-itm-base-coco", top=0)


def test_the_command_prints_probabilities_and_what_was_skipped(
    photos: Path, tmp_path: Path, judge: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    judge.save(tmp_path / "judge")
    where, words = str(tmp_path / "i"), QUERY.split()
    assert run(["index", str(photos), "--out", where, "--model", "seesay/mini"]) == 0
    (photos / "0.png").unlink()
    capsys.readouterr()
    again = ["--rerank", str(tmp_path / "judge"), "--top", "8", "-k", "8"]
    assert run(["search", where, *words, *again, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert len(document["results"]) == 7
    assert document["rerank"] == str(tmp_path / "judge")
    assert "0.png" in document["failed"][0]
    assert "0.png" in err
    scores = [hit["score"] for hit in document["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert all(-1 <= hit["cosine"] <= 1 for hit in document["results"])
    assert run(["search", where, *words, *again, "--strict"]) == 3
    assert run(["search", where, "--image", str(photos / "1.png"), *again]) == 2
    assert "the query has none" in capsys.readouterr().err
