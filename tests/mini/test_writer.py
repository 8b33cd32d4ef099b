"""The writer: what it is shown, what it reads, and words that become ids and text again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import seesay
from seesay.errors import CheckpointError, InputError, UsageError
from seesay.families.mini.configs import MiniConfig, settings, tiny
from seesay.families.mini.model import Mini
from seesay.families.mini.processing import MiniProcessor, make_processor
from seesay.model import Model
from seesay.types import Prompt


@pytest.fixture(scope="module")
def model() -> Model:
    return seesay.create("mini-tiny", seed=0)


@pytest.fixture(scope="module")
def processor(model: Model) -> MiniProcessor:
    assert isinstance(model.processor, MiniProcessor)
    return model.processor


@pytest.fixture(scope="module")
def module(model: Model) -> Mini:
    assert isinstance(model.module, Mini)
    return model.module


def pixels(count: int, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_words_become_ids_and_text_again(processor: MiniProcessor) -> None:
    texts = ["a dog to the left of two red apples", "the flag of france", "yes", "a cat, a dog"]
    (ids, mask), starts = processor.written(texts)
    assert ids[:, 0].tolist() == [2] * 4
    assert starts.tolist() == [1] * 4
    rows = [row[counts].tolist() for row, counts in zip(ids, mask, strict=True)]
    assert all(row[-1] in processor.end_ids for row in rows)
    assert processor.decode([row[1:] for row in rows]) == texts


def test_a_prefix_is_not_learnt_and_long_texts_are_cut_with_an_end(
    processor: MiniProcessor,
) -> None:
    (ids, mask), starts = processor.written(["a dog", "a dog " * 60], "a picture of ")
    begun = processor.prompts("caption", ["a picture of "])
    assert starts.tolist() == [begun.prefix.shape[1]] * 2
    assert torch.equal(ids[:, : int(starts[0])], begun.prefix.expand(2, -1))
    assert int(mask[1].sum()) == processor.longest
    assert int(ids[1, -1]) in processor.end_ids
    with pytest.raises(UsageError, match="sing"):
        processor.prompts("sing", ["a song"])


def test_a_question_is_the_same_with_and_without_its_mark(processor: MiniProcessor) -> None:
    asked = processor.prompts("answer", ["What is this?", "what is this", "what is this ？"])
    assert asked.ids is not None
    assert (asked.ids == asked.ids[0]).all()


def test_pictures_unlike_drawings_are_known_by_their_vector_alone(module: Mini) -> None:
    writer = module.writer
    assert writer is not None
    maps, pooled = module.look(pixels(2))
    vector = module.project_image(pooled)
    pooled = pooled[:, : module.config.head_width]
    drawn = torch.tensor([True, False])
    with torch.inference_mode():
        tokens = writer.eye(maps, pooled, vector, drawn)
        other = writer.eye(maps + 1, pooled + 1, vector, drawn)
    assert not torch.equal(tokens[0], other[0])
    assert torch.equal(tokens[1], other[1])
    # places not shown are as if there were none: the meanings stand in them equally often
    prompt = Prompt(None, torch.tensor([[2, 9, 7]]), torch.ones(1, 3, dtype=torch.bool))
    with torch.inference_mode():
        alone = writer(writer.eye.meanings(vector[1:]), prompt)
        torch.testing.assert_close(writer(tokens[1:], prompt), alone, atol=1e-5, rtol=1e-5)


def test_a_picture_of_another_size_has_as_many_places(module: Mini) -> None:
    with torch.inference_mode():
        shapes = {module.encode_image(pixels(1, size)).shape for size in (48, 64, 100)}
    assert len(shapes) == 1


def test_models_without_a_writer_still_compare_and_say_what_they_lack() -> None:
    config: MiniConfig = replace(tiny(), writer=None)
    module = Mini(config).eval()
    with torch.inference_mode():
        assert module.embed_image(pixels(1)).shape == (1, config.embed_width)
        with pytest.raises(UsageError, match="learnt to write"):
            module.encode_image(pixels(1))
    processor = make_processor(config, settings(64), None)
    with pytest.raises(InputError, match="no words"):
        processor.prompts("caption", [""])


def test_a_folder_keeps_its_own_words(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "saved")
    assert (tmp_path / "saved" / "writer.json").is_file()
    assert seesay.load(tmp_path / "saved").fingerprint
    (tmp_path / "saved" / "writer.json").write_text("{}")
    with pytest.raises(CheckpointError):
        seesay.load(tmp_path / "saved")
