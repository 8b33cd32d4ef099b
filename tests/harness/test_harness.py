"""A comparison counts what was measured in the machine's fast state, and says when it cannot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks import harness
from benchmarks.harness import KEEP, ROUNDS, TRIES, Canary, compare, stamp


class Machine:
    """A clock that calls move, and a canary that sings at the rates it is given."""

    def __init__(self, rates: Iterator[float]) -> None:
        self.now = 0.0
        self.rates = rates
        self.best = 1.0

    def rate(self) -> float:
        return next(self.rates)

    def takes(self, seconds: float) -> object:
        def call() -> None:
            self.now += seconds

        return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Machine:
    made = Machine(request.param())
    monkeypatch.setattr(harness, "Canary", lambda: made)
    monkeypatch.setattr(harness, "_clock", lambda: lambda: made.now)
    return made


def always(rate: float) -> Iterator[float]:
    while True:
        yield rate


def every_other_sample() -> Iterator[float]:
    while True:
        yield from (1.0, 1.0, 1.0, 0.3)


@pytest.mark.parametrize("machine", [lambda: always(1.0)], indirect=True)
def test_ratios_are_of_medians_against_the_baseline(machine: Machine) -> None:
    found = compare("x", {"a": machine.takes(0.2), "b": machine.takes(0.1)}, "a", items=4)
    assert found.conclusive
    assert found.timings["a"].ratio == pytest.approx(1)
    assert found.timings["b"].ratio == pytest.approx(2)
    assert found.timings["b"].milliseconds == pytest.approx(100)
    assert found.timings["b"].per_second == pytest.approx(40)
    assert found.timings["b"].kept == found.timings["b"].taken == ROUNDS


@pytest.mark.parametrize("machine", [lambda: always(0.5)], indirect=True)
def test_a_slow_machine_gives_no_result(machine: Machine) -> None:
    found = compare("x", {"a": machine.takes(0.2), "b": machine.takes(0.1)}, "a")
    assert not found.conclusive
    assert found.timings["a"].taken == TRIES * ROUNDS
    assert found.timings["b"].milliseconds is None
    assert found.timings["b"].ratio is None
    assert "inconclusive (0 of 21 counted)" in found.show()
    assert found.as_dict()["conclusive"] is False


@pytest.mark.parametrize("machine", [every_other_sample], indirect=True)
def test_one_slow_canary_is_enough_to_drop_a_sample(machine: Machine) -> None:
    found = compare("x", {"a": machine.takes(0.2), "b": machine.takes(0.1)}, "a")
    assert found.timings["a"].kept >= KEEP
    assert found.timings["b"].kept == 0
    assert found.timings["b"].ratio is None
    assert not found.conclusive


@pytest.mark.parametrize("machine", [lambda: always(1.0)], indirect=True)
def test_short_calls_are_repeated(machine: Machine) -> None:
    calls = []

    def call() -> None:
        calls.append(None)
        machine.now += 0.001

    compare("x", {"a": call}, "a", shortest=0.05)
    assert len(calls) == 2 + ROUNDS * 50


def test_the_canary_and_the_stamp_work_here() -> None:
    assert Canary().rate() > 0
    assert {"processor", "torch", "cores", "versions"} <= stamp().keys()
