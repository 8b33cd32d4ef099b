"""Every tensor of every released checkpoint has its place, at the real size, without its weights.

`published/` holds facts: what the released files are made of, and the configuration files that lie
beside them. The totals agree with the millions that open_clip's tables state.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import manifest
import pytest
import torch
from torch import Tensor

from seesay import registry
from seesay.checkpoints.files import Source
from seesay.errors import CheckpointError
from seesay.family import Family, Layout

PARAMETERS = {
    "clip-vit-b-32": 151_277_313,
    "clip-vit-b-16": 149_620_737,
    "clip-vit-l-14": 427_616_513,
    "clip-vit-l-14-336": 427_944_193,
    "clip-rn50": 102_007_137,
    "clip-rn101": 119_688_033,
    "clip-rn50x4": 178_300_601,
    "clip-rn50x16": 290_979_217,
    "clip-rn50x64": 623_258_305,
    "clip-vit-b-32-laion2b": 151_277_313,
    "clip-vit-b-16-laion2b": 149_620_737,
    "clip-vit-l-14-laion2b": 427_616_513,
    "clip-vit-h-14-laion2b": 986_109_441,
    "clip-vit-g-14-laion2b": 1_366_678_273,
    "clip-vit-bigg-14-laion2b": 2_539_567_105,
    "siglip-b-16-224": 203_155_970,
    "siglip-b-16-256": 203_202_050,
    "siglip-b-16-384": 203_447_810,
    "siglip-b-16-512": 203_791_874,
    "siglip-b-16-256-i18n": 370_626_050,
    "siglip-l-16-256": 652_150_786,
    "siglip-l-16-384": 652_478_466,
    "siglip-so400m-14-224": 877_360_306,
    "siglip-so400m-14-384": 877_960_498,
    "siglip-so400m-16-256-i18n": 1_128_758_962,
    "siglip2-b-32-256": 376_856_066,
    "siglip2-b-16-224": 375_187_970,
    "siglip2-b-16-256": 375_234_050,
    "siglip2-b-16-384": 375_479_810,
    "siglip2-b-16-512": 375_823_874,
    "siglip2-l-16-256": 881_526_786,
    "siglip2-l-16-384": 881_854_466,
    "siglip2-l-16-512": 882_313_218,
    "siglip2-so400m-14-224": 1_135_463_602,
    "siglip2-so400m-14-384": 1_136_008_498,
    "siglip2-so400m-16-256": 1_135_670_962,
    "siglip2-so400m-16-384": 1_136_039_602,
    "siglip2-so400m-16-512": 1_136_555_698,
    "siglip2-g-16-256": 1_871_393_906,
    "siglip2-g-16-384": 1_871_885_426,
    "siglip2-b-16-naflex": 375_234_050,
    "siglip2-so400m-16-naflex": 1_135_670_962,
    "blip-image-captioning-base": 223_971_644,
    "blip-image-captioning-large": 446_290_492,
    "blip-vqa-base": 361_230_140,
    "blip-vqa-capfilt-large": 361_230_140,
    "blip-itm-base-coco": 223_744_259,
    "blip-itm-base-flickr": 223_744_259,
    "blip-itm-large-coco": 446_128_643,
    "blip-itm-large-flickr": 446_128_643,
    "blip-base": 252_441_919,
    "blip-large": 474_729_023,
    "blip-vqa-base-480": 361_478_972,
    "blip-nlvr-base": 259_372_034,
    "blip-okvqa-base": 361_478_972,
    "blip-aokvqa-base": 361_478_972,
    "unicl-swin-t": 91_340_667,
    "unicl-swin-b": 150_695_609,
    # published with two rows more in each of two tables of positions, which nothing reads
    "florence2-base": 231_414_016 - 4 * 768,
    "florence2-base-ft": 231_414_016 - 4 * 768,
    "florence2-large": 770_173_952 - 4 * 1024 + 2 * 3072 * 1024,  # of 4096 positions
    "florence2-large-ft": 770_173_952 - 4 * 1024,
}
FILES = sorted(manifest.PUBLISHED.glob("*.txt"))
NOT_WRITTEN = ("position_ids", "length", "size", "resolution", "queue", "queue_ptr", "ptr_queue")
NOT_WRITTEN += ("predictions.decoder.weight", "predictions.decoder.bias")
NOT_WRITTEN += ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
"""Numbers of the configuration, what training remembers, copies of other tensors."""
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "projector.frames")


def parts(path: Path) -> tuple[str, Family, Layout]:
    variant, name = path.stem.rsplit(".", 1)
    family, _ = registry.variant(variant)
    layout = next(known for known in family.known_layouts() if known.name == name)
    return variant, family, layout


@cache
def built(variant: str) -> tuple[Any, dict[str, Tensor]]:
    family, declared = registry.variant(variant)
    config = declared.config()
    with torch.device("meta"):
        return config, family.build(config).state_dict()


def test_every_released_size_has_a_manifest() -> None:
    assert {parts(path)[0] for path in FILES} == set(PARAMETERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_has_its_place(path: Path) -> None:
    variant, _, layout = parts(path)
    config, expected = built(variant)
    theirs = manifest.read(path)
    ours = layout.keymap(config).forward(theirs, expected, path.name)
    assert ours.keys() == expected.keys()
    total = sum(t.numel() for name, t in ours.items() if not name.endswith(BUFFERS))
    assert total == PARAMETERS[variant]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_way_back_gives_the_released_names_and_shapes(path: Path) -> None:
    variant, _, layout = parts(path)
    config, expected = built(variant)
    theirs = manifest.read(path)
    back = layout.keymap(config).inverse(expected)
    dropped = theirs.keys() - back.keys()
    copies = ("lm_head.weight",) if variant.startswith("florence2") and layout.name == "hf" else ()
    assert all(name.endswith((*NOT_WRITTEN, *copies)) or "_m." in name for name in dropped)
    added = back.keys() - theirs.keys()  # transformers has no place for a temperature
    assert added <= ({"temp"} if layout.name == "hf" else set())
    assert {n: t.shape for n, t in back.items() if n not in added} == {
        n: t.shape for n, t in theirs.items() if n not in dropped
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_key_lost_or_added_or_of_another_shape_is_named(path: Path) -> None:
    variant, _, layout = parts(path)
    config, expected = built(variant)
    theirs = manifest.read(path)
    keymap = layout.keymap(config)
    last = ("ln_final.bias", "text_model.final_layer_norm.bias")
    last += ("vision_model.post_layernorm.bias", "visual_encoder.norm.bias")
    last += ("decoder.layernorm_embedding.bias",)
    name = [n for n in theirs if n.endswith(last)][-1]
    lost = {n: t for n, t in theirs.items() if n != name}
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        keymap.forward(lost, expected, path.name)
    misspelt = lost | {name + "x": theirs[name]}
    with pytest.raises(CheckpointError, match=f"Did you mean {name}x") as caught:
        keymap.forward(misspelt, expected, path.name)
    assert "1 not known" in caught.value.what
    wider = theirs | {name: torch.empty(7, device="meta")}
    with pytest.raises(CheckpointError, match=rf"1 do not fit: {name}: shape \[7\], expected"):
        keymap.forward(wider, expected, path.name)


@pytest.mark.parametrize(
    "path", sorted(manifest.PUBLISHED.glob("*.json")), ids=lambda path: path.stem
)
def test_configurations_are_what_the_released_files_say(path: Path, tmp_path: Path) -> None:
    variant, _, layout = parts(path)
    name = "open_clip_config.json" if layout.name == "open_clip" else "config.json"
    shutil.copy(path, tmp_path / name)
    source = Source(tmp_path)
    config = layout.config(source)
    assert config == built(variant)[0]
    settings = registry.variant(variant)[1].settings()
    if path.match("siglip2-*.open_clip.json"):  # which makes other pixels and words than Google
        settings["image"]["resample"], settings["cleaning"] = "bicubic", "canonicalize"
    assert json.dumps(layout.settings(source, config)) == json.dumps(settings)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stem.endswith((".openai", ".blip"))], ids=lambda path: path.stem
)
def test_shapes_alone_tell_configurations(path: Path) -> None:
    variant, _, layout = parts(path)
    source = Source(path)
    source.__dict__["tensors"] = manifest.read(path)
    source.__dict__["scripted"] = True
    config, wanted = layout.config(source), built(variant)[0]
    if registry.variant(variant)[1].hub and layout.name == "blip":
        # what Hugging Face's config.json says, and the authors' code does not
        image = dataclasses.replace(wanted.image, eps=1e-6)
        text = dataclasses.replace(wanted.text, dropout=0.1)
        wanted = dataclasses.replace(wanted, image=image, text=text)
    assert config == wanted


def test_manifests_of_hugging_face_are_what_transformers_builds() -> None:
    transformers = pytest.importorskip("transformers")
    for path in manifest.PUBLISHED.glob("*.hf.txt"):
        data = json.loads(path.with_suffix(".json").read_text())
        with torch.device("meta"):
            config = transformers.AutoConfig.for_model(**{"model_type": "clip"} | data)
            named = data.get("model_type") in ("blip", "florence2")
            kind = getattr(transformers, data["architectures"][0]) if named else None
            model = kind(config) if kind else transformers.AutoModel.from_config(config)
        listed = {n: t.shape for n, t in manifest.read(path).items() if "position_ids" not in n}
        assert listed == {n: t.shape for n, t in model.state_dict().items()}
