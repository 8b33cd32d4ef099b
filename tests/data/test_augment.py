"""Augmentations: geometry worked by hand, and statistics of what is drawn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.data.augment import (
    AUGMENTATIONS,
    OPERATIONS,
    Augmentation,
    Blur,
    ColourJitter,
    Grey,
    HorizontalFlip,
    RandAugment,
    RandomResizedCrop,
    operate,
    turn_hue,
)
from seesay.processing.image import ImageSpec, normalise
from seesay.types import Picture

SPEC = ImageSpec(size=(32, 24), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(a: Image.Image, b: Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


class TestCrop:
    def test_areas_and_proportions_are_within_what_was_asked_and_fill_it(self) -> None:
        crop = RandomResizedCrop((8, 8), (0.2, 0.5))
        boxes = np.array([crop.box(400, 400, rng(seed)) for seed in range(2000)])
        w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        assert boxes.min() >= 0
        assert boxes[:, 2:].max() <= 400
        area, ratio = w * h / 400**2, w / h
        assert 0.198 < area.min() < 0.205
        assert 0.495 < area.max() < 0.502
        assert abs(area.mean() - 0.35) < 0.01
        assert 0.745 < ratio.min() < 0.77
        assert 1.3 < ratio.max() < 1.34
        assert abs(np.log(ratio).mean()) < 0.02, "as often upright as lying"
        centre = (boxes[:, 0] + boxes[:, 2]) / 2
        assert abs(centre.mean() - 200) < 5

    def test_a_ribbon_falls_back_to_the_largest_central_crop(self) -> None:
        crop = RandomResizedCrop((8, 8), (0.9, 1.0))
        assert crop.box(1000, 30, rng()) == (480, 0, 520, 30)
        assert crop.box(30, 1000, rng()) == (0, 480, 30, 520)
        assert crop.box(1, 1, rng()) == (0, 0, 1, 1)

    def test_the_whole_picture_is_a_plain_resize(self) -> None:
        image = noise()
        crop = RandomResizedCrop((20, 25), (1, 1), resample="bilinear")
        got = crop.cut(image, (0, 0, 40, 30), image.size)
        assert same(got, image.resize((25, 20), Image.Resampling.BILINEAR))

    def test_inside_a_crop_the_values_are_those_of_cropping_first(self) -> None:
        image = noise(200, 160)
        box = (40, 20, 140, 120)
        got = np.asarray(RandomResizedCrop((50, 50), (1, 1)).cut(image, box, image.size)).astype(
            int
        )
        first = image.crop(box).resize((50, 50), Image.Resampling.BICUBIC)
        inner = np.abs(got - np.asarray(first))[3:-3, 3:-3]
        assert inner.max() <= 1

    def test_a_picture_decoded_small_is_cut_at_the_same_place(self) -> None:
        image = noise(8, 6).resize((400, 300), Image.Resampling.BICUBIC)
        crop, box = RandomResizedCrop((40, 40), (1, 1)), (100, 50, 300, 250)
        small = image.resize((200, 150), Image.Resampling.BOX)
        a = np.asarray(crop.cut(image, box, image.size)).astype(int)
        b = np.asarray(crop.cut(small, box, image.size)).astype(int)
        assert np.abs(a - b).max() < 12


class TestOperations:
    def test_flipping_twice_is_nothing_and_half_are_flipped(self) -> None:
        image, flip = noise(), HorizontalFlip(1.0)
        assert same(flip(flip(image, rng()), rng()), image)
        assert np.array_equal(np.asarray(flip(image, rng())), np.asarray(image)[:, ::-1])
        half = HorizontalFlip()
        flipped = sum(not same(half(image, rng(s)), image) for s in range(400))
        assert 160 < flipped < 240

    def test_a_translation_moves_pixels_by_as_many_and_fills_with_grey(self) -> None:
        image = noise()
        values = np.asarray(image)
        right = np.asarray(operate(image, "translate_x", 5, 1))
        assert np.array_equal(right[:, 5:], values[:, :-5])
        assert (right[:, :5] == 128).all()
        up = np.asarray(operate(image, "translate_y", 10, -1))
        assert np.array_equal(up[:-10], values[10:])
        assert (up[-10:] == 128).all()

    def test_a_shear_moves_each_row_by_its_number_times_the_factor(self) -> None:
        image = noise()
        values = np.asarray(image).astype(float)
        sheared = np.asarray(operate(image, "shear_x", 5, 1)).astype(float)
        assert np.array_equal(sheared[0], values[0]), "the first row stays"
        assert np.abs(sheared[20, 3:] - values[20, :-3]).max() <= 1, "0.15 * 20 rows"
        # row 10 moves by one and a half: halfway between two neighbours
        between = (values[10, 4:-2] + values[10, 3:-3]) / 2
        assert np.abs(sheared[10, 5:-1] - between).max() <= 1
        assert (sheared[20, :2] == 128).all()
        turned = operate(image.transpose(Image.Transpose.TRANSPOSE), "shear_y", 5, 1)
        assert same(turned.transpose(Image.Transpose.TRANSPOSE), operate(image, "shear_x", 5, 1))

    def test_a_rotation_turns_by_three_degrees_a_level(self) -> None:
        image = Image.new("RGB", (101, 101))
        image.paste((255, 255, 255), (50, 0, 51, 51))  # a hand that points up
        turned = np.asarray(operate(image, "rotate", 5, 1).convert("L")).astype(float)
        turned[turned == 128] = 0  # the corners that came in
        y, x = np.nonzero(turned > 100)
        far = y < 20
        angle = math.degrees(math.atan2(50 - x[far].mean(), 50 - y[far].mean()))
        assert abs(angle - 15) < 1.5

    def test_at_blips_own_strength_brightness_and_sharpness_change_nothing(self) -> None:
        for name in ("brightness", "sharpness", "identity"):
            assert same(operate(noise(), name, 5, 1), noise())
        bright = np.asarray(operate(noise(), "brightness", 10, 1)).astype(float)
        expected = np.minimum(np.asarray(noise()) * 1.9, 255)
        assert np.abs(bright - expected).max() <= 1

    def test_autocontrast_stretches_and_equalize_flattens(self) -> None:
        values = np.random.default_rng(0).normal(120, 12, (60, 60, 3)).clip(60, 180)
        dull = Image.fromarray(values.astype(np.uint8))
        assert dull.getextrema() != ((0, 255),) * 3
        assert operate(dull, "autocontrast", 5, 1).getextrema() == ((0, 255),) * 3
        shares = np.histogram(np.asarray(operate(dull, "equalize", 5, 1)), 4, (0, 256))[0]
        assert shares.min() > 0.2 * shares.sum()

    def test_hue_turns_and_comes_back(self) -> None:
        red = Image.new("RGB", (2, 2), (255, 0, 0))
        assert turn_hue(red, 1 / 3).getpixel((0, 0))[1] > 250  # type: ignore[index]
        assert same(turn_hue(turn_hue(red, 0.25), -0.25), red)

    def test_grey_blur_and_jitter_do_what_they_say_as_often_as_they_say(self) -> None:
        image = noise()
        grey = np.asarray(Grey(1.0)(image, rng()))
        assert (grey[..., 0] == grey[..., 2]).all()
        blurred = np.asarray(Blur(p=1.0)(image, rng())).astype(float)
        assert blurred.std() < np.asarray(image).std()
        for transform, share in ((Grey(), 0.2), (Blur(), 0.5), (ColourJitter(), 0.8)):
            done = sum(not same(transform(image, rng(s)), image) for s in range(300)) / 300
            assert abs(done - share) < 0.09, transform


class TestRandAugment:
    def test_every_operation_is_drawn_alike(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: Counter[tuple[str, int]] = Counter()

        def count(image: Image.Image, name: str, m: float, sign: int) -> Image.Image:
            drawn[name, sign] += 1
            assert m == 5
            return image

        monkeypatch.setattr("seesay.data.augment.operate", count)
        for seed in range(4000):
            RandAugment()(noise(4, 4), rng(seed))
        total = sum(drawn.values())
        assert abs(total / 4000 - 1) < 0.05, "two operations, half of them done"
        assert {name for name, _ in drawn} == set(OPERATIONS)
        shares = [n / total for n in drawn.values()]
        assert len(shares) == 20
        assert min(shares) > 0.04
        assert max(shares) < 0.06

    def test_doing_none_is_nothing(self) -> None:
        assert same(RandAugment(p=-1)(noise(), rng()), noise())


class TestAugmentations:
    @pytest.mark.parametrize("name", [n for n, a in AUGMENTATIONS.items() if a is not None])
    def test_they_give_the_models_pixels_and_depend_on_the_generator_alone(self, name: str) -> None:
        augmentation = AUGMENTATIONS[name]
        assert augmentation is not None
        picture = Picture(noise(100, 80), (100, 80), "x")
        first = augmentation(picture, SPEC, rng(1))
        assert first.shape == (3, 32, 24)
        assert torch.equal(first, augmentation(picture, SPEC, rng(1)))
        assert not torch.equal(first, augmentation(picture, SPEC, rng(2)))
        values = augmentation.values(picture, SPEC, rng(1))
        assert torch.equal(first, normalise(np.stack([values]), SPEC)[0])

    def test_what_may_be_decoded_small_keeps_the_crop_sharp(self) -> None:
        augmentation = Augmentation((0.25, 0.25))
        size = (2000, 1000)
        for seed in range(50):
            side = augmentation.at_least(size, SPEC, rng(seed))
            box = augmentation.crop(SPEC).box(*size, rng(seed))
            scale = side / 1000
            assert (box[2] - box[0]) * scale >= SPEC.size[1]
            assert (box[3] - box[1]) * scale >= SPEC.size[0]
            assert side < 120
        assert augmentation.at_least((20, 10), SPEC, rng()) == 10, "never more than there is"
