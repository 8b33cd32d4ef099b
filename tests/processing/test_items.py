"""Every kind of item is read; what is no picture becomes one clear error that names it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from processing.made import encoded, photograph, png
from seesay.errors import InputError
from seesay.processing import image as processing
from seesay.processing.image import open_picture
from seesay.types import Picture


class TestItems:
    def test_a_path_bytes_a_picture_and_an_array_are_the_same(self, tmp_path: Path) -> None:
        image = photograph(30, 20)
        path = tmp_path / "a.png"
        image.save(path)
        items = (path, str(path), path.read_bytes(), image, np.asarray(image))
        results = [np.asarray(open_picture(item).image) for item in items]
        assert all(np.array_equal(result, np.asarray(image)) for result in results)

    def test_arrays_of_every_shape(self) -> None:
        grey = np.full((4, 5), 7, dtype=np.uint8)
        assert decoded_array(grey).tolist() == decoded_array(grey[..., None]).tolist()
        alpha = np.zeros((4, 5, 4), dtype=np.uint8)
        assert (decoded_array(alpha) == 255).all()
        unit = np.full((4, 5, 3), 0.5, dtype=np.float32)
        assert (decoded_array(unit) == 128).all()
        assert decoded_array(np.asfortranarray(unit)[::-1]).shape == (4, 5, 3)

    @pytest.mark.parametrize(
        ("array", "why"),
        [
            (np.zeros((3, 4, 5), np.uint8), "shape"),
            (np.zeros((0, 4, 3), np.uint8), "shape"),
            (np.zeros(4, np.uint8), "shape"),
            (np.zeros((4, 4, 3), np.int64), "dtype"),
            (np.full((4, 4), 2.0), "outside"),
            (np.full((4, 4), np.nan), "outside"),
        ],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray[Any, Any], why: str) -> None:
        with pytest.raises(InputError, match=why):
            open_picture(array)

    def test_other_things_are_refused(self) -> None:
        with pytest.raises(InputError, match="is int, not a path"):
            open_picture(7)  # type: ignore[arg-type]


def decoded_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(open_picture(array).image)


class TestBadFiles:
    JPEG = encoded(photograph(200, 150), "JPEG")
    PNG = encoded(photograph(200, 150), "PNG")

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "is empty"),
            (b"GIF89a", "is not an image|cannot be decoded"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
            (b"%PDF-1.7", "is not an image"),
            (JPEG[: len(JPEG) // 2], "cannot be decoded"),
            (PNG[: len(PNG) // 2], "cannot be decoded"),
            (PNG[:60] + b"\x00" * 40 + PNG[100:], "cannot be decoded"),
            (encoded(photograph(9, 9), "ICO"), "is not an image"),
            (encoded(photograph(9, 9), "PPM"), "is not an image"),
        ],
        ids=["empty", "stub", "svg", "pdf", "short jpeg", "short png", "flipped", "ico", "ppm"],
    )
    def test_one_error_that_names_the_item(self, tmp_path: Path, data: bytes, why: str) -> None:
        path = tmp_path / "bad.jpg"
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"bad\.jpg: .*({why})"):
            open_picture(path)
        with pytest.raises(InputError, match=f"item 3: .*({why})"):
            open_picture(data, name="item 3")

    @pytest.mark.parametrize(("width", "height"), [(10_000, 7_000), (60_000, 60_000)])
    def test_a_bomb_is_refused_before_it_is_decoded(self, width: int, height: int) -> None:
        data = png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"")
        with pytest.raises(InputError, match="more than the 64 million"):
            open_picture(data)

    def test_a_file_too_long_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "long.png"
        with path.open("wb") as file:
            file.truncate(processing.MAX_BYTES + 1)
        with pytest.raises(InputError, match="has 20 MB, more than the 20 allowed"):
            open_picture(path)

    def test_paths_that_are_no_files(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.jpg")
        for path, why in (
            (tmp_path / "none.jpg", "no such file"),
            (tmp_path / "pipe.jpg" / "under.jpg", "no such file"),
            (tmp_path, "is a folder"),
            (tmp_path / "pipe.jpg", "is not a regular file"),
            ("https://example.com/a.jpg", "remote images are not fetched"),
            ("a\x00b.jpg", "cannot be decoded"),
        ):
            with pytest.raises(InputError, match=why):
                open_picture(path)

    def test_a_name_that_is_not_text_can_be_printed(self, tmp_path: Path) -> None:
        path = os.fsencode(tmp_path) + b"/\xff\n.jpg"
        with open(path, "wb") as file:
            file.write(b"nothing")
        with pytest.raises(InputError) as caught:
            open_picture(os.fsdecode(path))
        caught.value.what.encode()

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
    def test_damage_is_an_error_or_a_picture_never_a_crash(self, form: str, seed: int) -> None:
        if form == "AVIF" and form not in Image.registered_extensions().values():
            pytest.skip("this Pillow reads no AVIF")
        data = bytearray(encoded(photograph(64, 48), form))
        rng = np.random.default_rng(seed)
        for _ in range(20):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                damaged[place] = int(rng.integers(0, 256))
            try:
                picture = open_picture(bytes(damaged))
            except InputError:
                continue
            assert isinstance(picture, Picture)
            assert picture.image.mode == "RGB"
