"""One thread per operation (tests share two cores), and no network in any test."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# folders of tests import each other's shared checks as packages beneath this one
pytest.register_assert_rewrite(
    *(f"contract.{part}" for part in ("suite", "comparing", "writing", "judging", "probes"))
)
