"""CLIP as OpenAI published it: TorchScript archives and state dicts, with nothing beside them."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from seesay.checkpoints.files import Source
from seesay.checkpoints.keymap import Constant, Drop, KeyMap, Rename, Rule, Split, Transpose
from seesay.errors import CheckpointError
from seesay.families.clip.configs import ClipConfig, check_plain
from seesay.families.clip.processing import published_settings
from seesay.family import Layout
from seesay.networks.causaltext import CausalTextConfig
from seesay.networks.resnet import ResNetConfig
from seesay.networks.vit import VitConfig
from seesay.processing.bytepairs import published_end
from seesay.protocols import Processor

_log = logging.getLogger("seesay")


def openai_keymap(config: ClipConfig) -> KeyMap:
    """Keys of OpenAI's state dicts and of open_clip's, with and without its `text.` prefix."""
    vit = isinstance(config.image, VitConfig)
    return KeyMap(
        *(_openai_vit() if vit else _openai_resnet()),
        *_openai_text(""),
        *_openai_text("text."),
        Rename("logit_scale", "logit_scale"),
        *(Drop(name, why="a number of the configuration") for name in _numbers(config)),
        Drop("{prefix...}.attn_mask", why="the causal mask, rebuilt"),
        Drop("attn_mask", why="the causal mask, rebuilt"),
    )


def _numbered_keymap(config: ClipConfig) -> KeyMap:
    """OpenAI's own files hold three numbers as tensors: by these its weights are told from others.

    open_clip does not write them, and reads them without minding.
    """
    numbers = _numbers(config).items()
    return KeyMap(*(Constant(*number) for number in numbers), *openai_keymap(config).rules)


def _numbers(config: ClipConfig) -> dict[str, int]:
    return {
        "input_resolution": config.image.image_size[0],
        "context_length": config.text.max_length,
        "vocab_size": config.text.vocab_size,
    }


def _openai_blocks(theirs: str, ours: str) -> list[Rule]:
    layer, block = f"{theirs}.resblocks.{{i}}", f"{ours}.blocks.{{i}}"
    parts = [f"{block}.attention.{part}_proj." for part in "qkv"]
    return [
        Split(f"{layer}.attn.in_proj_weight", [part + "weight" for part in parts]),
        Split(f"{layer}.attn.in_proj_bias", [part + "bias" for part in parts]),
        Rename(f"{layer}.attn.out_proj.{{p}}", f"{block}.attention.out_proj.{{p}}"),
        Rename(f"{layer}.ln_1.{{p}}", f"{block}.attention_norm.{{p}}"),
        Rename(f"{layer}.mlp.c_fc.{{p}}", f"{block}.mlp.fc1.{{p}}"),
        Rename(f"{layer}.mlp.c_proj.{{p}}", f"{block}.mlp.fc2.{{p}}"),
        Rename(f"{layer}.ln_2.{{p}}", f"{block}.mlp_norm.{{p}}"),
    ]


def _openai_vit() -> list[Rule]:
    return [
        *_openai_blocks("visual.transformer", "image"),
        Rename("visual.class_embedding", "image.class_embedding"),
        Rename("visual.positional_embedding", "image.position_embedding"),
        Rename("visual.conv1.{p}", "image.patch_embedding.{p}"),
        Rename("visual.ln_pre.{p}", "image.pre_norm.{p}"),
        Rename("visual.ln_post.{p}", "image.final_norm.{p}"),
        Transpose("visual.proj", "image_projection.weight"),
    ]


def _openai_resnet() -> list[Rule]:
    rules: list[Rule] = []
    for stage in range(4):
        theirs, ours = f"visual.layer{stage + 1}.{{i}}", f"image.stages.{stage}.{{i}}"
        rules += [
            Rename(f"{theirs}.downsample.0.{{p}}", f"{ours}.shortcut.conv.{{p}}"),
            Rename(f"{theirs}.downsample.1.{{p}}", f"{ours}.shortcut.bn.{{p}}"),
            Rename(f"{theirs}.{{layer}}.{{p}}", f"{ours}.{{layer}}.{{p}}"),
        ]
    pool = "image.pool.attention"
    return [
        *rules,
        Rename("visual.attnpool.positional_embedding", "image.pool.position_embedding"),
        Rename("visual.attnpool.c_proj.{p}", f"{pool}.out_proj.{{p}}"),
        Rename("visual.attnpool.{part}.{p}", f"{pool}.{{part}}.{{p}}"),
        Rename("visual.{layer}.{p}", "image.stem.{layer}.{p}"),
    ]


def _openai_text(prefix: str) -> list[Rule]:
    return [
        *_openai_blocks(f"{prefix}transformer", "text"),
        Rename(f"{prefix}token_embedding.{{p}}", "text.token_embedding.{p}"),
        Rename(f"{prefix}positional_embedding", "text.position_embedding"),
        Rename(f"{prefix}ln_final.{{p}}", "text.final_norm.{p}"),
        Transpose(f"{prefix}text_projection", "text_projection.weight"),
    ]


def openai_config(source: Source) -> ClipConfig:
    """Read the configuration off the shapes, as the original importer does: heads are 64 wide.

    Raises:
        CheckpointError: These are not the tensors of a CLIP model.
    """
    shapes = {name.removeprefix("text."): tuple(t.shape) for name, t in source.tensors.items()}
    try:
        width, mlp_width = shapes["ln_final.weight"][0], shapes[_FIRST_MLP][0]
        vocab_size = shapes["token_embedding.weight"][0]
        text = CausalTextConfig(
            vocab_size=vocab_size,
            max_length=shapes["positional_embedding"][0],
            width=width,
            depth=_count(shapes, r"transformer\.resblocks\.(\d+)\."),
            num_heads=width // 64,
            mlp_width=mlp_width,
            activation="quick_gelu",
            end_id=published_end(vocab_size),
        )
        image = _vit_of(shapes) if "visual.proj" in shapes else _resnet_of(shapes)
        embed_width = shapes["text_projection"][1]
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"{source.path} has tensors, but not CLIP's ({error} is not among them)"
        ) from None
    if not source.scripted and "input_resolution" not in shapes:
        _log.warning(
            "%s does not say which activation it was trained with; reading it as OpenAI's "
            "(QuickGELU). For open_clip weights put open_clip_config.json beside it.",
            source.path,
        )
    return ClipConfig(embed_width=embed_width, image=image, text=text)


_FIRST_MLP = "transformer.resblocks.0.mlp.c_fc.weight"


def _vit_of(shapes: dict[str, tuple[int, ...]]) -> VitConfig:
    width, _, _, patch = shapes["visual.conv1.weight"]
    side = round((shapes["visual.positional_embedding"][0] - 1) ** 0.5) * patch
    return VitConfig(
        image_size=(side, side),
        patch_size=patch,
        width=width,
        depth=_count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."),
        num_heads=width // 64,
        mlp_width=shapes[f"visual.{_FIRST_MLP}"][0],
        activation="quick_gelu",
        pre_norm=True,
        patch_bias=False,
    )


def _resnet_of(shapes: dict[str, tuple[int, ...]]) -> ResNetConfig:
    width = shapes["visual.layer1.0.conv1.weight"][0]
    side = round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5) * 32
    depths = tuple(_count(shapes, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4))
    return ResNetConfig(
        image_size=(side, side),
        depths=depths,  # type: ignore[arg-type]
        width=width,
        num_heads=width * 32 // 64,
    )


def _count(shapes: dict[str, tuple[int, ...]], pattern: str) -> int:
    found = (re.match(pattern, name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _openai_files(config: ClipConfig, processor: Processor, folder: Path) -> str:
    """Nothing lies beside the weights, so all they cannot say must be as it always is."""
    towers: list[CausalTextConfig | VitConfig] = [config.text]
    if isinstance(config.image, VitConfig):
        towers.append(config.image)
    for tower in towers:
        told = tower.activation == "quick_gelu" and tower.eps == 1e-5
        if not told or tower.width // 64 != tower.num_heads:
            raise CheckpointError(
                "OpenAI's layout cannot record an activation other than QuickGELU, an eps other "
                "than 1e-5, or heads that are not 64 wide",
                "convert to open_clip or hf",
            )
    check_plain(config, "OpenAI's layout")
    return "model.pt"


OPENAI = Layout(
    name="openai",
    files=("*.pt", "*.pth", "*.bin", "*.safetensors"),
    recognises=lambda source: "visual.conv1.weight" in source.tensors,
    config=openai_config,
    settings=lambda _, config: published_settings(config.image.image_size),
    keymap=_numbered_keymap,
    companions=_openai_files,
)
