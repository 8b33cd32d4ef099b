"""Re-ranking is what scoring every pair and sorting gives, and needs memory for few pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay.data.record import Dataset, Record
from seesay.errors import CheckpointError, UsageError
from seesay.evaluate import matching, retrieval
from seesay.evaluate.ranking import Ranks, rank, rank_metrics
from seesay.evaluate.reranking import Candidates, reranked
from seesay.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    model = seesay.create("blip-tiny-retrieval", seed=0)
    torch.manual_seed(0)
    for parameter in model.module.parameters():  # fresh weights give all pairs nearly one score
        if parameter.ndim > 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    records = []
    for i in range(9):
        noise = rng.integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(noise).resize((32, 32)).save(tmp_path / f"{i}.png")
        texts = tuple(
            f"a photo of thing {i} seen {n} times" + " or more" * n for n in range(i % 3 + 1)
        )
        records.append(Record(str(tmp_path / f"{i}.png"), texts, None, str(i), f"list:{i}"))
    return Dataset("nine", records, form="csv")


def test_it_is_what_scoring_every_pair_gives(model: Model, data: Dataset) -> None:
    """Brute force as published: the logit of a match plus the cosine, for the nearest k alone."""
    k = 4
    images = [record.image for record in data]
    texts = [text for record in data for text in record.texts]
    owner = [i for i, record in enumerate(data) for _ in record.texts]
    cosines = (model.embed_images(images) @ model.embed_texts(texts).T).numpy()  # type: ignore[arg-type]
    logits = np.array([[out.itm for out in model.match(image, texts)] for image in images])  # type: ignore[arg-type]
    report = retrieval(model, data, rerank=k, depths=(1, 2), resamples=0, batch_size=4)
    for name, scores, near, right in (
        ("image_to_text", cosines + logits, cosines, [
            [j for j, o in enumerate(owner) if o == i] for i in range(len(images))]),
        ("text_to_image", (cosines + logits).T, cosines.T, [[o] for o in owner]),
    ):  # fmt: skip
        hits = {1: 0, 2: 0}
        for query, wanted in enumerate(right):
            first = np.argsort(-near[query])[:k]
            order = first[np.argsort(-scores[query, first])]
            for depth in hits:
                hits[depth] += bool(set(order[:depth]) & set(wanted))
        for depth, count in hits.items():
            assert report.metrics[f"{name}_r@{depth}"] == pytest.approx(count / len(right))
    plain = retrieval(model, data, depths=(1, 2), resamples=0)
    for key, value in plain.metrics.items():
        if key.startswith(("image_to", "text_to")):
            assert report.metrics[f"itc_{key}"] == value
    assert report.settings["rerank"] == k


def test_more_candidates_than_there_are_mean_all(model: Model, data: Dataset) -> None:
    everything = retrieval(model, data, rerank=10_000, resamples=0)
    exact = retrieval(model, data, rerank=18, resamples=0, batch_size=2)
    assert everything.metrics == pytest.approx(exact.metrics)


def test_the_examples_show_what_came_first(model: Model, data: Dataset, tmp_path: Path) -> None:
    report = retrieval(model, data, rerank=3, resamples=0)
    titles = [e.title for examples in report.examples.values() for e in examples]
    assert titles
    assert all("match logit and cosine" in title for title in titles)
    report.save(tmp_path / "report")


def test_a_query_whose_answer_is_no_candidate_keeps_its_rank() -> None:
    torch.manual_seed(0)
    queries, gallery = torch.randn(5, 8), torch.randn(30, 8)
    pairs = np.stack([np.arange(5), np.arange(5) + 10], 1)
    before = rank(queries, gallery, pairs)
    near = (queries @ gallery.T).topk(6).indices.numpy()
    after = reranked(before, Candidates(near, np.zeros((5, 6), np.float32)), pairs)
    inside = (near == pairs[:, 1:]).any(1)
    assert list(after.above[~inside]) == list(before.above[~inside])
    # all candidates tie: the answer is as likely at each of their places
    assert (after.above[inside] == 0).all()
    assert (after.tied[inside] == 5).all()


def test_ranks_of_hand_made_scores() -> None:
    ranks = Ranks(*(np.zeros(2, np.int64) for _ in range(2)), np.ones(2, np.int64), np.zeros(2))
    found = Candidates(
        np.array([[2, 0, 1], [1, 2, 0]]), np.array([[0.5, 0.9, 0.1], [0.3, 0.3, 0.2]], np.float32)
    )
    pairs = np.array([[0, 1], [0, 2], [1, 1]])
    after = reranked(ranks, found, pairs)
    assert after.above.tolist() == [1, 0]
    assert after.tied.tolist() == [0, 1]
    assert rank_metrics(after, (1,))["r@1"] == pytest.approx((0 + 0.5) / 2)


def test_only_models_with_a_match_head_rerank(model: Model, data: Dataset) -> None:
    with pytest.raises(UsageError, match="no match head"):
        retrieval(seesay.create("clip-tiny"), data, rerank=4)
    with pytest.raises(UsageError, match="not a number of items"):
        retrieval(model, data, rerank=0)


def test_matching_is_judged_by_the_match_head(model: Model, data: Dataset) -> None:
    report = matching(model, data, resamples=0)
    assert report.settings["score"] == "match probability"
    assert report.settings["threshold"] == 0.5
    pairs = [(r.image, text, i) for i, r in enumerate(data) for text in r.texts]
    right = [model.match(image, text)[0].probability for image, text, _ in pairs]  # type: ignore[arg-type]
    assert report.metrics["recall"] == pytest.approx(np.mean([p >= 0.5 for p in right]))
    cosine = matching(model, data, score="itc", threshold=0.0, resamples=0)
    assert cosine.settings["score"] == "cosine"
    with pytest.raises(UsageError, match="no match head"):
        matching(seesay.create("clip-tiny"), data, score="itm")


def test_logits_that_are_no_numbers_are_an_error(data: Dataset) -> None:
    broken = seesay.create("blip-tiny-retrieval", seed=0)
    for parameter in broken.module.itm_head.parameters():  # type: ignore[union-attr]
        parameter.data.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        retrieval(broken, data, rerank=4, resamples=0)
    with pytest.raises(CheckpointError, match="not finite"):
        matching(broken, data, resamples=0)
