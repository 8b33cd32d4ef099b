"""BLIP as its authors published it: files of the BLIP repository and of LAVIS, alone.

Each is a pickle of a state dict and what its training left: its settings, the optimiser, the slow
copies and the queue of contrastive learning. Only the model's own tensors are read.

What tensors cannot say is always the same in the releases. Where it is not, it stands beside them,
in the file that the authors' code reads for its text networks: med_config.json. About images, that
code reads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seesay.checkpoints.files import Source, write_json
from seesay.checkpoints.keymap import Drop, KeyMap, Temperature
from seesay.errors import CheckpointError
from seesay.families.blip.configs import BlipConfig, Kind
from seesay.families.blip.hf import ACTIVATIONS
from seesay.families.blip.keys import head_rules, text_rules, vision_rules
from seesay.families.blip.processing import BlipProcessor, published_settings
from seesay.family import Layout
from seesay.networks.bert import BertConfig
from seesay.networks.vit import VitConfig
from seesay.processing.wordpiece import WordPieceTokenizer
from seesay.protocols import Processor

BESIDE = "med_config.json"
HEAD_WIDTH = 64
_USUAL: dict[str, Any] = {
    "num_attention_heads": None,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.1,
    "class_names": [],
    "embed_dim": 256,
    "vision_config": {},
}
_USUAL_IMAGE: dict[str, Any] = {
    "num_attention_heads": None,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
"""What the tensors do not say; no number of heads means that each is 64 wide."""

_SLOW = "a slow copy that training compares with; training begins with a new one"
_QUEUE = "vectors of earlier batches that training compares with; training begins with new ones"


def original_config(source: Source) -> BlipConfig:
    """Read kind and sizes off the tensors, and what they cannot say from med_config.json.

    Raises:
        CheckpointError: These are not the tensors of a BLIP model.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in source.tensors.items()}
    kind = kind_of(shapes)
    network = "text_decoder.bert" if kind == "captioning" else "text_encoder"
    layer = f"{network}.encoder.layer"
    cross = "self0" if kind == "nlvr" else "self"
    said = _USUAL | (source.json(BESIDE) or {})
    seen = _USUAL_IMAGE | said["vision_config"]
    try:
        width = shapes["visual_encoder.cls_token"][-1]
        patch = shapes["visual_encoder.patch_embed.proj.weight"][-1]
        side = round((shapes["visual_encoder.pos_embed"][1] - 1) ** 0.5) * patch
        vocab_size, text_width = shapes[f"{network}.embeddings.word_embeddings.weight"]
        image = VitConfig(
            image_size=(side, side),
            patch_size=patch,
            width=width,
            depth=_count(shapes, r"visual_encoder\.blocks\.(\d+)\."),
            num_heads=seen["num_attention_heads"] or width // HEAD_WIDTH,
            mlp_width=shapes["visual_encoder.blocks.0.mlp.fc1.weight"][0],
            activation=ACTIVATIONS[seen["hidden_act"]],
            eps=seen["layer_norm_eps"],
        )
        text = BertConfig(
            vocab_size=vocab_size,
            max_length=shapes[f"{network}.embeddings.position_embeddings.weight"][0],
            width=text_width,
            depth=_count(shapes, re.escape(layer) + r"\.(\d+)\."),
            num_heads=said["num_attention_heads"] or text_width // HEAD_WIDTH,
            mlp_width=shapes[f"{layer}.0.intermediate.dense.weight"][0],
            activation=ACTIVATIONS[said["hidden_act"]],
            eps=said["layer_norm_eps"],
            dropout=said["hidden_dropout_prob"],
            source_width=shapes[f"{layer}.0.crossattention.{cross}.key.weight"][1],
            two_way=kind == "pretraining",
            sources=2 if kind == "nlvr" else 1,
        )
        told: dict[str, Any] = {"embed_width": said["embed_dim"]}
        if kind in ("pretraining", "retrieval"):
            told["embed_width"] = shapes["vision_proj.weight"][0]
        elif kind in ("nlvr", "classification"):
            told["num_classes"] = shapes["cls_head.2.weight"][0]
            told["class_names"] = tuple(said["class_names"])
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{source.path} has tensors, but not those of BLIP for {kind} ({error} is not among "
            "them)"
        ) from None
    return BlipConfig(kind=kind, image=image, text=text, **told)


