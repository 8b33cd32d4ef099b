"""Who chooses learns the same of two pictures in either order; and what a model begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import seesay
from seesay.config import override, to_dict
from seesay.data import open_questions
from seesay.errors import UsageError
from seesay.train.begin import converted, resized
from seesay.train.comparing import ENTAILMENT, answer_names, comparing, mirrored, swaps
from seesay.train.config import DataConfig, OptimConfig
from seesay.train.parallel import World
from seesay.train.run import run
from seesay.types import Prompt
from train import asked
from train.test_captioning import gradients


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asked.statements(tmp_path_factory.mktemp("pictures"))


def test_left_and_right_are_swapped_as_words() -> None:
    told = "The Left one is bright; nothing is leftover on the left."
    assert mirrored(told) == "The Right one is bright; nothing is leftover on the right."
    assert mirrored(mirrored(told)) == told


def test_a_swapped_pair_keeps_its_truth_and_half_of_them_are(data: Path) -> None:
    questions, config = open_questions(data), asked.config(data, "nlvr", init="random")
    model = converted(seesay.create("blip-tiny", seed=1), "nlvr")
    learner = comparing(model, questions, config, World(), data.parent)
    turned = 0
    for step in range(8):  # two epochs
        batch = learner.batch(step)
        for i, row in enumerate(batch.rows):
            question = questions[row]
            swap = swaps(config.seed, step // 4, row)
            pictures = [questions.picture(row, n) for n in ((1, 0) if swap else (0, 1))]
            for ours, theirs in zip(batch.images, pictures, strict=True):
                assert torch.equal(ours[i], model.processor.images([theirs])[0])
            text = mirrored(question.text) if swap else question.text
            ids = model.processor.pairs([text]).ids[0]
            assert torch.equal(batch.ids[i, : len(ids)], ids)
            assert batch.labels[i] == (question.answers[0] == "True")
            turned += swap
    assert 16 <= turned <= 40  # of 56
    # what is measured is shown as it is listed
    assert {swaps(0, epoch, 3) for epoch in range(20)} == {False, True}


def test_the_loss_and_its_gradient_are_those_of_the_definition(data: Path, tmp_path: Path) -> None:
    questions = open_questions(data)
    found, base = [], asked.steady("nlvr", tmp_path / "base")
    for size in (None, 3):
        model = seesay.load(base, dtype="float32")
        model.module.double()
        parts = DataConfig(path=str(data), batch_size=7, workers=0, micro_batch=size)
        config = asked.config(data, "nlvr", data=parts)
        learner = comparing(model, questions, config, World(), data.parent)
        batch = learner.batch(0)
        batch = dataclasses.replace(batch, images=tuple(p.double() for p in batch.images))
        told = learner.learn(batch)
        ours = gradients(model.module)
        first, second = batch.images
        module: Any = model.module
        logits = module.compare(first, second, batch.ids, batch.mask)
        chances = logits.log_softmax(-1)[torch.arange(7), batch.labels]
        (-chances.mean()).backward()
        torch.testing.assert_close(told["loss"], -chances.mean().detach())
        right = (logits.argmax(1) == batch.labels).double().mean()
        assert float(told["accuracy"]) == pytest.approx(float(right))
        theirs = gradients(model.module)
        assert ours.keys() == theirs.keys() == {n for n, _ in module.named_parameters()}
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, rtol=1e-8, atol=1e-12, msg=name)
        found.append(ours)
    assert found[0].keys() == found[1].keys()


def test_a_classifier_gets_the_classes_of_its_data(tmp_path: Path) -> None:
    path = asked.entailments(tmp_path / "pictures")
    assert answer_names(open_questions(path)) == ENTAILMENT
    config = asked.config(path, "classification", steps=2, optim=OptimConfig(lr=1e-3))
    run(config, tmp_path / "run", quiet=True, device="cpu")
    model = seesay.load(tmp_path / "run", dtype="float32")
    assert model.config.class_names == ENTAILMENT
    question = open_questions(path)[0]
    (found,) = model.entail(question.images[0], question.text)
    assert {score.label for score in found.scores} == set(ENTAILMENT)
    # a run goes on from it with the same classes, and others are said to be others
    strange = path.with_name("strange.json")
    strange.write_text(path.read_text().replace("neutral", "perhaps"))
    again = dataclasses.replace(config, model=str(tmp_path / "run"), init="pretrained", steps=1)
    run(again, tmp_path / "again", quiet=True, device="cpu")
    other = dataclasses.replace(again, data=dataclasses.replace(again.data, path=str(strange)))
    run(other, tmp_path / "other", quiet=True, device="cpu")
    assert seesay.load(tmp_path / "other").config.class_names == (
        "contradiction",
        "entailment",
        "perhaps",
    )


@pytest.mark.parametrize(
    ("path", "objective", "said"),
    [("questions", "nlvr", "learns of 2"), ("statements", "vqa", "about 2 pictures")],
)
def test_data_of_another_kind_is_refused(
    tmp_path: Path, path: str, objective: str, said: str
) -> None:
    listing = getattr(asked, path)(tmp_path / "pictures")
    with pytest.raises(UsageError, match=said):
        run(asked.config(listing, objective), tmp_path / "run", quiet=True, device="cpu")


@pytest.mark.parametrize("setting", ["objective.prompt=a sketch of", "data.bucket=true"])
def test_what_means_nothing_to_questions_is_refused(tmp_path: Path, setting: str) -> None:
    config = asked.config(asked.questions(tmp_path / "pictures"), "vqa")
    with pytest.raises(UsageError, match="means nothing for 'vqa'"):
        run(override(config, [setting]), tmp_path / "run", quiet=True, device="cpu")


def test_what_was_pretrained_is_begun_with() -> None:
    """Each kind computes with the pre-trained weights what the pre-trained model computes."""
    whole = seesay.create("blip-tiny", seed=5)
    for tensor in whole.module.state_dict().values():
        tensor.normal_(std=0.3)
    module: Any = whole.module.eval()
    processor: Any = whole.processor
    pixels = torch.randn(2, 3, 32, 32)
    ids, mask = processor.pairs(["a cat", "a dog on a mat"])
    with torch.no_grad():
        tokens = module.encode_image(pixels)
        written, _ = processor.written(["a cat", "a dog on a mat"])
        prompt = Prompt(pixels, *written)
        captioner: Any = converted(whole, "captioning").module.eval()
        torch.testing.assert_close(captioner(prompt), module(prompt))
        judge: Any = converted(whole, "retrieval").module.eval()
        torch.testing.assert_close(judge.match(tokens, ids, mask), module.match(tokens, ids, mask))
        answerer: Any = converted(whole, "vqa").module.eval()
        read = answerer.read(Prompt(pixels, *written, ids, mask))
        torch.testing.assert_close(read, module.fuse(tokens, ids, mask))
        # the decoder's words are the pre-trained decoder's
        alone = answerer.decoder(*written, causal=True)
        torch.testing.assert_close(alone, module.text(*written, causal=True))
        twins: Any = converted(whole, "nlvr").module.eval()
        # of one picture twice, the first layers find what the one attention found
        layer, twin = module.text.layers[0], twins.text.layers[0]
        hidden = torch.randn(2, 4, 24)
        both = torch.stack([tokens, tokens], 1)
        torch.testing.assert_close(
            twin.cross_attention(hidden, twin.look(both)),
            layer.cross_attention(hidden, layer.look(tokens)),
        )
    head = F.linear(torch.zeros(1, 24), twins.head[0].weight)
    assert head.shape == (1, 24)


def test_what_begins_as_it_is_stays_itself_and_what_has_no_beginning_is_said() -> None:
    writer = seesay.create("blip-tiny-captioning")
    assert converted(writer, "captioning") is writer
    assert converted(writer, "info_nce") is writer
    clip = seesay.create("clip-tiny")
    assert converted(clip, "captioning") is clip
    # who chooses from three classes can go on with data that has two of them
    chooser = converted(seesay.create("blip-tiny"), "classification", classes=ENTAILMENT)
    assert converted(chooser, "classification", classes=ENTAILMENT[1:]) is chooser
    with pytest.raises(UsageError, match="has no beginning for vqa"):
        converted(writer, "vqa")


def test_another_image_size_resamples_the_positions_and_nothing_else() -> None:
    model = seesay.create("blip-tiny-captioning", seed=1)
    larger = resized(model, 64)
    assert to_dict(larger.config.text) == to_dict(model.config.text)
    assert larger.processor.image.size == (64, 64)
    ours, theirs = larger.module.state_dict(), model.module.state_dict()
    differing = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert differing == {"image.position_embedding"}
    pixels: Any = torch.randn(1, 3, 64, 64)
    with torch.no_grad():  # the smaller one resamples at every call
        expected = model.module.encode_image(pixels)
        torch.testing.assert_close(larger.module.encode_image(pixels), expected)
    with pytest.raises(UsageError, match="one image size"):
        resized(seesay.create("clip-tiny-resnet"), 64)
