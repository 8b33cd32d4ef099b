"""Vectors of photographs that nobody has: what the image tower might say of a picture of a text.

Decoding from a space of texts is arXiv 2303.03032's way to captions without pictures. Here the
text's vector is sent round by the trunk's classes, as every photograph's is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from seesay.families.mini.model import Mini
from seesay.recipes.mini import evaluate
from seesay.recipes.mini.corpus import Pair


def text_vectors(
    work: Path, model: Mini, tokenizer: Tokenizer, name: str, pairs: Sequence[Pair]
) -> Tensor:
    """Return unit vectors [N, E] of the English texts, computed once."""
    path = work / "told" / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(
            path, evaluate.text_vectors(model, tokenizer, [p.english for p in pairs]).half().numpy()
        )
    return torch.from_numpy(np.load(path))


def taken_for(model: Mini, texts: Tensor, generator: torch.Generator) -> Tensor:
    """Return the vectors of imagined photographs of texts [N, E].

    By name: the classes whose vectors are like the text's, disturbed as much as the trunk errs. By
    sight: a little of the text, some of what was named, and noise.
    """
    count = len(texts)
    classes = F.normalize(model.names.vectors.detach(), dim=-1)
    sharp = 8 + 16 * torch.rand(count, 1, generator=generator)
    noise = torch.rand(count, len(classes), generator=generator).clamp(1e-6, 1 - 1e-6)
    wild = 0.3 + 1.4 * torch.rand(count, 1, generator=generator)
    logits = sharp * (texts @ classes.T) - wild * torch.log(-torch.log(noise))
    named = F.normalize(logits.softmax(-1) @ model.names.vectors.detach(), dim=-1)
    random = F.normalize(torch.randn(texts.shape, generator=generator), dim=-1)
    clear = 0.1 + 0.3 * torch.rand(count, 1, generator=generator)
    sight = F.normalize(clear * texts + 0.45 * named + 0.8 * random, dim=-1)
    return F.normalize(named + 0.75 * sight, dim=-1)