def kind_of(names: Mapping[str, Any]) -> Kind:
    """Return what a state dict was trained for, which its parts tell."""
    parts = {name.split(".")[0] for name in names}
    if "text_decoder" in parts:
        if "text_encoder" not in parts:
            return "captioning"
        return "pretraining" if "vision_proj" in parts else "vqa"
    if "cls_head" not in parts:
        return "retrieval"
    twin = any(".crossattention.self0." in name for name in names)
    return "nlvr" if twin else "classification"


def _count(names: Mapping[str, Any], pattern: str) -> int:
    found = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def original_keymap(config: BlipConfig) -> KeyMap:
    """Keys of the BLIP repository, and of LAVIS's models of BLIP."""
    top = {
        "class": "visual_encoder.cls_token",
        "positions": "visual_encoder.pos_embed",
        "patches": "visual_encoder.patch_embed.proj",
        "norm": "visual_encoder.norm",
    }
    parts = {"qkv": "attn.qkv", "out": "attn.proj", "norm1": "norm1", "norm2": "norm2"}
    queues = ("image_queue", "text_queue", "idx_queue", "queue_ptr", "ptr_queue")
    return KeyMap(
        *vision_rules(config.image.width, top, "visual_encoder.blocks.{i}", parts),
        *text_rules(config, copies=True),
        Temperature("temp", "logit_scale"),
        *head_rules(config),
        Drop("{part}_m.{rest...}", _SLOW),
        *(Drop(name, _QUEUE) for name in queues),
    )


def _recognises(source: Source) -> bool:
    names = source.tensors.keys()
    texts = ("text_encoder.", "text_decoder.bert.")
    return "visual_encoder.cls_token" in names and any(name.startswith(texts) for name in names)


def _files(config: BlipConfig, processor: Processor, folder: Path) -> str:
    """Nothing lies beside the weights, unless something is not as it always is."""
    image, text = config.image, config.text
    if image.image_size[0] != image.image_size[1] or image.pre_norm or not image.patch_bias:
        raise CheckpointError("BLIP's own layout holds no such image tower")
    names = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    projects = config.kind in ("pretraining", "retrieval")  # then the tensors tell the width
    seen = {
        "num_attention_heads": _unusual(image.num_heads, image.width),
        "hidden_act": names[image.activation],
        "layer_norm_eps": image.eps,
    }
    said = {
        "num_attention_heads": _unusual(text.num_heads, text.width),
        "hidden_act": names[text.activation],
        "layer_norm_eps": text.eps,
        "hidden_dropout_prob": text.dropout,
        "class_names": list(config.class_names),
        "embed_dim": _USUAL["embed_dim"] if projects else config.embed_width,
        "vision_config": {} if seen == _USUAL_IMAGE else seen,
    }
    if said != _USUAL:
        sizes = {
            "hidden_size": text.width,
            "intermediate_size": text.mlp_width,
            "num_hidden_layers": text.depth,
            "max_position_embeddings": text.max_length,
            "vocab_size": text.vocab_size,
            "encoder_width": image.width,
            "attention_probs_dropout_prob": text.dropout,
        }
        said["num_attention_heads"] = text.num_heads
        write_json(folder / BESIDE, sizes | said)
    assert isinstance(processor, BlipProcessor)
    tokens = processor.tokenizer
    if tokens is not None and tokens.digest != WordPieceTokenizer.published().digest:
        processor.save(folder)
    return "model.pth"


def _unusual(num_heads: int, width: int) -> int | None:
    return None if num_heads == width // HEAD_WIDTH else num_heads


BLIP = Layout(
    name="blip",
    files=("*.pth", "*.pt", "*.bin", "*.safetensors"),
    recognises=_recognises,
    config=original_config,
    # [DEC] and [ENC] are the last two of the vocabulary
    settings=lambda _, config: published_settings(
        config.image.image_size, start_id=config.text.vocab_size - 2
    ),
    keymap=original_keymap,
    companions=_files,
    wrapped="model",
)
