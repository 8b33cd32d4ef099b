"""Two processes learn to write and to choose what one process learns."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from seesay.train.config import DataConfig, TrainConfig
from seesay.train.run import run
from train import asked, made, prompted
from train.test_parallel import close

SECONDS = 240


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    paths = {
        "captioning": made.pictures(tmp_path / "pictures"),
        "vqa": asked.questions(tmp_path / "questions"),
        "nlvr": asked.statements(tmp_path / "statements"),
    }
    configs = {}
    for kind, path in paths.items():
        base = asked.steady(kind, tmp_path / f"{kind}-base")
        # five for two processes: one has three in two parts, the other two in one and nothing
        data = DataConfig(path=str(path), batch_size=5, workers=0, micro_batch=2)
        configs[kind] = asked.config(
            path, kind, model=str(base), init="pretrained", data=data, steps=3
        )
    told = prompted.rows(tmp_path / "prompts")
    data = DataConfig(path=str(told), batch_size=5, workers=0, micro_batch=2)
    base = prompted.steady(tmp_path / "instruct-base")
    configs["instruct"] = prompted.config(told, base, data=data, steps=3)
    two = dict(configs)
    two["sharded"] = dataclasses.replace(configs["captioning"], strategy="fsdp2")
    context = mp.spawn(_work, (str(tmp_path), two), nprocs=2, join=False)
    ends = time.monotonic() + SECONDS
    try:
        while not context.join(ends - time.monotonic()):  # comes back whenever one has ended
            assert time.monotonic() < ends, "a rank did not come to an end"
    finally:
        for process in context.processes:
            process.kill()
    for kind, config in configs.items():
        whole = dataclasses.replace(config.data, micro_batch=None)
        config = dataclasses.replace(config, data=whole)
        run(config, tmp_path / f"{kind}-one", quiet=True, device="cpu")
        close(tmp_path / f"{kind}-one", tmp_path / f"{kind}-two")
    close(tmp_path / "captioning-one", tmp_path / "sharded-two")


def _work(rank: int, folder: str, configs: dict[str, TrainConfig]) -> None:
    torch.set_num_threads(1)
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback[0], "RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=SECONDS // 2),
    )
    for kind, config in configs.items():
        run(config, Path(folder) / f"{kind}-two", quiet=True, device="cpu")
    dist.destroy_process_group()
