"""What a family that writes owes: the same text however it is asked for, and right scores.

Each check gets the name of a variant and an empty folder. The suite runs it on generators.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from contract.probes import ANSWERS, QUESTIONS, build, owed_by, picture, pictures, pixels, taught
from seesay.errors import InputError, ItemsFailed, UsageError
from seesay.generation import Options, decode, score
from seesay.model import Model
from seesay.protocols import Generator
from seesay.types import TextBatch

LOGITS = 1e-4
"""How far a logit in a batch may be from the same one alone."""
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "sampled": {"do_sample": True, "top_p": 0.9, "num_return_sequences": 2, "seed": 5},
}


def tasks_of(model: Model) -> list[str]:
    """What the model writes for."""
    return [task for task in ("caption", "answer") if task in model.tasks()]


def written(model: Model, task: str, rows: slice, **options: Any) -> list[list[Any]]:
    """What is written for some of the suite's pictures, with prompts of unequal length."""
    images = pictures()[rows]
    if task == "answer":
        asked = list(QUESTIONS[rows])
        return [
            result.answers for result in model.answer(images, asked, max_new_tokens=6, **options)
        ]
    return [result.captions for result in model.caption(images, max_new_tokens=6, **options)]


def asked(model: Model, task: str, texts: tuple[str, ...]) -> Any:
    """A prompt about the suite's pictures."""
    prompts: Any = model.processor
    return prompts.prompts(task, texts)._replace(pixels=torch.cat(pixels(model)))


@owed_by(Generator)
def check_a_text_is_the_same_however_it_is_batched(name: str, folder: Path) -> None:
    model = build(name)
    for task in tasks_of(model):
        for how, options in SEARCHES.items():
            together = written(model, task, slice(0, 4), **options)
            for i, texts in enumerate(together):
                [alone] = written(model, task, slice(i, i + 1), **options)
                assert [t.text for t in texts] == [t.text for t in alone], (task, how)
                for a, b in zip(texts, alone, strict=True):
                    assert a.logprobs == pytest.approx(b.logprobs, abs=LOGITS)
                    assert a.score == pytest.approx(b.score, abs=LOGITS)
                assert [t.score for t in texts] == sorted((t.score for t in texts), reverse=True)


@owed_by(Generator)
@torch.inference_mode()
def check_padding_of_what_is_read_changes_nothing(name: str, folder: Path) -> None:
    model = build(name)
    module: Any = model.module
    for task in tasks_of(model):
        texts = QUESTIONS if task == "answer" else ("", "a", "two small", "x")
        prompt = asked(model, task, texts)
        logits, _ = module.prefill(prompt)
        for i, text in enumerate(texts):
            alone = model.processor.prompts(task, [text])._replace(pixels=prompt.pixels[i : i + 1])
            torch.testing.assert_close(
                module.prefill(alone)[0], logits[i : i + 1], atol=LOGITS, rtol=0
            )
        for filler in (0, int(prompt.prefix.max())):
            longer = {
                field: F.pad(
                    getattr(prompt, field), (0, 2), value=filler if "mask" not in field else 0
                )
                for field in ("prefix", "prefix_mask", "ids", "mask")
                if getattr(prompt, field) is not None
            }
            padded, _ = module.prefill(prompt._replace(**longer))
            torch.testing.assert_close(padded, logits, atol=LOGITS, rtol=0)


@owed_by(Generator)
@torch.inference_mode()
def check_what_is_remembered_is_what_would_be_read_again(name: str, folder: Path) -> None:
    """Decoding with a cache gives the best token of the whole text, read at once, at each step."""
    model = build(name)
    module: Any = model.module
    for task in tasks_of(model):
        texts = QUESTIONS if task == "answer" else ("", "a", "two small", "x")
        prompt = asked(model, task, texts)
        ends = model.processor.end_ids
        found = decode(module, prompt, Options(max_new_tokens=5), end_ids=ends)
        for i, [one] in enumerate(found):
            begun = prompt.prefix[i][prompt.prefix_mask[i]].tolist()
            rows = torch.tensor([[*begun, *one.ids]])
            alone = model.processor.prompts(task, texts[i : i + 1])._replace(
                pixels=prompt.pixels[i : i + 1],
                prefix=rows,
                prefix_mask=torch.ones_like(rows, dtype=torch.bool),
            )
            said = module.forward(alone)[0, len(begun) - 1 :].float().log_softmax(-1)
            best = said.argmax(-1).tolist()
            assert best[: len(one.ids)] == one.ids, task
            expected = said.max(-1).values[: len(one.logprobs)].tolist()
            assert one.logprobs == pytest.approx(expected, abs=LOGITS)


@owed_by(Generator)
@torch.inference_mode()
def check_a_token_does_not_see_those_after_it(name: str, folder: Path) -> None:
    model = build(name)
    module: Any = model.module
    for task in tasks_of(model):
        prompt, _ = taught(model, task)
        logits = module.forward(prompt)
        changed = prompt.prefix.clone()
        changed[:, 2:] = changed[:, 2:].roll(1, 0)
        torch.testing.assert_close(
            module.forward(prompt._replace(prefix=changed))[:, :2],
            logits[:, :2],
            atol=LOGITS,
            rtol=0,
        )


