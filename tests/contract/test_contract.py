"""Every registered family keeps the contract, on its tiny variants."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import seesay
from contract import probes, suite
from seesay import registry

TINY = [name for name in registry.variants() if "-tiny" in name]
SNAPSHOTS = Path(__file__).parent / "snapshots"
REWRITE = "SEESAY_WRITE_SNAPSHOTS"


OWED = [
    pytest.param(name, check, id=f"{name}-{check.__name__[6:]}")
    for name in TINY
    for check in suite.checks_of(name)
]


@pytest.mark.parametrize(("name", "check"), OWED)
def test_contract(name: str, check: Callable[[str, Path], None], tmp_path: Path) -> None:
    check(name, tmp_path)


def test_every_check_is_owed_by_some_variant() -> None:
    assert {check for name in TINY for check in suite.checks_of(name)} == set(suite.CHECKS)


@pytest.mark.parametrize("name", TINY)
def test_names_and_shapes_of_the_weights_do_not_drift(name: str) -> None:
    """Saved checkpoints outlive versions: a renamed tensor must be a decision, not an accident."""
    state = dict(seesay.create(name).module.state_dict())
    found = probes.snapshot(sorted(state), state)
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get(REWRITE):
        SNAPSHOTS.mkdir(exist_ok=True)
        path.write_text(found, "utf-8")
    assert path.exists(), f"no snapshot of {name} yet: run the test with {REWRITE}=1"
    assert found == path.read_text("utf-8"), (
        f"the state dict of {name} changed; if that is meant, say so in the changelog and run "
        f"with {REWRITE}=1"
    )


def test_no_snapshot_is_left_behind() -> None:
    assert {path.stem for path in SNAPSHOTS.glob("*.txt")} == set(TINY)
