"""A relevance map lies where the score comes from, in the pixels of the upright picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import seesay
from contract.probes import picture
from seesay.errors import InputError, UsageError
from seesay.model import Model
from seesay.processing.image import ImageSpec
from seesay.tasks.heatmap import seen_box
from seesay.tasks.relevance import RelevanceInput, run
from seesay.tasks.task import TASKS


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("clip-tiny", seed=4)


class RedAndGreen(nn.Module):
    """Images become their mean colour; texts the colour they name."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.pool = nn.AvgPool2d(cells)

    def embed_image(self, pixels: Tensor) -> Tensor:
        return F.normalize(self.pool(pixels).mean((-1, -2)), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.eye(3)[ids[:, 0]]

    def relevance_layer(self) -> nn.Module:
        return self.pool


class ColourProcessor:
    image = ImageSpec(size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize="squash")

    def images(self, pictures: list[seesay.types.Picture]) -> Tensor:
        from seesay.processing.image import pixels

        return pixels(pictures, self.image)

    def texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids = torch.tensor([[["red", "green", "blue"].index(text)] for text in texts])
        return ids, torch.ones_like(ids, dtype=torch.bool)


def colours(model: Model) -> Model:
    """A model whose relevance can be worked by hand."""
    return Model(
        RedAndGreen(cells=2), ColourProcessor(), model.family, replace(model.config, embed_width=3),
        name="colours", fingerprint="colours",
    )  # fmt: skip


def test_the_map_is_where_the_text_is(model: Model) -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:40, :40] = (255, 0, 0)
    image[40:, 120:] = (0, 255, 0)
    for text, (x, y) in {"red": (20, 20), "green": (140, 60)}.items():
        found = colours(model).relevance(image, text)
        assert abs(found.peak[0] - x) <= 20
        assert abs(found.peak[1] - y) <= 20
        grid = np.array(found.grid)
        assert grid.shape == (4, 4)
        assert grid.max() == 1
        inside = grid[:2, :1] if text == "red" else grid[2:, 3:]
        assert inside.min() > 0.9  # the filter of the resize reaches a little over the edge
        assert grid.sum() == pytest.approx(inside.sum(), abs=0.2)


def test_a_text_that_is_nowhere_has_an_empty_map(model: Model) -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:40, :40] = (255, 0, 0)
    found = colours(model).relevance(image, "blue")
    assert np.array(found.grid).max() == 0
    assert found.itc == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "spec", "box"),
    [
        ((200, 100), {"size": (50, 50)}, (50, 0, 150, 100)),
        ((100, 200), {"size": (50, 50)}, (0, 50, 100, 150)),
        ((200, 100), {"size": (50, 50), "resize": "squash"}, (0, 0, 200, 100)),
        ((200, 100), {"size": (40, 40), "shortest_edge": 50}, (60, 10, 140, 90)),
        ((60, 60), {"size": (30, 30)}, (0, 0, 60, 60)),
    ],
)
def test_the_box_is_the_part_that_the_model_saw(
    size: tuple[int, int], spec: dict[str, object], box: tuple[float, ...]
) -> None:
    made = ImageSpec(mean=(0, 0, 0), std=(1, 1, 1), **spec)
    assert seen_box(size, made) == pytest.approx(box)


def test_the_drawing_has_the_size_of_the_upright_picture(model: Model, tmp_path: Path) -> None:
    turned = picture(60, 40)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    found = model.relevance(tmp_path / "turned.jpg", "a cat")
    assert found.picture.size == (40, 60)
    drawn = found.draw()
    assert drawn.size == (40, 60)
    assert drawn.mode == "RGB"


def test_what_was_cropped_away_is_dark_in_the_drawing(model: Model) -> None:
    white = Image.new("RGB", (120, 40), (255, 255, 255))
    drawn = np.asarray(model.relevance(white, "a cat").draw())
    assert drawn[:, :35].max() < 100
    assert drawn[:, 45:75].mean() > 100


def test_results_do_not_hold_on_to_gradients_or_hooks(model: Model) -> None:
    first = model.relevance(picture(), "a cat")
    second = model.relevance(picture(), "a cat")
    assert first.grid == second.grid
    assert all(not module._forward_hooks for module in model.module.modules())


def test_an_optimised_model_says_how_to_get_a_map(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    packed = seesay.load(tmp_path / "saved", dtype="float32", optimize=True)
    with pytest.raises(UsageError, match="without optimize"):
        packed.relevance(picture(), "a cat")


def test_bad_images_are_results_not_exceptions(model: Model) -> None:
    requests = [RelevanceInput(image=image, text="a") for image in (picture(), b"bad")]
    good, bad = run(model, requests)
    assert not isinstance(good, InputError)
    assert isinstance(bad, InputError)


def test_every_task_is_named_as_its_method_and_says_what_it_does() -> None:
    for name, task in TASKS.items():
        assert task.name == name
        assert task.summary.endswith(".")
        assert callable(task.runner())
        assert hasattr(Model, name) or name == "embed"
        assert callable(getattr(task.output_type(), "show", None)), f"{name} prints nothing"
