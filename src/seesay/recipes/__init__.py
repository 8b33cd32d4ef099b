"""Named training runs: functions that return a `TrainConfig`, and scripts that build a model.

`seesay train NAME` finds a recipe here; `seesay cp NAME my.py` copies one to change at will.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.errors import UsageError, nearest
from seesay.family import resolve

if TYPE_CHECKING:
    from seesay.train.config import TrainConfig

RECIPES: dict[str, tuple[str, str]] = {
    "finetune": ("seesay.recipes.tune:finetune", "Go on with both towers on your own pictures."),
    "lora": ("seesay.recipes.tune:lora", "Train low-rank adapters beside frozen weights."),
    "lit": ("seesay.recipes.tune:lit", "Lock the image tower, train the text tower."),
    "heads": ("seesay.recipes.tune:heads", "Freeze both towers, train what projects them."),
    "probe": ("seesay.recipes.tune:probe", "A linear classifier on frozen image features."),
    "caption": ("seesay.recipes.blip_tuning:caption", "Teach a captioner your own captions."),
    "vqa": ("seesay.recipes.blip_tuning:vqa", "Teach a model to answer your own questions."),
    "nlvr": (
        "seesay.recipes.blip_tuning:nlvr",
        "Teach a model to judge statements on two pictures.",
    ),
    "entail": (
        "seesay.recipes.blip_tuning:entail",
        "Teach a model what follows from a picture, or other classes of pairs.",
    ),
    "scratch": ("seesay.recipes.scratch:scratch", "A small CLIP from random weights in minutes."),
    "clip": ("seesay.recipes.published:clip", "CLIP ViT-B/32 as published."),
    "siglip": ("seesay.recipes.published:siglip", "SigLIP base/16 as published."),
    "unicl": ("seesay.recipes.published:unicl", "UniCL Swin-T as published."),
    "florence": ("seesay.recipes.published:florence", "Florence's schedule on the UniCL towers."),
    "slip": ("seesay.recipes.published:slip", "SLIP ViT-B/16 as published."),
    "blip-caption": ("seesay.recipes.blip_tuning:blip_caption", "BLIP's captioning on COCO."),
    "blip-vqa": ("seesay.recipes.blip_tuning:blip_vqa", "BLIP's VQA."),
    "blip-nlvr": ("seesay.recipes.blip_tuning:blip_nlvr", "BLIP's NLVR2."),
    "blip-okvqa": ("seesay.recipes.blip_tuning:blip_okvqa", "OK-VQA, from BLIP's VQA, as LAVIS."),
    "docvqa": (
        "seesay.recipes.florence2:docvqa",
        "Teach Florence-2 to answer questions about documents.",
    ),
    "docvqa-published": (
        "seesay.recipes.florence2:docvqa_published",
        "Florence-2 on DocVQA as published, mended.",
    ),
    "florence2": (
        "seesay.recipes.florence2:florence2",
        "Teach Florence-2 your own prompts: captions, boxes, text, questions.",
    ),
    "florence2-lora": (
        "seesay.recipes.florence2:florence2_lora",
        "The same with adapters, on the vision tower too.",
    ),
    "retrieval": (
        "seesay.recipes.blip:retrieval",
        "Teach a model to find and to judge your own pictures.",
    ),
    "blip-scratch": ("seesay.recipes.blip:scratch", "A small BLIP from random weights in minutes."),
    "blip-pretrain": ("seesay.recipes.blip:pretrain", "BLIP base/16's pre-training."),
    "blip-retrieval-coco": ("seesay.recipes.blip:retrieval_coco", "BLIP's retrieval on COCO."),
    "blip-retrieval-flickr": (
        "seesay.recipes.blip:retrieval_flickr",
        "BLIP's retrieval on Flickr30k.",
    ),
}
"""Name -> where the function is, and its line of help. Listing them imports no torch."""


def recipe(name: str) -> TrainConfig:
    """Return a configuration by the name of a recipe, or read it from a file.

    Args:
        name: A recipe; a run's config.json, or the run; a .py file with a function `recipe`.

    Raises:
        UsageError: There is none, or the file holds none.
    """
    if name in RECIPES:
        found: TrainConfig = resolve(RECIPES[name][0])()
        return found
    path = Path(name)
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    if path.suffix == ".json" and path.is_file():
        from seesay.train.config import read_config

        return read_config(path)
    if path.suffix == ".py" and path.is_file():
        return _from_file(path)
    if path.suffix in (".py", ".json") or "/" in name:
        raise UsageError(f"there is no file {name}, and no run with a config.json")
    raise UsageError(
        f"there is no recipe {name!r}.{nearest(name, RECIPES)}", f"known: {', '.join(RECIPES)}"
    )


def source(name: str) -> str:
    """Return the text of a file that makes the same configuration, to be changed at will.

    Raises:
        UsageError: There is no such recipe.
    """
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe {name!r}.{nearest(name, RECIPES)}", f"known: {', '.join(RECIPES)}"
        )
    used: set[str] = set()
    written = _written(recipe(name), used, " " * 4)
    names = "".join(f"    {kind},\n" for kind in sorted(used))
    return (
        f'"""{RECIPES[name][1]} Run it: seesay train FILE --data PATH --out RUN."""\n\n'
        f"from seesay.train.config import (\n{names})\n\n\n"
        f"def recipe() -> TrainConfig:\n    return {written}\n"
    )


def _written(value: Any, used: set[str], indent: str) -> str:
    """A configuration as Python, without what is usual; collects the classes it names."""
    if not dataclasses.is_dataclass(value):
        return repr(value)
    kind: Any = type(value)
    used.add(kind.__name__)
    usual = kind()
    lines = [
        f"{indent}    {f.name}={_written(getattr(value, f.name), used, indent + ' ' * 4)},\n"
        for f in dataclasses.fields(value)
        if getattr(value, f.name) != getattr(usual, f.name)
    ]
    return f"{kind.__name__}(\n{''.join(lines)}{indent})" if lines else f"{kind.__name__}()"


def _from_file(path: Path) -> TrainConfig:
    import runpy

    from seesay.config import checked
    from seesay.train.config import TrainConfig

    try:
        made = runpy.run_path(str(path)).get("recipe")
        config = made() if callable(made) else None
    except Exception as error:  # whatever a user's file does
        raise UsageError(
            f"{path}: {type(error).__name__}: {error}", "--debug shows where"
        ) from error
    if not isinstance(config, TrainConfig):
        raise UsageError(f"{path} has no function recipe() that returns a TrainConfig")
    return checked(config)
