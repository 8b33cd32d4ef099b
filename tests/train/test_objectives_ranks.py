"""Several processes learn what one would: losses and gradients average to those of all pairs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seesay.errors import UsageError
from seesay.train.objectives import info_nce
from train.ranks import ALL, CASES, TWO, grads, pairs, start, towers

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return start(tmp_path_factory.mktemp("ranks"))


def expected(name: str) -> dict[str, torch.Tensor]:
    """What a single process finds for the whole batch."""
    module, batch = towers(), pairs()
    loss = CASES[name](module, module(batch), batch.labels)
    loss.backward()
    return {"loss": loss.detach(), **grads(module)}


def compare(found: Found, wanted: dict[str, torch.Tensor]) -> None:
    assert found[0].keys() == wanted.keys()
    for name, tensor in wanted.items():
        average = torch.stack([rank[name] for rank in found]).mean(0)
        close = 1e-6 * max(1.0, float(tensor.abs().max()))
        torch.testing.assert_close(average, tensor, rtol=0, atol=close, msg=name)


@pytest.mark.parametrize("name", CASES)
def test_ranks_of_four_no_and_three_pairs_learn_what_one_of_seven_does(
    ranks: Found, name: str
) -> None:
    wanted = expected(name)
    assert sum(ALL) == sum(TWO) == len(pairs().labels)
    assert wanted["loss"] > 0.1
    assert wanted["image.weight"].abs().max() > 0.01
    compare([rank[name] for rank in ranks], wanted)
    compare([rank[f"{name}, in chunks"] for rank in ranks], wanted)


@pytest.mark.parametrize("name", CASES)
def test_a_group_need_not_begin_with_the_first_process(ranks: Found, name: str) -> None:
    compare([rank[f"{name}, two ranks"] for rank in ranks[1:]], expected(name))


def test_torch_averages_the_gradients_of_a_batch_that_is_accumulated(ranks: Found) -> None:
    wanted = expected("slip")
    for step in range(2):
        steps = [rank["ddp and gradcache"][step] for rank in ranks]
        compare(steps, wanted)
        for name in wanted.keys() - {"loss"}:  # averaged already: all ranks have the same
            assert all(torch.equal(rank[name], steps[0][name]) for rank in steps)


def test_every_rank_has_all_rows_and_owners_get_the_gradients_of_all(ranks: Found) -> None:
    for rank, counts in enumerate(ALL):
        found = ranks[rank]["primitives"]
        assert found["counts"].tolist() == list(ALL)
        assert found["gathered"][:, 0].tolist() == [0, 2, 4, 6, 20, 22, 24]
        assert found["numbers"].tolist() == [0, 0, 0, 0, 2, 2, 2]
        assert found["numbers"].dtype == torch.int64
        assert found["flags"].tolist() == [False] * 4 + [True] * 3
        first = sum(ALL[:rank])
        place = torch.arange(float(first), first + counts)
        assert torch.equal(found["gathered.grad"], (6 * place)[:, None].expand(-1, 2))


def test_a_ring_sums_over_all_pairs_of_ranks_and_brings_the_gradients_home(ranks: Found) -> None:
    blocks = [torch.arange(2.0 * n).view(-1, 2) + 10 * r for r, n in enumerate(ALL)]
    for rank, block in enumerate(blocks):
        found = ranks[rank]["primitives"]
        squares = sum((r + 1) * b.square().sum() for r, b in enumerate(blocks))
        torch.testing.assert_close(found["total"], 2 * (rank + 1) * squares)
        torch.testing.assert_close(found["unlearned"], found["total"])
        torch.testing.assert_close(found["weight.grad"], 3 * (rank + 1) * squares)
        # 3 (upstream) x 2 (weight) x (1 + 2 + 3) (ranks visited) x 2 (square)
        torch.testing.assert_close(found["block.grad"], 72 * (rank + 1) * block)


def test_the_sigmoid_loss_never_has_more_texts_than_a_rank_has(ranks: Found) -> None:
    assert [rank["ring rows"] for rank in ranks] == [16, 16, 16]


def test_losses_of_one_process_take_no_group() -> None:
    batch, module = pairs(), towers()
    images, texts, *_ = module(batch)
    local = info_nce(images, texts, module.logit_scale, group=None)
    torch.testing.assert_close(local, expected("info_nce")["loss"], rtol=1e-6, atol=0)


def test_a_matrix_of_positives_is_refused_with_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from seesay.train import objectives
    from seesay.train.gather import Share

    group: Any = object()
    monkeypatch.setattr(objectives, "share_of", lambda rows, _: Share((3, 4), 0, group))
    vectors = torch.eye(3)
    with pytest.raises(UsageError, match="one process only"):
        info_nce(vectors, vectors, torch.tensor(0.0), positives=vectors.bool(), group=group)
