"""Whether a checkpoint can write: what happens when the wrong one of its tables was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from seesay.families.florence2.keys import length

if TYPE_CHECKING:
    from seesay.model import Model

TOKENS = 8
"""How many are written; large models begin some answers with `<s>` several times."""


def health(model: Model) -> dict[str, Any]:
    """Return how long the rows of the tables of tokens are, and what the model begins to write.

    A model whose tables were mixed up when it was saved writes `<s>` for ever, whatever it is
    shown. So it is shown an empty picture, and asked for a caption.
    """
    from seesay.generation.decoding import decode
    from seesay.generation.options import Options

    module: Any = model.module
    processor: Any = model.processor
    text, tied = module.text, model.config.text.tied
    tables = {"read": text.token_embedding}
    if not tied:
        tables |= {"written": text.decoder_embedding, "predicted": text.lm_head}
    told: dict[str, Any] = {
        "tables_are_one": tied,
        "row_lengths": {name: round(length(t.weight), 4) for name, t in tables.items()},
    }
    if processor.tokenizer is None:
        return told
    pixels = torch.zeros(1, 3, *processor.image.size, dtype=model.dtype)
    asked = processor.prompts("caption", ["<CAPTION>"])._replace(pixels=pixels)
    options = Options(max_new_tokens=TOKENS)
    with torch.inference_mode():
        finite = bool(module(asked).isfinite().all())
        ids = decode(module, asked, options, end_ids=processor.end_ids)[0][0].ids if finite else []
    written = processor.decode([ids])[0]
    return told | {"begins_with": written, "writes": bool(written.strip())}
