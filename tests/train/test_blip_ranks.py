"""Several processes pre-train as one does: losses, gradients, momentum, queue and negatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seesay.train.parallel import World
from train import blip_ranks

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return blip_ranks.start(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_three_processes_with_two_two_one_or_no_rows_learn_what_one_does(
    ranks: Found, strategy: str
) -> None:
    wanted = blip_ranks.train(World())
    for rank in ranks:
        found = rank[strategy]
        for step, losses in enumerate(wanted["losses"]):
            assert found["losses"][step] == pytest.approx(losses, rel=1e-4, abs=1e-5), step
            for name, gradient in wanted["gradients"][step].items():
                close = 1e-4 * max(1.0, float(gradient.abs().max()))
                ours = found["gradients"][step][name]
                torch.testing.assert_close(ours, gradient, rtol=1e-3, atol=close, msg=name)
        for name, mean in wanted["momentum"].items():
            torch.testing.assert_close(found["momentum"][name], mean, rtol=1e-3, atol=1e-4)
        assert torch.equal(found["queue"]["keys"], wanted["queue"]["keys"])
        for name in ("images", "texts"):
            torch.testing.assert_close(
                found["queue"][name], wanted["queue"][name], rtol=1e-3, atol=1e-4
            )


def test_all_processes_hold_the_same_copies_and_the_same_queue(ranks: Found) -> None:
    for strategy in ("ddp", "fsdp2", "local"):
        first = ranks[0][strategy]
        for rank in ranks[1:]:
            for part in ("momentum", "queue"):
                for name, tensor in first[part].items():
                    assert torch.equal(tensor, rank[strategy][part][name]), (strategy, name)


def test_local_negatives_are_a_process_own(ranks: Found) -> None:
    alone = blip_ranks.train(World())
    found = ranks[0]["local"]["losses"]
    # the first batch: the contrast sees all, the negatives are drawn from one or two rows
    assert found[0]["itc"] == pytest.approx(alone["losses"][0]["itc"], rel=1e-4)
    assert found[0]["itm"] != pytest.approx(alone["losses"][0]["itm"], rel=1e-4)
    # of one row each there is none to be wrong
    assert found[-1]["itm"] == found[-1]["itm_accuracy"] == 0
