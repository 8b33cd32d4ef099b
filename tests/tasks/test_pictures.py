"""Images are decoded once, encoded once, and served in order, whatever goes together."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import seesay
from contract.probes import picture
from seesay.errors import InputError, UsageError
from seesay.model import Model
from seesay.tasks.pictures import Seen, pixel_chunks, serve


@dataclass(frozen=True)
class Asked:
    """A request about some images."""

    images: tuple[Any, ...]
    text: str
    kind: int = 0


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("clip-tiny")


@pytest.fixture(scope="module")
def keeps_proportions() -> Model:
    return seesay.create("siglip-tiny-naflex")


class Served:
    """What went through the network, and how it was answered."""

    def __init__(self, model: Model, requests: list[Asked], batch_size: int) -> None:
        self.encoded: list[int] = []
        self.answered: list[list[int]] = []
        self.sizes: list[list[tuple[int, int]]] = []
        self.results = list(
            serve(
                model, requests, self.respond, see=self.see, batch_size=batch_size,
                images=lambda asked: asked.images, alike=lambda asked: asked.kind,
            )
        )  # fmt: skip

    def see(self, pixels: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled() or not torch.is_grad_enabled()
        self.encoded.append(len(pixels))
        return pixels.mean((2, 3))

    def respond(self, groups: list[list[Asked]], seen: Seen) -> list[str]:
        assert len(groups) == len(seen.features) == len(seen.sizes)
        assert len({len(group) for group in groups}) == 1
        assert len({asked.kind for group in groups for asked in group}) == 1
        self.answered.append([len(group) for group in groups])
        self.sizes += seen.sizes
        return [
            f"{asked.text} {float(row.sum()):.4f}"
            for group, row in zip(groups, seen.features, strict=True)
            for asked in group
        ]


def test_requests_on_one_image_share_it_and_batches_stay_small(model: Model) -> None:
    one, two, three = (picture(seed=i) for i in range(3))
    requests = [Asked((one,), str(i)) for i in range(5)]
    requests += [Asked((two,), "a"), Asked((three,), "b"), Asked((one,), "again")]
    served = Served(model, requests, batch_size=2)
    assert sum(served.encoded) == 4  # the first comes again, but not next to itself
    assert max(served.encoded) == 2
    assert max(sum(sizes) for sizes in served.answered) <= 2
    assert [result.split()[0] for result in served.results] == [*"01234", "a", "b", "again"]
    whole = Served(model, requests, batch_size=100)
    assert whole.results == served.results


def test_kinds_are_answered_apart_and_come_back_in_order(model: Model) -> None:
    requests = [Asked((picture(seed=i // 3),), str(i), kind=i % 2) for i in range(9)]
    served = Served(model, requests, batch_size=4)
    assert [int(result.split()[0]) for result in served.results] == list(range(9))


def test_the_first_bad_image_is_the_error_of_all_that_look_at_it(model: Model) -> None:
    good, bad = picture(), b"no image"
    requests = [Asked((good, bad), "a"), Asked((good, bad), "b"), Asked((good, good), "c")]
    first, second, third = Served(model, requests, batch_size=1).results
    assert isinstance(first, InputError)
    assert isinstance(second, InputError)
    assert not isinstance(third, InputError)


def test_several_images_of_a_request_reach_it_though_their_chunks_differ(model: Model) -> None:
    frames = tuple(picture(seed=i) for i in range(5))
    for size in (1, 2, 5):
        served = Served(model, [Asked(frames, "video"), Asked(frames[:2], "short")], size)
        assert [result.split()[0] for result in served.results] == ["video", "short"]
        assert sum(served.encoded) == 7


@pytest.mark.parametrize("decode", ["exact", "fast"])
def test_the_sizes_of_the_upright_originals_are_told(
    model: Model, monkeypatch: pytest.MonkeyPatch, decode: str
) -> None:
    monkeypatch.setattr(model, "decode", decode)
    exif = Image.Exif()
    exif[0x0112] = 8
    turned = io.BytesIO()
    picture(640, 480).save(turned, "JPEG", exif=exif)
    images = (turned.getvalue(), picture(50, 70), b"no image", picture(8, 9))
    requests = [Asked((image,), str(i)) for i, image in enumerate(images)]
    assert Served(model, requests, 3).sizes == [[(480, 640)], [(50, 70)], [(8, 9)]]
    assert Served(model, [Asked(images[:2], "")], 1).sizes == [[(480, 640), (50, 70)]]


def test_pixels_of_other_sizes_go_through_in_batches_of_their_own(
    keeps_proportions: Model,
) -> None:
    images = [picture(60, 20), picture(20, 60), picture(60, 20, 1), picture(40, 40)]
    [chunk] = pixel_chunks(keeps_proportions, images, 4)
    rows = sorted(row for rows, _ in chunk.batches for row in rows)
    assert rows == [0, 1, 2, 3]
    assert len(chunk.batches) == 3
    asked = [Asked((images[0], images[1]), "a")]
    [bad] = serve(
        keeps_proportions, asked, lambda groups, seen: ["never"], see=lambda pixels: pixels,
        images=lambda asked: asked.images, batch_size=4,
    )  # fmt: skip
    assert isinstance(bad, InputError)
    assert "different sizes" in bad.what


def test_nothing_asked_is_nothing_served_and_a_batch_has_a_size(model: Model) -> None:
    assert Served(model, [], 3).results == []
    with pytest.raises(UsageError, match="batch_size=0"):
        Served(model, [Asked((picture(),), "a")], 0)
