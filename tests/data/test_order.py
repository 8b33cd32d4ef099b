"""The order of samples: permutations, by step alone, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.data.order import WINDOW, Order
from seesay.errors import UsageError

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 40)).filter(lambda s: s[1] <= s[0])


def epoch_of(order: Order, epoch: int) -> list[int]:
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    return [row for step in steps for row in order.whole_batch(step)]


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 2**32), st.booleans(), st.booleans(), st.integers(0, 5))
def test_an_epoch_has_every_record_once_and_loses_only_the_remainder(
    sizes: tuple[int, int], seed: int, drop_last: bool, bucketed: bool, epoch: int
) -> None:
    count, batch_size = sizes
    lengths = np.arange(count) % 7 if bucketed else None
    order = Order(count, batch_size, seed=seed, lengths=lengths, drop_last=drop_last)
    rows = epoch_of(order, epoch)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))
    assert len(rows) == (count // batch_size * batch_size if drop_last else count)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 9), st.booleans(), st.integers(0, 200))
def test_a_step_sees_the_same_records_whatever_the_number_of_processes(
    sizes: tuple[int, int], world: int, drop_last: bool, step: int
) -> None:
    count, batch_size = sizes
    lengths = np.random.default_rng(0).integers(1, 77, count)

    def order(rank: int, world: int) -> Order:
        return Order(
            count, batch_size, rank=rank, world=world, lengths=lengths, drop_last=drop_last
        )

    alone = order(0, 1).batch(step)
    shares = [order(rank, world).batch(step) for rank in range(world)]
    assert sorted(row for share in shares for row in share) == sorted(alone)
    sizes_of_shares = {len(share) for share in shares}
    assert max(sizes_of_shares) - min(sizes_of_shares) <= 1


@settings(max_examples=30, deadline=None)
@given(SIZES, st.lists(st.integers(0, 1000), max_size=20))
def test_a_batch_is_a_function_of_its_step_alone(sizes: tuple[int, int], steps: list[int]) -> None:
    count, batch_size = sizes
    walked = Order(count, batch_size, seed=3, lengths=np.arange(count))
    seen = [walked.batch(step) for step in steps]
    assert [
        Order(count, batch_size, seed=3, lengths=np.arange(count)).batch(step) for step in steps
    ] == seen


def test_epochs_and_seeds_differ() -> None:
    order, other = Order(100, 10), Order(100, 10, seed=1)
    assert epoch_of(order, 0) != epoch_of(order, 1)
    assert epoch_of(order, 0) != epoch_of(other, 0)
    assert [order.epoch(step) for step in (0, 9, 10, 25)] == [0, 0, 1, 2]
    dropped = [set(range(25)) - set(epoch_of(Order(25, 10), epoch)) for epoch in range(4)]
    assert len({frozenset(rows) for rows in dropped}) > 1, "another remainder every epoch"


def test_like_lengths_share_a_batch_and_batches_stay_shuffled() -> None:
    lengths = np.random.default_rng(1).integers(4, 77, 20_000)
    plain, bucketed = Order(20_000, 32), Order(20_000, 32, lengths=lengths)

    def padding(order: Order) -> float:
        batches = [lengths[order.whole_batch(s)] for s in range(order.steps_per_epoch)]
        return 1 - sum(b.sum() for b in batches) / sum(b.max() * len(b) for b in batches)

    assert padding(plain) > 0.4
    assert padding(bucketed) < 0.02
    means = np.array([lengths[bucketed.whole_batch(s)].mean() for s in range(600)])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.15, "short and long come mixed"
    assert padding(Order(20_000, 32, lengths=np.zeros(20_000))) == pytest.approx(
        padding(plain), abs=0.02
    )


def test_the_remainder_is_dropped_before_sorting_so_long_texts_are_not_lost() -> None:
    lengths = np.arange(95)
    dropped = [
        set(range(95)) - set(epoch_of(Order(95, 10, lengths=lengths), epoch)) for epoch in range(40)
    ]
    assert 20 < np.mean([np.mean(list(rows)) for rows in dropped]) < 75


def test_equal_lengths_are_not_left_in_the_order_of_the_file() -> None:
    count = WINDOW * 4
    order = Order(count, 4, lengths=np.ones(count))
    assert order.whole_batch(0) != sorted(order.whole_batch(0))
    assert epoch_of(order, 0) != epoch_of(order, 1)


@pytest.mark.parametrize(
    ("sizes", "options", "told"),
    [
        ((0, 4), {}, "0 records"),
        ((4, 0), {}, "batches of 0"),
        ((3, 4), {}, "3 records do not fill one batch of 4\n.*data.batch_size=3"),
        ((4, 4), {"rank": 2, "world": 2}, "rank 2 is none of 2"),
        ((4, 4), {"lengths": np.ones(3)}, "3 lengths for 4"),
    ],
)
def test_impossible_orders_are_refused(sizes: tuple[int, int], options: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Order(*sizes, **options)


def test_a_short_last_batch_leaves_some_processes_with_nothing() -> None:
    shares = [Order(9, 8, rank=r, world=4, drop_last=False).batch(1) for r in range(4)]
    assert sorted(map(len, shares)) == [0, 0, 0, 1]
