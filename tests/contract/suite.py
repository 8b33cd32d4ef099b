"""What every family owes its users, as functions of a variant's name.

`CHECKS` is the whole suite: what all families owe stands here, what some do in `comparing`,
`writing` and `judging`, marked with the task or protocol that it is owed by. `test_contract.py`
runs it on every registered "<family>-tiny..."; the test of docs/adding-a-family.md runs it on a
family that is registered for that test alone. Each check gets a name and an empty folder, and
stands alone.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import seesay
from contract import comparing, judging, writing
from contract.probes import (
    TEXTS,
    Check,
    build,
    computed,
    cosine,
    outputs,
    owes,
    picture,
    same_outputs,
    same_tensors,
    taught,
)
from seesay import registry
from seesay.checkpoints.convert import convert
from seesay.checkpoints.keymap import KeyMap
from seesay.config import from_dict, to_dict
from seesay.errors import CheckpointError, InputError, SeesayError, UsageError
from seesay.family import Layout
from seesay.model import Model
from seesay.regions import Box
from seesay.tasks.task import TASKS

BF16_COSINE = 0.99
"""Eight bits of mantissa through a few layers; a wrong cast gives far less."""
PACKED_COSINE = 0.9999


def check_bfloat16_is_close_to_float32(name: str, folder: Path) -> None:
    model = build(name)
    exact = outputs(model)
    rounded = outputs(model.to(dtype="bfloat16"))
    for kind in exact:
        assert cosine(exact[kind], rounded[kind]) > BF16_COSINE, kind


# -- weights -------------------------------------------------------------------------------------


def check_gradients_reach_every_parameter(name: str, folder: Path) -> None:
    model = build(name)
    module = model.module
    found = computed(model)
    loss = torch.zeros(())
    if "images" in found:
        # a loss that sees the bias of those that have one, which softmax does not
        logits = found["images"] @ found["texts"].T * module.logit_scale.exp()
        logits = logits + getattr(module, "logit_bias", 0)
        loss = loss + F.binary_cross_entropy_with_logits(logits, torch.eye(len(TEXTS)))
    for kind in ("caption", "answer"):
        if kind in found:
            ids = taught(model, kind)[0]
            loss = loss + F.cross_entropy(found[kind], ids.prefix[ids.prefix_mask])
    for kind in ("match", "compare", "entail"):
        if kind in found:
            loss = loss + F.cross_entropy(found[kind], torch.tensor([0, 1, 1, 0]))
    loss.backward()
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
    same_outputs(outputs(model), outputs(loaded))
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
        same_outputs(outputs(model), outputs(loaded))
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
    mine, theirs = outputs(first), outputs(again)
    for kind in mine:
        assert torch.equal(mine[kind], theirs[kind]), kind


def check_packed_layers_compute_the_same(name: str, folder: Path) -> None:
    model = build(name)
    model.save(folder / "saved")
    exact = outputs(model)
    for dtype in ("float32", "bfloat16"):
        packed = outputs(seesay.load(folder / "saved", dtype=dtype, optimize=True))
        plain = outputs(seesay.load(folder / "saved", dtype=dtype))
        for kind in plain:
            assert cosine(plain[kind], packed[kind]) > PACKED_COSINE, (dtype, kind)
    if "images" in exact:
        rounded = outputs(seesay.load(folder / "saved", dtype="float32", optimize="int8"))
        assert min(cosine(exact[kind], rounded[kind]) for kind in exact) > 0.95


# -- tasks ---------------------------------------------------------------------------------------

SHORT = {"max_new_tokens": 8}  # families may allow a thousand
BOXES = (Box(2, 3, 30, 20), Box(0, 0, 40, 30))

REQUESTS: dict[str, Callable[[], dict[str, Any]]] = {
    "caption": lambda: {"image": picture(), "options": SHORT},
    "answer": lambda: {"image": picture(), "question": "what is it?", "options": SHORT},
    "detect": lambda: {"image": picture(), "options": SHORT},
    "ground": lambda: {"image": picture(), "caption": "a cat on a mat", "options": SHORT},
    "segment": lambda: {"image": picture(), "boxes": BOXES, "options": SHORT},
    "read": lambda: {"image": picture(), "options": SHORT},
    "describe": lambda: {"image": picture(), "boxes": BOXES, "options": SHORT},
    "prompt": lambda: {"image": picture(), "prompt": "what is it?", "options": SHORT},
    "embed": lambda: {"image": picture()},
    "classify": lambda: {"image": picture(), "labels": ("cat", "dog", "狗")},
    "match": lambda: {"image": picture(), "text": "a red square"},
    "relevance": lambda: {"image": picture(), "text": "a red square"},
    "compare": lambda: {"first": picture(), "second": picture(), "statement": "both are red"},
    "entail": lambda: {"image": picture(), "text": "a red square"},
    "features": lambda: {"image": picture(), "text": None},
}
"""A request for each task; a new task adds its own."""


def check_what_is_advertised_works_and_nothing_else(name: str, folder: Path) -> None:
    model = build(name)
    assert model.tasks(), "a family that can do nothing"
    for task_name, task in TASKS.items():
        if task_name not in model.tasks():
            with pytest.raises(UsageError, match="cannot"):
                model.require(task_name)
            continue
        request = REQUESTS[task_name]()
        requests = [task.input_type()(**request), task.input_type()(**request)]
        results = list(task.runner()(model, requests))
        assert len(results) == 2
        assert all(isinstance(result, task.output_type()) for result in results), task_name
        assert repr(results) == repr(list(task.runner()(model, requests)))
        broken = task.input_type()(**{**request, next(iter(request)): b"no image"})
        good, bad = task.runner()(model, [requests[0], broken])
        assert isinstance(good, task.output_type()), task_name
        assert isinstance(bad, InputError), f"{task_name} does not report a bad image"


CHECKS: tuple[Check, ...] = tuple(
    value
    for part in (vars(comparing), vars(writing), vars(judging), globals())
    for key, value in list(part.items())
    if key.startswith("check_")
)
"""The whole suite."""


def checks_of(name: str) -> list[Check]:
    """The checks that a variant owes: by what it can do."""
    return [check for check in CHECKS if owes(name, check)]


def _refused(
    keymap: KeyMap, theirs: dict[str, Tensor], ours: dict[str, Tensor], named: str
) -> None:
    """Assert that a checkpoint is refused by an error that names the tensor."""
    with pytest.raises(SeesayError) as caught:
        keymap.forward(theirs, ours, "the checkpoint")
    assert isinstance(caught.value, CheckpointError)
    assert named in str(caught.value)
