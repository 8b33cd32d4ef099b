"""Zero-shot classification computes what the CLIP paper says, and takes what people give it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import seesay
from contract.probes import picture
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.model import Model
from seesay.tasks.classify import ClassifyInput, label_vectors, run

LABELS = ["cat", "dog", "自行车"]


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("clip-tiny", seed=4)


def test_a_label_is_the_mean_of_its_unit_vectors_made_a_unit_vector_again(model: Model) -> None:
    templates = ["a photo of a {}.", "a drawing of the {}.", "{}"]
    found = label_vectors(model, LABELS, templates)
    for row, label in zip(found, LABELS, strict=True):
        vectors = model.embed_texts([template.replace("{}", label) for template in templates])
        torch.testing.assert_close(row, F.normalize(vectors.mean(0), dim=0))


def test_scores_are_the_softmax_of_scaled_cosines(model: Model) -> None:
    [result] = model.classify(picture(), LABELS, "a photo of a {}.")
    image = model.embed_images(picture())[0]
    texts = model.embed_texts([f"a photo of a {label}." for label in LABELS])
    expected = (model.module.logit_scale.exp() * (texts @ image)).softmax(0)
    by_label = {score.label: score.score for score in result.scores}
    for label, value in zip(LABELS, expected.tolist(), strict=True):
        assert by_label[label] == pytest.approx(value, abs=1e-5)


def test_the_order_of_labels_and_images_does_not_matter(model: Model) -> None:
    images = [picture(seed=i) for i in range(3)]
    there = model.classify(images, LABELS)
    back = model.classify(images[::-1], LABELS[::-1])[::-1]
    for a, b in zip(there, back, strict=True):
        assert {s.label: pytest.approx(s.score, abs=1e-5) for s in a.scores} == {
            s.label: s.score for s in b.scores
        }


def test_templates_are_a_set_by_name_one_string_or_a_list(model: Model) -> None:
    sets = model.family.prompt_sets()
    for name, templates in sets.items():
        torch.testing.assert_close(
            label_vectors(model, LABELS, name), label_vectors(model, LABELS, list(templates))
        )
    one = label_vectors(model, LABELS, "{} drawn by a child")
    torch.testing.assert_close(one, label_vectors(model, LABELS, ["{} drawn by a child"]))
    default = next(iter(sets))
    torch.testing.assert_close(label_vectors(model, LABELS), label_vectors(model, LABELS, default))


def test_a_label_may_hold_braces(model: Model) -> None:
    found = label_vectors(model, ["{0}", "{name}"], "a {}!")
    torch.testing.assert_close(found, model.embed_texts(["a {0}!", "a {name}!"]))


def test_unknown_templates_are_refused_with_the_known_ones(model: Model) -> None:
    name = next(iter(model.family.prompt_sets()))
    with pytest.raises(UsageError) as caught:
        model.classify(picture(), LABELS, name + "x")
    assert f"Did you mean {name}" in str(caught.value)
    with pytest.raises(UsageError, match=r"needs \{\}"):
        model.classify(picture(), LABELS, ["no place for the label"])


def test_requests_with_other_labels_and_templates_are_served_together(model: Model) -> None:
    first, second, third = (picture(seed=i) for i in range(3))
    requests = [
        ClassifyInput(image=first, labels=("a", "b"), templates="{}"),
        ClassifyInput(image=second, labels=("c",)),
        ClassifyInput(image=third, labels=("a", "b"), templates="{}"),
    ]
    results = list(run(model, requests))
    alone = [result for request in requests for result in run(model, [request])]
    assert [result.label for result in results] == [result.label for result in alone]
    assert results[1].scores[0].score == pytest.approx(1.0)


def test_a_bad_image_is_named_and_the_others_are_served(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    good, bad = run(
        model,
        [
            ClassifyInput(image=image, labels=("a", "b"))
            for image in (picture(), tmp_path / "bad.png")
        ],
    )
    assert not isinstance(good, InputError)
    assert isinstance(bad, InputError)
    assert "bad.png" in bad.what
    with pytest.raises(ItemsFailed, match="1 of 2"):
        model.classify([picture(), tmp_path / "bad.png"], LABELS)


def test_a_string_is_not_a_list_of_labels(model: Model) -> None:
    with pytest.raises(UsageError, match="string"):
        model.classify(picture(), "cat")


@pytest.mark.parametrize(
    ("name", "scalars"),
    [("clip-tiny", ["logit_scale"]), ("siglip-tiny", ["logit_scale", "logit_bias"])],
)
def test_half_precision_does_not_temper_the_scores(name: str, scalars: list[str]) -> None:
    model = seesay.create(name)
    for i, scalar in enumerate(scalars):
        getattr(model.module, scalar).data.fill_(-12.9327 + 15 * i)
    model.to(dtype="bfloat16")
    for i, scalar in enumerate(scalars):
        assert getattr(model.module, scalar).item() == pytest.approx(-12.9327 + 15 * i, abs=1e-6)


def test_classification_by_a_model_of_a_sigmoid_loss_is_a_softmax_without_its_bias() -> None:
    siglip = seesay.create("siglip-tiny", seed=4)
    [before] = siglip.classify(picture(), LABELS)
    siglip.module.logit_bias.data.fill_(3.0)
    [after] = siglip.classify(picture(), LABELS)
    assert before == after
