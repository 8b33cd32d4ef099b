"""Pictures become the pixels Pillow makes of them; what is no picture becomes one clear error."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from processing.made import encoded, photograph, png
from seesay.processing import image as processing
from seesay.processing.image import ImageSpec, normalise, open_picture, pixels, to_rgb

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
SPEC = ImageSpec(size=(224, 224), mean=MEAN, std=STD, centre="floor")
STEP = 1 / 255 / min(STD)
"""One step of a byte, in normalised units."""


def decoded(data: bytes, **options: Any) -> np.ndarray[Any, Any]:
    return np.asarray(open_picture(data, **options).image).astype(int)


def by_hand(image: Image.Image, size: int = 224) -> torch.Tensor:
    """The published preprocessing, step by step, in double precision."""
    width, height = image.size
    if width <= height:
        shape = (size, int(size * height / width))
    else:
        shape = (int(size * width / height), size)
    image = image.resize(shape, Image.Resampling.BICUBIC)
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    values = np.asarray(image.crop((left, top, left + size, top + size))).astype(np.float64)
    values = (values / 255 - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(values).permute(2, 0, 1).float()


KINDS: dict[str, Image.Image] = {
    "landscape": photograph(431, 260),
    "portrait": photograph(250, 613),
    "odd margins": photograph(301, 227),
    "tiny": photograph(5, 9),
    "one pixel": photograph(1, 1),
    "grey": photograph(300, 240).convert("L"),
    "palette": photograph(300, 240).convert("P", palette=Image.Palette.ADAPTIVE),
    "black and white": photograph(300, 240).convert("1"),
    "cmyk": photograph(300, 240).convert("CMYK"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_pillows(kind: str) -> None:
    got = pixels([open_picture(KINDS[kind])], SPEC)[0]
    assert (got - by_hand(KINDS[kind].convert("RGB"))).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_transformers(kind: str) -> None:
    clip = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    data = encoded(KINDS[kind], "TIFF" if kind == "cmyk" else "PNG")
    wanted = clip.CLIPImageProcessorPil()(Image.open(io.BytesIO(data)), return_tensors="pt")
    got = pixels([open_picture(data)], SPEC)
    assert (got - wanted["pixel_values"]).abs().max() < STEP


def test_a_batch_is_its_pictures_in_order() -> None:
    pictures = [open_picture(image) for image in KINDS.values()]
    together = pixels(pictures, SPEC)
    assert together.dtype == torch.float32
    assert together.is_contiguous(memory_format=torch.channels_last)
    for row, picture in zip(together, pictures, strict=True):
        assert torch.equal(row, pixels([picture], SPEC)[0])
    assert pixels([], SPEC).shape == (0, 3, 224, 224)


def test_normalising_is_exact_for_every_byte() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None, None].repeat(3, -1)
    wanted = (ramp.astype(np.float64) / 255 - MEAN) / STD
    got = normalise(ramp, SPEC).permute(0, 2, 3, 1).double().numpy()
    assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize(("centre", "first"), [("floor", 0), ("round", 1)])
def test_an_odd_margin_is_cut_by_the_named_rule(centre: Any, first: int) -> None:
    columns = np.zeros((4, 7, 3), dtype=np.uint8)
    columns[:] = np.arange(7, dtype=np.uint8)[None, :, None] * 10
    spec = ImageSpec(size=(4, 4), mean=(0, 0, 0), std=(1, 1, 1), centre=centre)
    got = pixels([open_picture(columns)], spec)[0, 0, 0] * 255
    # a margin of 3: 1.5 is cut to 1, or rounded to 2
    assert got.round().tolist() == [(1 + first + i) * 10 for i in range(4)]


def test_squashing_ignores_the_proportions() -> None:
    spec = ImageSpec(size=(20, 30), mean=MEAN, std=STD, resize="squash", resample="bilinear")
    image = photograph(300, 100)
    wanted = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    assert torch.equal(pixels([open_picture(image)], spec), normalise(wanted[None].copy(), spec))


def test_a_crop_larger_than_the_picture_is_filled_with_black() -> None:
    spec = ImageSpec(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1), shortest_edge=4)
    got = pixels([open_picture(Image.new("RGB", (4, 4), "white"))], spec)[0, 0]
    assert got[2:6, 2:6].min() == 1
    assert got.sum() == 16


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_ribbon_needs_no_more_memory_than_its_crop(size: tuple[int, int]) -> None:
    assert pixels([open_picture(Image.new("RGB", size, "red"))], SPEC).shape == (1, 3, 224, 224)


class TestModes:
    def test_alpha_is_laid_on_white(self) -> None:
        image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
        image.putpixel((0, 0), (255, 0, 0, 255))
        image.putpixel((1, 0), (0, 0, 0, 128))
        got = decoded(encoded(image, "PNG"))
        assert got[0, 0].tolist() == [255, 0, 0]
        assert got[0, 1].tolist() == [127, 127, 127]
        assert got[3, 3].tolist() == [255, 255, 255]

    def test_grey_with_alpha(self) -> None:
        got = decoded(encoded(Image.new("LA", (3, 3), (0, 0)), "PNG"))
        assert (got == 255).all()

    @pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["index", "table"])
    def test_palette_with_transparency(self, transparency: Any) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([255, 0, 0, 0, 0, 255])
        image.putpixel((1, 0), 1)
        got = decoded(encoded(image, "PNG", transparency=transparency))
        assert got.tolist() == [[[255, 255, 255], [0, 0, 255]]]

    @pytest.mark.parametrize(("mode", "key"), [("RGB", (10, 20, 30)), ("L", 10)])
    def test_a_colour_that_means_transparent(self, mode: str, key: Any) -> None:
        image = Image.new(mode, (2, 1), key)
        image.putpixel((1, 0), (1, 2, 3) if mode == "RGB" else 1)
        got = decoded(encoded(image, "PNG", transparency=key))
        assert got[0, 0].tolist() == [255, 255, 255]
        assert got[0, 1].tolist() == ([1, 2, 3] if mode == "RGB" else [1, 1, 1])

    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_16_bit_grey_is_scaled(self, form: str) -> None:
        values = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
        got = decoded(encoded(Image.fromarray(values), form))[0, :, 0]
        assert got.tolist() == [0, 0, 1, 128, 255]

    def test_16_bit_colour_is_scaled(self) -> None:
        row = b"\x00" + struct.pack(">6H", 0, 32768, 65535, 257, 514, 65280)
        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        got = decoded(png(header, zlib.compress(row)))
        wanted = np.array([[[0, 128, 255], [1, 2, 254]]])
        assert np.abs(got - wanted).max() <= 1

    def test_whole_numbers_and_fractions(self) -> None:
        whole = Image.fromarray(np.array([[0, 255]], dtype=np.int32))
        deep = Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
        unit = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
        wide = Image.fromarray(np.array([[np.nan, -3.0, 300.0]], dtype=np.float32))
        assert np.asarray(to_rgb(whole))[0, :, 0].tolist() == [0, 255]
        assert np.asarray(to_rgb(deep))[0, :, 0].tolist() == [0, 255]
        assert np.asarray(to_rgb(unit))[0, :, 0].tolist() == [0, 128, 255]
        assert np.asarray(to_rgb(wide))[0, :, 0].tolist() == [0, 0, 255]
        assert decoded(encoded(unit, "TIFF"))[0, :, 1].tolist() == [0, 128, 255]

    def test_cmyk_jpeg_has_the_colours_it_was_made_of(self) -> None:
        image = Image.new("RGB", (16, 16), (200, 40, 90))
        got = decoded(encoded(image.convert("CMYK"), "JPEG", quality=95))
        assert np.abs(got - np.array([200, 40, 90])).max() <= 3

    @pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "La", "PA", "I;16B"])
    def test_every_other_mode_becomes_rgb(self, mode: str) -> None:
        source = "I;16" if mode == "I;16B" else {"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
        image = Image.new(source, (3, 2))
        image = image.convert(mode) if mode not in ("PA", "I;16B") else Image.new(mode, (3, 2))
        assert to_rgb(image).mode == "RGB"


class TestOrientation:
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_pictures_are_upright(self, orientation: int, form: str) -> None:
        upright = Image.new("RGB", (48, 32), "blue")
        upright.paste("red", (0, 0, 24, 16))
        undo = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
        stored = upright
        if orientation > 1:
            stored = upright.transpose(processing._TURNS[undo])
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if form == "WEBP" else {}
        picture = open_picture(encoded(stored, form, exif=exif, **options))
        assert picture.size == picture.image.size == (48, 32)
        difference = np.asarray(picture.image).astype(int) - np.asarray(upright)
        assert np.abs(difference).mean() < 3

    def test_the_size_is_the_original_ones_when_decoded_small(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        data = encoded(photograph(640, 400), "JPEG", exif=exif)
        picture = open_picture(data, at_least=100)
        assert picture.size == (400, 640)
        assert picture.image.size == (100, 160)

    @pytest.mark.parametrize("garbage", [b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"])
    def test_broken_metadata_does_not_cost_the_picture(self, garbage: bytes) -> None:
        data = encoded(photograph(30, 20), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(garbage) + 2) + garbage
        assert open_picture(data[:2] + segment + data[2:]).size == (30, 20)

    def test_a_picture_given_is_not_changed(self) -> None:
        image = photograph(30, 20)
        image.getexif()[0x0112] = 6
        before = image.copy()
        assert open_picture(image).size == (20, 30)
        assert image.size == (30, 20)
        assert image == before


class TestFastDecoding:
    DATA = encoded(photograph(1024, 768, seed=3), "JPEG", quality=88)

    def test_it_is_close_to_the_exact_pixels(self) -> None:
        exact = pixels([open_picture(self.DATA)], SPEC)
        fast = pixels([open_picture(self.DATA, at_least=224)], SPEC)
        assert (fast - exact).abs().mean() < 0.025
        assert not torch.equal(fast, exact)

    @pytest.mark.parametrize(
        "size", [(1024, 768), (768, 1024), (449, 448), (896, 3000), (447, 447)]
    )
    def test_the_short_side_keeps_what_is_needed(self, size: tuple[int, int]) -> None:
        picture = open_picture(encoded(photograph(*size), "JPEG"), at_least=224)
        assert min(picture.image.size) >= 224
        assert picture.size == size
        factor = max(f for f in (1, 2, 4, 8) if min(size) / f >= 224)
        assert picture.image.size == tuple(-(-side // factor) for side in size)

    @pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP"])
    def test_other_formats_are_exact(self, form: str) -> None:
        data = encoded(photograph(600, 500), form)
        assert np.array_equal(decoded(data), decoded(data, at_least=50))

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_other_modes(self, mode: str) -> None:
        data = encoded(photograph(600, 500).convert(mode), "JPEG")
        assert open_picture(data, at_least=100).image.size == (150, 125)

    def test_a_picture_smaller_than_needed_is_exact(self) -> None:
        data = encoded(photograph(200, 150), "JPEG")
        assert np.array_equal(decoded(data), decoded(data, at_least=224))


class TestFrames:
    @pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_the_first_of_many_is_taken_and_all_are_counted(self, form: str) -> None:
        colours = ("red", "lime", "blue")
        first, *rest = (Image.new("RGB", (20, 10), colour) for colour in colours)
        picture = open_picture(encoded(first, form, save_all=True, append_images=rest))
        assert picture.frames == 3
        red = np.asarray(picture.image).astype(int)
        assert np.abs(red - np.array([255, 0, 0])).max() <= 5

    def test_a_still_picture_has_one(self) -> None:
        assert open_picture(encoded(photograph(20, 10), "PNG")).frames == 1
