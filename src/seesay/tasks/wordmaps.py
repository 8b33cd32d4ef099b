"""Where in a picture the words of a text look: attention times its gradient.

Paper: arXiv 2107.07651, section 6.5, which applies arXiv 1610.02391 (Grad-CAM) to cross-attention.
Reference: salesforce/LAVIS, models/blip_models/blip_image_text_matching.py, compute_gradcam.
Differs: any number of heads and patches; words in place of word pieces; several texts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seesay.errors import UsageError
from seesay.tasks.match import pair_ids

if TYPE_CHECKING:
    from seesay.model import Model


class WordMaps(NamedTuple):
    """What the words of one text look at.

    Attributes:
        logits: No match and match, [2].
        words: The words.
        maps: Their relevance [W, P], not below 0; P counts image tokens, the class token included.
    """

    logits: Tensor
    words: list[str]
    maps: Tensor


def word_maps(
    model: Model, tokens: Tensor, texts: Sequence[str], layer: int | None = None
) -> list[WordMaps]:
    """Return what the words of some texts look at in one image.

    The map of a token is, averaged over the heads, its attention to the image tokens times what
    more of it would add to the logit of a match, where that is more than nothing.

    Args:
        model: A `protocols.WordLocaliser`.
        tokens: Image tokens [1, P, D].
        texts: At least one.
        layer: In which layer, from 0; the middle one when None.

    Raises:
        UsageError: There is no such layer, or the model was packed and has no gradients.
    """
    module: Any = model.module
    layers = module.attention_layers()
    index = len(layers) // 2 if layer is None else layer
    if not 0 <= index < len(layers):
        raise UsageError(f"layer={index} is none of 0 to {len(layers) - 1}")
    ids, mask = pair_ids(model, texts)
    with torch.enable_grad():
        # the image need not learn anything; it only makes the texts' way through a graph
        source = tokens.detach().clone().requires_grad_()
        kept, logits = _watched(layers[index], lambda: module.match(source, ids, mask).float())
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), kept["out_proj"])
    count, num_heads = len(ids), layers[index].num_heads

    def by_head(x: Tensor, rows: int) -> Tensor:
        """To [rows, tokens, H, d]."""
        return x.detach().float().reshape(rows, -1, num_heads, x.shape[-1] // num_heads)

    query, key = by_head(kept["q_proj"], count), by_head(kept["k_proj"], 1)[0]
    value, wanted = by_head(kept["v_proj"], 1)[0], by_head(gradient, count)
    attention = torch.einsum("nlhd,phd->nhlp", query, key).mul(query.shape[-1] ** -0.5).softmax(-1)
    # the gradient of attention: what is mixed is attention times values
    effect = torch.einsum("nlhd,phd->nhlp", wanted, value)
    maps = (attention * effect.clamp_min(0)).mean(1).cpu()  # [n, L, P]
    found = []
    for row, counts, each, logit in zip(ids, mask, maps, logits.detach().cpu(), strict=True):
        words = words_of(row[counts].tolist(), lambda some: _text(model, some))
        parts = [each[places].mean(0) for _, places in words]
        listed = torch.stack(parts) if parts else each.new_zeros(0, each.shape[-1])
        found.append(WordMaps(logit, [word for word, _ in words], listed))
    return found


def _watched(layer: Any, call: Callable[[], Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """What the projections of an attention layer gave, the last one was given, and the result."""
    kept: dict[str, Tensor] = {}
    if not all(hasattr(layer, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")):
        raise UsageError("a packed model has no gradients", "load it without optimize")

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: kept.update({name: output})

    handles = [
        getattr(layer, name).register_forward_hook(keep(name))
        for name in ("q_proj", "k_proj", "v_proj")
    ]
    handles.append(
        layer.out_proj.register_forward_pre_hook(
            lambda _module, inputs: kept.update({"out_proj": inputs[0]})
        )
    )
    try:
        return kept, call()
    finally:
        for handle in handles:
            handle.remove()


def words_of(
    ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> list[tuple[str, list[int]]]:
    """Return the words of a text, each with the positions of its tokens.

    A token belongs to the word before it when it adds to the text without a space. Tokens that add
    nothing, such as that of the start, are left out.
    """
    words: list[tuple[str, list[int]]] = []
    before = ""
    for i in range(len(ids)):
        text = decode(ids[: i + 1])
        begun = text[len(before) :] if text.startswith(before) else " " + decode([ids[i]])
        before = text
        if not begun.strip():
            continue
        if words and not begun[0].isspace():
            words[-1] = (words[-1][0] + begun, [*words[-1][1], i])
        else:
            words.append((begun.strip(), [i]))
    return words


def _text(model: Model, ids: Sequence[int]) -> str:
    processor: Any = model.processor
    text: str = processor.decode([ids])[0]
    return text
