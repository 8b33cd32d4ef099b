"""A small folder of pictures, and a collection of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakemodel import FakeModel, write

from seesay.index import Collection


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    write(folder, a="apple", b="bear", sub__c="cat", sub__deep__d="dog")
    return folder


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def collection(tmp_path: Path, photos: Path, model: FakeModel) -> Collection:
    made = Collection.open(tmp_path / "photos.index")
    made.add(photos, model)
    return made
