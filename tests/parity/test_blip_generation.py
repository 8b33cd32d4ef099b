"""What BLIP writes is what transformers' generate writes, id for id; but padding is not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.blip_models import (
    CLS,
    DEC,
    LOGITS,
    SEP,
    build,
    loaded,
    pixels_for,
    texts,
)
from seesay.generation import Options, decode
from seesay.types import Prompt

HOW: dict[str, dict[str, Any]] = {
    "greedy": {"max_length": 14},
    "three beams, as published": {"num_beams": 3, "max_length": 12, "min_length": 5},
    "all of them": {"num_beams": 4, "num_return_sequences": 4, "max_length": 10}
    | {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    "short ones first": {"num_beams": 3, "max_length": 12, "length_penalty": -1.0},
}


def ended(rows: Tensor, prefix: int) -> list[list[int]]:
    """What was written of each row: without prefix, end and padding."""
    found = [row[prefix:] for row in rows.tolist()]
    return [row[: row.index(SEP)] if SEP in row else row for row in found]


def written(module: Any, prompt: Prompt, how: dict[str, Any]) -> list[list[int]]:
    with torch.no_grad():
        found = decode(module, prompt, Options(**how), end_ids=(SEP,))
    return [one.ids for row in found for one in row]


def likely_to_end(model: Any, by: float = 2.0) -> Any:
    """The model, ending its texts now and then."""
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[SEP] += by
    return model


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_captions(how: str, seed: int, tmp_path: Path) -> None:
    model = likely_to_end(build("ConditionalGeneration", seed=seed))
    module: Any = loaded(model, tmp_path).module.eval()
    pixels = pixels_for(model, 4)
    prefix = torch.tensor([[DEC, 8, 11]]).expand(4, -1)
    asked = torch.cat([prefix, torch.full((4, 1), SEP)], 1)  # whose last id it takes away
    wanted = model.generate(pixels, asked.clone(), **HOW[how])
    prompt = Prompt(pixels, prefix, torch.ones_like(prefix).bool())
    found = written(module, prompt, HOW[how])
    assert found == ended(wanted, 3)
    assert how == "short ones first" or len({tuple(row) for row in found}) > 1


def asked(model: Any, lengths: tuple[int, ...], compat: str | None = None) -> Prompt:
    pixels, (ids, mask) = pixels_for(model, len(lengths)), texts(CLS, lengths)
    prefix = torch.full((len(ids), 1), DEC)
    seen = None if compat is None else torch.ones_like(mask)
    return Prompt(pixels, prefix, torch.ones_like(prefix).bool(), ids, mask, seen)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("seed", [0, 1])
def test_answers_to_questions_without_padding(how: str, seed: int, tmp_path: Path) -> None:
    model = likely_to_end(build("QuestionAnswering", seed=seed))
    module: Any = loaded(model, tmp_path).module.eval()
    prompt = asked(model, (6, 6, 6))
    wanted = model.generate(prompt.ids, prompt.pixels, prompt.mask.long(), **HOW[how])
    found = written(module, prompt, HOW[how])
    assert found == ended(wanted, 1)


def test_padding_of_questions_is_never_read(tmp_path: Path) -> None:
    """transformers' answers depend on it; compat="hf" gives those."""
    model = build("QuestionAnswering")
    module: Any = loaded(model, tmp_path).module.eval()
    lengths = (9, 4, 6)
    prompt = asked(model, lengths)
    compat = asked(model, lengths, compat="hf")

    def theirs(ids: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
        """The logits after [DEC] as `BlipForQuestionAnswering.generate` gets them."""
        image = model.vision_model(pixels)[0]
        read = model.text_encoder(ids, attention_mask=mask.long(), encoder_hidden_states=image)[0]
        start, whole = torch.full((len(ids), 1), DEC), torch.ones_like(ids)
        decoded = model.text_decoder(
            start, encoder_hidden_states=read, encoder_attention_mask=whole
        )
        return decoded.logits

    with torch.no_grad():
        together = module(prompt)
        padded = theirs(prompt.ids, prompt.mask, prompt.pixels)
        as_hf = module(compat)
        for row, length in enumerate(lengths):
            one = slice(row, row + 1)
            short = [t[one, :length] for t in (prompt.ids, prompt.mask)]
            alone = theirs(*short, prompt.pixels[one])
            single = Prompt(prompt.pixels[one], prompt.prefix[one], prompt.prefix_mask[one], *short)
            assert float((module(single) - together[one]).abs().max()) < LOGITS
            assert float((together[one] - alone).abs().max()) < LOGITS
            assert float((as_hf[one] - padded[one]).abs().max()) < LOGITS
            if length < max(lengths):
                assert float((padded[one] - alone).abs().max()) > 0.01


def test_transformers_drops_the_mask_of_what_the_decoder_reads() -> None:
    """The reason why, in case it is mended there: then this fails."""
    model = build("QuestionAnswering")
    pixels, (ids, mask) = pixels_for(model), texts(CLS)
    answer = torch.tensor([[DEC, 7]]).expand(3, -1)
    with torch.no_grad():
        image = model.vision_model(pixels)[0]
        read = model.text_encoder(ids, attention_mask=mask.long(), encoder_hidden_states=image)[0]
        logits = [
            model.text_decoder(
                answer, encoder_hidden_states=read, encoder_attention_mask=seen.long()
            ).logits
            for seen in (mask, torch.ones_like(mask))
        ]
    assert torch.equal(*logits)


@pytest.mark.parametrize("how", ["greedy", "three beams, as published"])
def test_padded_questions_are_answered_as_transformers_does_when_asked_to(
    how: str, tmp_path: Path
) -> None:
    model = likely_to_end(build("QuestionAnswering", seed=3))
    module: Any = loaded(model, tmp_path).module.eval()
    prompt = asked(model, (9, 4, 6), compat="hf")
    wanted = model.generate(prompt.ids, prompt.pixels, prompt.mask.long(), **HOW[how])
    assert written(module, prompt, HOW[how]) == ended(wanted, 1)
