"""Real pictures and a real (tiny) model: every kind of file a folder may hold."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay.index import Collection
from seesay.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("clip-tiny", seed=3)


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of 12000 x 12000 pixels in 140 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 12_001 * 12_000, 1)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pictures")
    good = {
        "plain.jpg": encoded(picture(0), "JPEG"),
        "alpha.png": encoded(picture(1).convert("RGBA"), "PNG"),
        "grey.webp": encoded(picture(2).convert("L"), "WEBP"),
        "palette.gif": encoded(picture(3), "GIF"),
        "cmyk.jpg": encoded(picture(4).convert("CMYK"), "JPEG"),
        "sixteen.tif": encoded(
            Image.fromarray(np.arange(1600, dtype=np.uint16).reshape(40, 40)), "TIFF"
        ),
        "modern.avif": encoded(picture(5), "AVIF"),
        "one.bmp": encoded(picture(6, (1, 1)), "BMP"),
        "wrong-name.png": encoded(picture(7), "JPEG"),
    }
    whole = encoded(picture(8, (300, 300)), "JPEG")
    broken = {
        "empty.jpg": b"",
        "text.jpg": b"this is no picture",
        "header-only.jpg": whole[:20],
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": encoded(picture(9), "PNG")[:-60],
        "flipped.png": bytes(b ^ (i % 97 == 50) for i, b in enumerate(encoded(picture(9), "PNG"))),
        "bomb.png": bomb(),
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "page.webp": b"<html><script>alert(1)</script></html>",
        "huge.tif": b"II*\0" + b"\0" * 20_000_001,
        "zip.gif": b"PK\x03\x04" + b"\0" * 100,
    }
    for name, data in (good | broken).items():
        (place / name).write_bytes(data)
    (place / "good").write_text("\n".join(good))
    return place


def test_broken_pictures_of_each_kind_are_skipped_with_a_reason(
    folder: Path, tmp_path: Path, model: Model
) -> None:
    good = (folder / "good").read_text().split("\n")
    collection = Collection.open(tmp_path / "index")
    report = collection.add(folder, model)
    assert sorted(os.path.basename(path) for path in collection.paths) == sorted(good)
    reasons = {os.path.basename(failure.path): failure.reason for failure in report.failed}
    assert len(reasons) == 11
    assert reasons["empty.jpg"] == "is empty"
    assert "pixels" in reasons["bomb.png"]
    assert "20 MB, more than" in reasons["huge.tif"]
    assert all(
        reason and "\n" not in reason and "image " not in reason[:6] for reason in reasons.values()
    )


def test_every_good_picture_finds_itself(folder: Path, tmp_path: Path, model: Model) -> None:
    collection = Collection.open(tmp_path / "index")
    collection.add(folder, model)
    direct = model.embed_images(collection.paths)
    stored = torch.from_numpy(collection.vectors.astype(np.float32))
    assert torch.allclose(stored, direct, atol=1e-3)
    for path in collection.paths:
        hit = collection.search(image=path, k=1)[0]
        assert hit.path == path
        assert hit.score == pytest.approx(1, abs=1e-3)
    sizes = {os.path.basename(hit.path): hit.size for hit in collection.search("anything", 99)}
    assert sizes["plain.jpg"] == (48, 40)
    assert sizes["one.bmp"] == (1, 1)


def test_the_snippet_of_the_readme_works(
    folder: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save(tmp_path / "checkpoint")
    monkeypatch.chdir(tmp_path)
    seesay.Collection.create("photos.index", "checkpoint").add(folder)
    monkeypatch.chdir(folder)
    collection = seesay.Collection.open(tmp_path / "photos.index")
    collection.add(folder)
    hits = collection.search("a red bicycle", k=10)
    assert len(hits) == 9
    assert collection.model is not None
    assert collection.model.name == str(tmp_path / "checkpoint"), "found from any folder"
