"""What every family owes its users, as functions of a variant's name.

`CHECKS` is the whole suite. `test_contract.py` runs it on every registered "<family>-tiny"; the
test of docs/adding-a-family.md runs it on a family that is registered for that test alone. Each
check gets a name and an empty folder, and stands alone.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import seesay
from contract.probes import (
    TEXTS,
    build,
    cosine,
    picture,
    pictures,
    same_tensors,
    same_vectors,
    vectors,
)
from seesay import registry
from seesay.checkpoints.convert import convert
from seesay.checkpoints.keymap import KeyMap
from seesay.config import from_dict, to_dict
from seesay.errors import CheckpointError, InputError, ItemsFailed, SeesayError, UsageError
from seesay.family import Layout
from seesay.model import Model
from seesay.tasks.task import TASKS

BATCH_TOLERANCE = 1e-5
"""How far a vector in a batch may be from the same one alone: sums are ordered differently."""
BF16_COSINE = 0.99
"""Eight bits of mantissa through a few layers; a wrong cast gives far less."""
PACKED_COSINE = 0.9999


# -- the space -----------------------------------------------------------------------------------


def check_vectors_have_one_width_and_unit_norm(name: str, folder: Path) -> None:
    model = build(name)
    for found, count in zip(vectors(model), (len(pictures()), len(TEXTS)), strict=True):
        assert found.shape == (count, model.config.embed_width)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(count))
    assert model.embed_images([]).shape == (0, model.config.embed_width)
    assert model.embed_texts([]).shape == (0, model.config.embed_width)
    assert model.embed_images(picture()).shape == (1, model.config.embed_width)
    assert model.embed_texts("one").shape == (1, model.config.embed_width)


def check_the_module_gives_unit_vectors_by_itself(name: str, folder: Path) -> None:
    model = build(name)
    pixels = torch.randn(2, 3, *model.processor.image.size)
    ids, mask = model.processor.texts(TEXTS)
    assert mask.dtype == torch.bool
    assert ids.dtype == torch.int64
    assert ids.shape == mask.shape
    with torch.inference_mode():
        for found in (model.module.embed_image(pixels), model.module.embed_text(ids, mask)):
            torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))


def check_different_inputs_give_different_vectors(name: str, folder: Path) -> None:
    for found in vectors(build(name)):
        similar = found @ found.T - 2 * torch.eye(len(found))
        assert float(similar.max()) < 1 - 1e-6


def check_batches_equal_single_items(name: str, folder: Path) -> None:
    model = build(name)
    images, texts = vectors(model)
    alone = torch.cat([model.embed_images([image]) for image in pictures()])
    torch.testing.assert_close(images, alone, atol=BATCH_TOLERANCE, rtol=0)
    pairs = model.embed_images(pictures(), batch_size=2)
    torch.testing.assert_close(images, pairs, atol=BATCH_TOLERANCE, rtol=0)
    alone = torch.cat([model.embed_texts([text]) for text in TEXTS])
    torch.testing.assert_close(texts, alone, atol=BATCH_TOLERANCE, rtol=0)
    backwards = model.embed_texts(TEXTS[::-1], batch_size=3).flip(0)
    torch.testing.assert_close(texts, backwards, atol=BATCH_TOLERANCE, rtol=0)


def check_padding_of_texts_changes_nothing(name: str, folder: Path) -> None:
    model = build(name)
    ids, mask = model.processor.texts(["a red square", "dogs"])
    with torch.inference_mode():
        plain = model.module.embed_text(ids, mask)
        for filler in (0, int(ids.max())):
            longer = F.pad(ids, (0, 3), value=filler), F.pad(mask, (0, 3), value=False)
            padded = model.module.embed_text(*longer)
            torch.testing.assert_close(plain, padded, atol=BATCH_TOLERANCE, rtol=0)


def check_bfloat16_is_close_to_float32(name: str, folder: Path) -> None:
    model = build(name)
    exact = vectors(model)
    rounded = vectors(model.to(dtype="bfloat16"))
    assert min(cosine(a, b) for a, b in zip(exact, rounded, strict=True)) > BF16_COSINE


# -- weights -------------------------------------------------------------------------------------


def check_gradients_reach_every_parameter(name: str, folder: Path) -> None:
    model = build(name)
    module = model.module
    pixels = [model.processor.images([_opened(image)]) for image in pictures()]
    image = torch.cat([module.embed_image(one) for one in pixels])
    text = module.embed_text(*model.processor.texts(TEXTS))
    # a loss that sees the bias of those that have one, which softmax does not
    logits = image @ text.T * module.logit_scale.exp() + getattr(module, "logit_bias", 0)
    F.binary_cross_entropy_with_logits(logits, torch.eye(len(TEXTS))).backward()
    for parameter_name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{parameter_name} is never used"
            assert bool(parameter.grad.any()), f"{parameter_name} has no influence"
            assert bool(parameter.grad.isfinite().all()), parameter_name


def check_save_and_load_are_bitwise(name: str, folder: Path) -> None:
    model = build(name)
    model.save(folder / "saved")
    loaded = seesay.load(folder / "saved", dtype="float32")
    assert loaded.family.name == model.family.name
    assert loaded.config == model.config
    assert loaded.processor.settings() == model.processor.settings()
    same_tensors(model.module.state_dict(), loaded.module.state_dict())
    same_vectors(vectors(model), vectors(loaded))
    (folder / "elsewhere").mkdir()
    (folder / "saved").rename(folder / "elsewhere" / "moved")
    again = seesay.load(folder / "elsewhere" / "moved", dtype="float32")
    assert again.fingerprint == loaded.fingerprint
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert not loaded.module.training


def check_another_weight_is_another_fingerprint(name: str, folder: Path) -> None:
    for seed in (1, 2):
        build(name, seed).save(folder / str(seed))
    first, second = (seesay.load(folder / str(seed)).fingerprint for seed in (1, 2))
    assert first != second


def check_configurations_are_json_and_back(name: str, folder: Path) -> None:
    family, variant = registry.variant(name)
    config, kind = variant.config(), family.config_class()
    assert isinstance(config, kind)
    assert from_dict(kind, json.loads(json.dumps(to_dict(config)))) == config
    with pytest.raises(CheckpointError, match="embed_widht"):
        from_dict(kind, {**to_dict(config), "embed_widht": 3})


def check_key_maps_account_for_every_tensor(name: str, folder: Path) -> None:
    model = build(name)
    ours = dict(model.module.state_dict())
    for layout in layouts(model, folder):
        keymap = layout.keymap(model.config)
        theirs = keymap.inverse(ours)
        same_tensors(ours, keymap.forward(theirs, ours, layout.name))
        first, *_, last = theirs
        _refused(keymap, {k: v for k, v in theirs.items() if k != last}, ours, last)
        _refused(keymap, {**theirs, "nowhere.weight": torch.ones(2)}, ours, "nowhere.weight")
        _refused(keymap, {**theirs, first: torch.ones(3, 1, 4, 1, 5)}, ours, first)


def check_every_layout_is_written_and_read_back(name: str, folder: Path) -> None:
    model = build(name)
    model.save(folder / "native")
    native = seesay.load(folder / "native", dtype="float32")
    for layout in layouts(model, folder):
        place = convert(folder / "native", folder / layout.name, layout.name)
        loaded = seesay.load(place, dtype="float32")
        assert loaded.config == model.config, layout.name
        assert loaded.fingerprint == native.fingerprint, layout.name
        same_tensors(model.module.state_dict(), loaded.module.state_dict())
        same_vectors(vectors(model), vectors(loaded))
        back = convert(place, folder / f"{layout.name}-back", "native")
        again = seesay.load(back, dtype="float32")
        same_tensors(model.module.state_dict(), again.module.state_dict())


def layouts(model: Model, folder: Path) -> list[Layout]:
    """The layouts that can say what this configuration says: at least one of those there are."""
    found = []
    for layout in model.family.known_layouts():
        try:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                layout.companions(model.config, model.processor, Path(place))
        except CheckpointError:
            continue
        found.append(layout)
    assert found or not model.family.known_layouts(), (
        f"no published layout of {model.family.name} can hold it"
    )
    return found


def check_seeds_decide_everything(name: str, folder: Path) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    first, again, other = (seesay.create(name, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state()), "create() disturbs the global generator"
    same_tensors(first.module.state_dict(), again.module.state_dict())
    assert any(
        not torch.equal(a, b)
        for a, b in zip(
            first.module.state_dict().values(), other.module.state_dict().values(), strict=True
        )
    )
    for a, b in zip(vectors(first), vectors(again), strict=True):
        assert torch.equal(a, b)


def check_packed_layers_compute_the_same(name: str, folder: Path) -> None:
    model = build(name)
    model.save(folder / "saved")
    exact = vectors(model)
    for dtype in ("float32", "bfloat16"):
        packed = seesay.load(folder / "saved", dtype=dtype, optimize=True)
        plain = seesay.load(folder / "saved", dtype=dtype)
        for a, b in zip(vectors(plain), vectors(packed), strict=True):
            assert cosine(a, b) > PACKED_COSINE, dtype
    rounded = vectors(seesay.load(folder / "saved", dtype="float32", optimize="int8"))
    assert min(cosine(a, b) for a, b in zip(exact, rounded, strict=True)) > 0.95


# -- inputs --------------------------------------------------------------------------------------


def check_an_image_is_the_same_however_it_is_given(name: str, folder: Path) -> None:
    image = picture()
    path = folder / "picture.png"
    image.save(path)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    forms = [path, str(path), buffer.getvalue(), image, np.asarray(image)]
    found = build(name).embed_images(forms, batch_size=1)
    for row, form in zip(found[1:], forms[1:], strict=True):
        assert torch.equal(found[0], row), type(form).__name__


def check_bad_images_are_reported_one_by_one_and_in_order(name: str, folder: Path) -> None:
    model = build(name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    items: list[Any] = [picture(), folder / "broken.jpg", picture(seed=5), folder / "absent.png"]
    errors: list[InputError] = []
    found = model.embed_images(items, errors=errors)
    assert [bool(row.isnan().all()) for row in found] == [False, True, False, True]
    assert len(errors) == 2
    assert "broken.jpg" in str(errors[0])
    assert "absent.png" in str(errors[1])
    good = model.embed_images([items[0], items[2]])
    torch.testing.assert_close(found[[0, 2]], good, atol=BATCH_TOLERANCE, rtol=0)
    with pytest.raises(ItemsFailed, match="2 of 4") as caught:
        model.embed_images(items)
    assert len(caught.value.failures) == 2


def check_texts_may_be_empty_long_or_odd(name: str, folder: Path) -> None:
    model = build(name)
    found = model.embed_texts(["", " ", "word " * 2000, "🚲🇨🇳\u200d", "\x00\n\t", "'; --"])
    assert bool(found.isfinite().all())
    with pytest.raises(InputError, match="text 1 is int"):
        model.embed_texts(["fine", 3])


# -- tasks ---------------------------------------------------------------------------------------

REQUESTS: dict[str, Callable[[], dict[str, Any]]] = {
    "embed": lambda: {"image": picture()},
    "classify": lambda: {"image": picture(), "labels": ("cat", "dog", "狗")},
    "match": lambda: {"image": picture(), "text": "a red square"},
    "relevance": lambda: {"image": picture(), "text": "a red square"},
}
"""A request for each task; a new task adds its own."""


def check_what_is_advertised_works_and_nothing_else(name: str, folder: Path) -> None:
    model = build(name)
    assert model.tasks(), "a family that can do nothing"
    for task_name, task in TASKS.items():
        if task_name not in model.tasks():
            with pytest.raises(UsageError, match="cannot"):
                model._need(task_name)
            continue
        request = REQUESTS[task_name]()
        requests = [task.input_type()(**request), task.input_type()(**request)]
        results = list(task.runner()(model, requests))
        assert len(results) == 2
        assert all(isinstance(result, task.output_type()) for result in results), task_name
        assert repr(results) == repr(list(task.runner()(model, requests)))
        broken = task.input_type()(**{**request, "image": b"no image"})
        good, bad = task.runner()(model, [requests[0], broken])
        assert isinstance(good, task.output_type()), task_name
        assert isinstance(bad, InputError), f"{task_name} does not report a bad image"


def check_classification_is_a_distribution_over_the_labels(name: str, folder: Path) -> None:
    model = build(name)
    if "classify" not in model.tasks():
        return
    labels = ["cat", "dog", "bicycle"]
    for result in model.classify(pictures(), labels):
        assert sorted(score.label for score in result.scores) == sorted(labels)
        found = [score.score for score in result.scores]
        assert found == sorted(found, reverse=True)
        assert math.isclose(sum(found), 1.0, abs_tol=1e-5)
        assert result.label == result.scores[0].label
    sets = model.family.prompt_sets()
    for prompts in sets.values():
        assert prompts
        assert all(prompt.count("{}") == 1 for prompt in prompts)
    for bad in ([], ["cat", "cat"], ["cat", " "]):
        with pytest.raises(UsageError):
            model.classify([picture()], bad)


def check_matching_agrees_with_the_vectors(name: str, folder: Path) -> None:
    model = build(name)
    if "match" not in model.tasks():
        return
    image, text = vectors(model)
    found = model.match(pictures(), list(TEXTS))
    expected = (image * text).sum(-1)
    torch.testing.assert_close(
        torch.tensor([pair.itc for pair in found]), expected, atol=1e-5, rtol=0
    )
    assert len(model.match(picture(), list(TEXTS))) == len(TEXTS)
    with pytest.raises(UsageError, match="pair"):
        model.match(pictures()[:2], ["a", "b", "c"])


def check_relevance_lies_in_the_picture(name: str, folder: Path) -> None:
    model = build(name)
    if "relevance" not in model.tasks():
        return
    image = picture(90, 60)
    found = model.relevance(image, "a red square")
    flat = [value for row in found.grid for value in row]
    assert 0 <= min(flat) <= max(flat) <= 1
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= 90
    assert 0 <= y0 < y1 <= 60
    assert x0 <= found.peak[0] <= x1
    assert y0 <= found.peak[1] <= y1
    assert found.draw().size == (90, 60)
    [expected] = model.match(image, "a red square")
    assert math.isclose(found.itc, expected.itc, abs_tol=1e-4)


CHECKS: tuple[Callable[[str, Path], None], ...] = tuple(
    value for key, value in list(globals().items()) if key.startswith("check_")
)
"""The whole suite."""


def _opened(image: Image.Image) -> Any:
    from seesay.processing.image import open_picture

    return open_picture(image)


def _refused(
    keymap: KeyMap, theirs: dict[str, Tensor], ours: dict[str, Tensor], named: str
) -> None:
    """Assert that a checkpoint is refused by an error that names the tensor."""
    with pytest.raises(SeesayError) as caught:
        keymap.forward(theirs, ours, "the checkpoint")
    assert isinstance(caught.value, CheckpointError)
    assert named in str(caught.value)
