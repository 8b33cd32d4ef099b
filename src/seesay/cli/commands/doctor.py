"""`seesay doctor`: what often goes wrong on a machine, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from seesay.cli.output import print_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> int:
    """Check this machine: versions, processor, memory, disk, network switch, default model."""
    checks = [check() for check in CHECKS]
    if as_json:
        print_json([{"check": n, "ok": ok, "found": f, "fix": fix} for n, ok, f, fix in checks])
    else:
        for name, ok, found, fix in checks:
            click.echo(f"{'ok  ' if ok else 'FIX '} {name}: {found}")
            if not ok:
                click.echo(f"       {fix}")
    return 0 if all(ok for _, ok, _, _ in checks) else 4


Check = tuple[str, bool, str, str]


def _packages() -> Check:
    names = ("torch", "numpy", "pillow", "safetensors", "tokenizers", "huggingface_hub")
    found = ", ".join(f"{name} {_version(name) or 'missing'}" for name in names)
    ok = all(_version(name) for name in names)
    return "packages", ok, f"Python {platform.python_version()}, {found}", "pip install seesay"


def _torchvision() -> Check:
    """A torchvision that does not match torch breaks packages that look for it, not seesay."""
    found = _version("torchvision")
    if found is None:
        return "torchvision", True, "not installed, not needed", ""
    try:
        __import__("torchvision")
    except Exception as error:
        fix = "pip uninstall torchvision, or install the build that matches your torch"
        return "torchvision", False, f"{found} does not load ({error})", fix
    return "torchvision", True, f"{found}, not used", ""


def _processor() -> Check:
    import torch

    abilities = [
        name
        for name, test in (
            ("AVX-512", torch.cpu._is_avx512_supported),
            ("bfloat16", torch.cpu._is_avx512_bf16_supported),
            ("AMX", torch.cpu._is_amx_tile_supported),
        )
        if test()
    ]
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return "processor", True, f"{threads}, {', '.join(abilities) or 'no bfloat16: float32'}", ""


def _gpu() -> Check:
    import torch

    if not torch.cuda.is_available():
        return "gpu", True, "none, the processor is used", ""
    return "gpu", True, torch.cuda.get_device_name(), ""


def _disk() -> Check:
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    there = home
    while not os.path.exists(there):
        there = os.path.dirname(there)
    free = shutil.disk_usage(there).free / 1e9
    fix = "free some space, or set HF_HOME to another disk"
    return "disk", free > 2, f"{free:.0f} GB free for {home}", fix


def _network() -> Check:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "ON", "YES")
    found = "HF_HUB_OFFLINE is set: nothing is downloaded" if offline else "downloads on demand"
    return "hub", True, found, ""


def _default_model() -> Check:
    from seesay.errors import SeesayError
    from seesay.model import load
    from seesay.registry import DEFAULT_MODEL

    try:
        model = load(DEFAULT_MODEL, device="cpu")
        length = float(model.embed_texts(["a red bicycle"]).norm())
    except SeesayError as error:
        return "default model", False, str(error), "install seesay again"
    return "default model", abs(length - 1) < 1e-3, f"{DEFAULT_MODEL} loads and answers", ""


CHECKS: tuple[Callable[[], Check], ...] = (
    _packages,
    _torchvision,
    _processor,
    _gpu,
    _disk,
    _network,
    _default_model,
)


def _version(name: str) -> Any:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
