"""Florence-2's prompts: sentences, ids and limits, as published, and where they depart from it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seesay
from seesay import registry
from seesay.errors import InputError, UsageError
from seesay.families.florence2.configs import Florence2Config, base, large, page, tiny
from seesay.families.florence2.processing import make_processor
from seesay.families.florence2.prompts import SENTENCES, prompts
from seesay.protocols import RegionSpeaker, Speaker

ALONE = [token for token, sentence in SENTENCES.items() if "{}" not in sentence]
ASKING = [token for token, sentence in SENTENCES.items() if "{}" in sentence]
REGION = "<loc_52><loc_332><loc_932><loc_774>"


@cache
def processor(compat: str | None = None, variant: str = "florence2-base") -> Any:
    declared = registry.variant(variant)[1]
    return make_processor(declared.config(), declared.settings() | {"compat": compat})


def test_ids_of_prompts_are_those_published() -> None:
    golden = {
        ("<OD>", ""): [0, 574, 22486, 5, 8720, 19, 4120, 766, 11, 5, 2274, 4, 2],
        ("<REGION_PROPOSAL>", ""): [0, 574, 22486, 5, 976, 5327, 11, 5, 2274, 4, 2],
        ("<OPEN_VOCABULARY_DETECTION>", "wheels"): [0, 574, 22486, 10562, 11, 5, 2274, 4, 2],
    }
    for (token, text), ids in golden.items():
        for compat in (None, "hf", "hub"):
            assert processor(compat).prompt_ids(token, text) == ids
    created = seesay.create("florence2-tiny").processor
    assert created.prompt_ids("<OD>") == golden["<OD>", ""]  # type: ignore[attr-defined]
    assert isinstance(created, Speaker)
    assert isinstance(created, RegionSpeaker)


def test_every_task_is_asked_with_its_sentence() -> None:
    assert len(SENTENCES) == 15
    ours = processor()
    assert ours.expand("<MORE_DETAILED_CAPTION>") == (
        "Describe with a paragraph what is shown in the image."
    )
    assert ours.expand(f"<REGION_TO_OCR>{REGION}") == f"What text is in the region {REGION}?"
    assert ours.expand("<REFERRING_EXPRESSION_SEGMENTATION>a cat") == (
        "Locate a cat in the image with mask"
    )
    # places are read as one token each
    ids = ours.prompt_ids("<REGION_TO_CATEGORY>", REGION)
    places = [50269 + int(place[1:]) for place in REGION.replace("<loc", "").split(">")[:-1]]
    assert [i for i in ids if i >= 50265] == places


def test_spaces_around_an_input_are_not_read() -> None:
    told = "<CAPTION_TO_PHRASE_GROUNDING>"
    plain = processor().prompt_ids(told, "a cat")
    for text in (" a cat", "a cat ", "\n a cat\t"):
        assert processor().prompt_ids(told, text) == plain
        assert processor("hf").prompt_ids(told, text) == plain
    assert processor().prompt_ids("  <OD> ") == processor().prompt_ids("<OD>")
    # the code on the hub reads two spaces there
    assert processor("hub").expand(told + " a cat") == "Locate the phrases in the caption:  a cat"
    assert processor("hub").prompt_ids(told, " a cat") != plain


def test_a_task_is_what_a_prompt_begins_with() -> None:
    caption = "<CAPTION_TO_PHRASE_GROUNDING>a sign that says <OCR> or <OD>"
    assert processor().expand(caption) == (
        "Locate the phrases in the caption: a sign that says <OCR> or <OD>"
    )
    for compat in ("hf", "hub"):
        with pytest.raises(UsageError, match="<OCR> stands alone"):
            processor(compat).expand(caption)
    assert processor().expand("what does <OD> mean?") == "what does <OD> mean?"
    assert processor("hf").expand("a <REGION_TO_OCR> b") == "What text is in the region a  b?"


def test_what_begins_with_no_known_token_is_read_as_it_is() -> None:
    raw = ["<DocVQA>What is the date?", "<VQA>who", "<GENERATE_TAGS>", " two  spaces ", "", "<od>"]
    for compat in (None, "hf", "hub"):
        assert [processor(compat).expand(text) for text in raw] == raw


@pytest.mark.parametrize("token", ALONE)
def test_tokens_that_stand_alone(token: str) -> None:
    for compat in (None, "hf", "hub"):
        assert processor(compat).expand(token) == SENTENCES[token]
        with pytest.raises(UsageError, match="stands alone"):
            processor(compat).expand(f"{token}a cat")


@pytest.mark.parametrize("token", ASKING)
def test_tokens_that_need_something_behind_them(token: str) -> None:
    for text in ("", "  "):
        with pytest.raises(UsageError, match="needs something behind it"):
            processor().expand(token + text)
    assert processor().expand(f"{token}{{}} {{input}}") == SENTENCES[token].replace(
        "{}", "{} {input}"
    )


def test_a_prompt_that_does_not_fit_beside_an_image_is_refused() -> None:
    ours = processor()
    assert (ours.positions, ours.image_tokens) == (1024, 577)
    long = "<VQA>" + " the" * 430
    room = 447 - len(ours.prompt_ids(long))
    assert room > 0
    assert len(ours.prompt_ids(long + " the" * room)) == 447
    with pytest.raises(InputError, match=r"448 tokens, and 447 fit beside the 577") as caught:
        ours.prompts("answer", ["<OD>", long + " the" * (room + 1)])
    assert "1024 positions" in str(caught.value)
    # four times as many positions since December 2024
    later = processor(None, "florence2-large")
    assert later.positions == 4096
    assert len(later.prompt_ids(long + " the" * (room + 1))) == 448


@pytest.mark.parametrize("config", [tiny(), base(), large(4096), page()])
def test_a_text_may_be_as_long_as_there_are_positions_and_no_longer(
    config: Florence2Config,
) -> None:
    """The last token is not read, and one stands before the first: the sum is that of positions."""
    asked = prompts(config)
    assert {one.options.max_new_tokens for one in asked.values()} == {config.text.max_length}


def test_padding_of_prompts_is_seen_as_on_the_hub_only_when_asked_for() -> None:
    raw = ["<OD>", "<VQA>what is this?", "<REGION_PROPOSAL>"]
    for compat in (None, "hf"):
        asked = processor(compat).prompts("prompt", raw)
        assert asked.mask.sum(1).tolist() == [13, 11, 11]
        assert bool((asked.ids[~asked.mask] == 1).all())
        assert asked.seen is None
        assert asked.prefix.tolist() == [[2]] * 3
        assert bool(asked.prefix_mask.all())
        for i, text in enumerate(raw):
            assert asked.ids[i][asked.mask[i]].tolist() == processor(compat).prompt_ids(text)
    hub = processor("hub").prompts("prompt", raw)
    assert bool(hub.mask.all())
    assert torch.equal(hub.ids, processor().prompts("prompt", raw).ids)


def test_what_is_written_begins_with_an_end_and_a_start() -> None:
    ours = processor()
    batch, starts = ours.written(["a cat<loc_1>", "a"])
    (cat,) = ours.tokenizer.ids(["a cat<loc_1>"])
    assert batch.ids.tolist() == [[2, 0, *cat, 2], [2, 0, cat[0], 2, 1, 1]]
    assert batch.mask.sum(1).tolist() == [6, 4]
    assert starts.tolist() == [1, 1]
    batch, starts = ours.written([" cat"], prefix="a")
    assert batch.ids.tolist() == [[2, 0, *cat[:2], 2]]
    assert starts.tolist() == [3]
    batch, starts = ours.written(["a cat<loc_1>"], max_length=4)
    assert batch.ids.tolist() == [[2, 0, cat[0], 2]]
    assert ours.written([" the" * 2000])[0].ids.shape[1] == 1024
    assert ours.decode(batch.ids.tolist()) == ["a"]


def test_extra_starts_are_not_shown_and_places_are() -> None:
    ours = processor()
    assert ours.decode([[2, 0, 0, 0, 50269, 50270, 51268, 51268, 2, 1]]) == [
        "<loc_0><loc_1><loc_999><loc_999>"
    ]
    assert ours.decode([[51286, 51279, 51287, 51288]]) == ["<poly><sep></poly><and>"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["", *SENTENCES]), st.text(max_size=40))
def test_no_text_makes_prompts_fail_but_for_a_reason(token: str, text: str) -> None:
    ours = processor()
    try:
        ids = ours.prompt_ids(token, text)
    except UsageError:
        return
    assert (ids[0], ids[-1]) == (0, 2)
    assert not {0, 1, 2} & {*ids[1:-1]}
    if not token and not any(text.strip().startswith(known) for known in SENTENCES):
        assert ours.decode([ids]) == [text]
