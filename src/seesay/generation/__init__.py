"""Texts from generators: greedy, sampled, searched with beams, streamed, and scored.

`decode` serves every module that satisfies `seesay.protocols.Generator`. It knows no cache: it
calls `prefill` once, `step` for each token, and `reorder` when beams change places or images are
done. docs/generation.md is the user's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seesay.generation.options import Options

if TYPE_CHECKING:
    from seesay.generation.decoding import decode, stream
    from seesay.generation.rules import Draft, Rule
    from seesay.generation.scoring import Scores, first_logprobs, rank, score
    from seesay.generation.written import Piece, Written

__all__ = [
    "Draft",
    "Options",
    "Piece",
    "Rule",
    "Scores",
    "Written",
    "decode",
    "first_logprobs",
    "rank",
    "score",
    "stream",
]

_LAZY = {
    "Draft": "rules",
    "Piece": "written",
    "Rule": "rules",
    "Scores": "scoring",
    "Written": "written",
    "decode": "decoding",
    "first_logprobs": "scoring",
    "rank": "scoring",
    "score": "scoring",
    "stream": "decoding",
}


def __getattr__(name: str) -> Any:
    # options are read by command lines and declarations, which must not cost an import of torch
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"seesay.generation.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'seesay.generation' has no attribute {name!r}")
