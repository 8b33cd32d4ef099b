"""What a model of one kind begins with that was trained as another: fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from seesay.errors import UsageError
from seesay.families.blip.configs import BlipConfig, Kind

BEGINS: dict[str, tuple[Kind, ...]] = {
    "pretraining": ("retrieval", "captioning", "vqa", "nlvr", "classification"),
    "retrieval": ("nlvr", "classification"),
}
"""Kind -> the kinds that find their beginning in it."""
HEADS: dict[Kind, tuple[str, ...]] = {
    "retrieval": ("image_projection.", "text_projection.", "itm_head.", "logit_scale"),
    "captioning": ("lm_head.",),
    "vqa": ("lm_head.",),
}
"""Kind -> beginnings of the names of what it has besides networks, and the other had, too."""


def begun(
    config: BlipConfig,
    tensors: Mapping[str, Tensor],
    objective: str,
    classes: tuple[str, ...] = (),
) -> tuple[BlipConfig, dict[str, Tensor], tuple[str, ...]]:
    """Return what the model begins with that an objective trains.

    An encoder reads with the self-attention of the pre-trained encoder, a writer with that of the
    decoder, and both have what these shared. The two attentions of NLVR2 begin alike.

    Paper: arXiv 2201.12086, section 5.
    Reference: salesforce/BLIP, models/blip.py and blip_nlvr.py, load_checkpoint.
    Differs: nothing known.

    Args:
        config: Of the model there is.
        tensors: Its state dict.
        objective: What shall be trained. Nothing changes where a model of this kind is trained for
            it as it is.
        classes: What a classifier shall choose from. One that knows them all, and perhaps more,
            stays as it is.

    Returns:
        A configuration, tensors, and patterns of the names of those that have to be drawn afresh.

    Raises:
        UsageError: A model of this kind has no beginning for it.
    """
    known: tuple[Kind, ...] = BEGINS["pretraining"]
    kind = next((kind for kind in known if kind == objective), None)
    same = kind == config.kind and set(classes) <= set(config.class_names)
    if kind is None or same:
        return config, dict(tensors), ()
    if kind != config.kind and kind not in BEGINS.get(config.kind, ()):
        raise UsageError(
            f"a BLIP that was trained for {config.kind} has no beginning for {objective}",
            f"go on from one that was pre-trained, or trained for {objective}",
        )
    text = replace(config.text, two_way=False, sources=2 if kind == "nlvr" else 1)
    told = replace(config, kind=kind, text=text, num_classes=len(classes) or 2, class_names=classes)
    kept = ("image.", *HEADS.get(kind, ()))
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(kept)}
    if kind == "vqa":
        found |= _text(tensors, "encoder.", causal=False) | _text(tensors, "decoder.", causal=True)
        # the decoder looks at the question, not at the image: only like widths fit
        if config.image.width == config.text.width:
            return told, found, ()
        looks = (".cross_attention.k_proj.", ".cross_attention.v_proj.")
        unfit = [n for n in found if n.startswith("decoder.") and any(look in n for look in looks)]
        fresh = ("decoder.*.cross_attention.[kv]_proj.*",)
        return told, {n: tensor for n, tensor in found.items() if n not in unfit}, fresh
    found |= _text(tensors, "text.", causal=kind == "captioning")
    if kind == "nlvr":
        return told, _twins(found), ("head.*", "*.merge.*")
    return told, found, ("head.*",) if kind == "classification" else ()


def _text(tensors: Mapping[str, Tensor], prefix: str, *, causal: bool) -> dict[str, Tensor]:
    """The text network as the encoder or the decoder has it, under another name."""
    found = {}
    for name, tensor in tensors.items():
        own = ".causal_attention" in name
        shared = not own and ".attention" not in name
        if name.startswith("text.") and (shared or own is causal):
            plain = name.removeprefix("text.").replace(".causal_attention", ".attention")
            found[prefix + plain] = tensor.clone()  # two networks may now hold it
    return found


def _twins(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every attention to an image, twice."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        before, cross, after = name.partition(".cross_attention.")
        names = [f"{before}{cross}{n}.{after}" for n in ("first", "second")] if cross else [name]
        found |= {each: tensor.clone() for each in names}
    return found
