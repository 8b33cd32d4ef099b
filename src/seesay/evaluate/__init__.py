"""How good a model is on your data: one function per question, each returning a `Report`.

    report = seesay.evaluate.retrieval(model, dataset)
    report.metrics["text_to_image_r@1"]
    report.save("report")

What every figure means is in docs/evaluation.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seesay.evaluate.answers import answering
    from seesay.evaluate.caption_caption import cra
    from seesay.evaluate.captions import caption_scores, captioning
    from seesay.evaluate.image_text import retrieval
    from seesay.evaluate.instructions import instructed
    from seesay.evaluate.pair_matching import matching
    from seesay.evaluate.predictions import read_predictions
    from seesay.evaluate.report import Report
    from seesay.evaluate.statements import comparing
    from seesay.evaluate.zero_shot import zeroshot

__all__ = [
    "Report",
    "answering",
    "caption_scores",
    "captioning",
    "comparing",
    "cra",
    "instructed",
    "matching",
    "read_predictions",
    "retrieval",
    "zeroshot",
]

_LAZY = {
    "Report": "report",
    "answering": "answers",
    "caption_scores": "captions",
    "captioning": "captions",
    "comparing": "statements",
    "cra": "caption_caption",
    "instructed": "instructions",
    "matching": "pair_matching",
    "read_predictions": "predictions",
    "retrieval": "image_text",
    "zeroshot": "zero_shot",
}


def __getattr__(name: str) -> Any:
    # the command line's help must not cost an import of torch
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"seesay.evaluate.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'seesay.evaluate' has no attribute {name!r}")