@owed_by(Generator)
@torch.inference_mode()
def check_several_texts_of_an_image_are_scored_side_by_side(name: str, folder: Path) -> None:
    model = build(name)
    module: Any = model.module
    for task in tasks_of(model):
        one, starts = taught(model, task)
        tokens = module.encode_image(one.pixels)
        count = len(ANSWERS)
        texts = TextBatch(one.prefix.repeat(count, 1), one.prefix_mask.repeat(count, 1))
        prompt = asked(model, task, QUESTIONS if task == "answer" else ("",) * count)
        begun = prompt._replace(pixels=None, tokens=tokens)
        all_starts = starts.repeat(count)
        together = score(module, begun, texts, all_starts)
        chunked = score(module, begun, texts, all_starts, chunk=3)
        torch.testing.assert_close(together.total, chunked.total, atol=LOGITS, rtol=0)
        taught_logits = module.forward(one).float().log_softmax(-1)
        for i in range(count):  # what each text's own image makes of it
            learnt = range(int(starts[i]), int(one.prefix_mask[i].sum()))
            expected = sum(float(taught_logits[i, at - 1, one.prefix[i, at]]) for at in learnt)
            assert float(together.total[i, i]) == pytest.approx(expected, abs=10 * LOGITS)


@owed_by(Generator)
def check_what_is_written_can_be_read(name: str, folder: Path) -> None:
    """The ids of a text decode to the text; ends and beginnings are no part of it."""
    model = build(name)
    processor: Any = model.processor
    for task in tasks_of(model):
        (ids, mask), starts = processor.written(ANSWERS, task=task)
        for row, counts, start, text in zip(ids, mask, starts, ANSWERS, strict=True):
            kept = row[counts].tolist()
            assert kept[-1] in processor.end_ids
            assert processor.decode([kept[int(start) :]]) == [text]
        asking = model.family.asking(task, model.config)
        assert asking is not None
        # a question has its place; a caption is also asked for without being begun
        assert asking.template.count("{}") == 1 or task == "caption"


@owed_by("caption")
def check_captions_begin_as_they_are_asked_to(name: str, folder: Path) -> None:
    model = build(name)
    asking = model.family.asking("caption", model.config)
    usual = asking.template.replace("{}", "")
    image = picture()
    [a], [b] = (model.caption(image, begun, max_new_tokens=12) for begun in (None, usual))
    assert a == b
    four = {"num_beams": 4, "num_return_sequences": 4, "max_new_tokens": 12}
    [several] = model.caption(image, "a red", **four)
    assert len(several.captions) == 4
    assert several.text == several.captions[0].text
    with pytest.raises(UsageError, match="num_beems"):
        model.caption(image, num_beems=3)
    with pytest.raises(UsageError, match="num_beams"):
        model.caption(image, num_beams=0)


@owed_by("caption")
def check_bad_images_are_no_reason_to_be_silent_on_others(name: str, folder: Path) -> None:
    from seesay.tasks.caption import CaptionInput, run

    model = build(name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    items: list[Any] = [picture(), folder / "broken.jpg", picture(seed=5), folder / "absent.png"]
    short = {"max_new_tokens": 8}
    asked = [CaptionInput(image=item, options=short) for item in items]
    found = list(run(model, asked, batch_size=3))
    assert [isinstance(one, InputError) for one in found] == [False, True, False, True]
    assert "broken.jpg" in str(found[1])
    with pytest.raises(ItemsFailed, match="2 of 4"):
        model.caption(items, **short)


@owed_by("answer")
def check_questions_about_one_image_are_answered_as_if_alone(name: str, folder: Path) -> None:
    model = build(name)
    image = picture()
    together = model.answer(image, list(QUESTIONS), max_new_tokens=4)
    for question, found in zip(QUESTIONS, together, strict=True):
        [alone] = model.answer(image, question, max_new_tokens=4)
        assert [a.text for a in alone.answers] == [a.text for a in found.answers]
    with pytest.raises(UsageError, match="pair"):
        model.answer([picture(), picture()], ["a", "b", "c"])


@owed_by("answer")
def check_answers_of_a_list_are_ranked_by_their_scores(name: str, folder: Path) -> None:
    model = build(name)
    images, asked_ = pictures()[:2], list(QUESTIONS[:2])
    whole = model.rank(images, asked_, ANSWERS)
    for found in whole:
        scores = [answer.score for answer in found.answers]
        assert scores == sorted(scores, reverse=True)
        assert sorted(answer.text for answer in found.answers) == sorted(ANSWERS)
    [alone] = model.rank(images[1], asked_[1], ANSWERS)
    assert [a.text for a in alone.answers] == [a.text for a in whole[1].answers]
    [pruned] = model.rank(images[0], asked_[0], ANSWERS, top=2)
    kept = {answer.text: answer.score for answer in pruned.answers}
    assert len(kept) == 2
    known = {answer.text: answer.score for answer in whole[0].answers}
    assert kept == pytest.approx({text: known[text] for text in kept}, abs=10 * LOGITS)
    for bad in ([], ["yes", "yes"], ["yes", " "]):
        with pytest.raises(UsageError):
            model.rank(images[0], asked_[0], bad)
