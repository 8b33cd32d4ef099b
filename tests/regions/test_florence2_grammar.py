"""Answers that are written by rule are well-formed, whatever the network and the options say."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

import seesay
from seesay.errors import UsageError
from seesay.families.florence2.grammar import UNLIKELY, rule
from seesay.families.florence2.parsing import GRAMMARS, grammar_of, parse, spell
from seesay.families.florence2.prompts import OPTIONS
from seesay.generation import Options, decode
from seesay.generation.rules import Draft
from seesay.processing.bytelevel import BYTES, SPECIAL, ByteLevelTokenizer
from seesay.regions.locations import NAMES, bins_in
from seesay.types import Prompt

SIGNS = ("<sep>", "<poly>", "</poly>", "<and>")
TOKENS = ByteLevelTokenizer(
    {token: i for i, token in enumerate([*SPECIAL, *BYTES, *NAMES, *SIGNS])},
    [],
    [*NAMES, *SIGNS],
)
"""A tokenizer whose words are single bytes."""

SIZE = (1000, 1000)
FORMS = {
    "boxes": r"(?:[^<]*[^<\s][^<]*(?:L{4})+)*",
    "outlines": r"(?:[^<]*[^<\s][^<]*(?:(?:L{4})+|(?:<poly>P</poly>)+))*",
    "proposals": r"(?:L{4})*",
    "quads": r"(?:(?:(?!L).)*?\S(?:(?!L).)*?L{8})*",
    "polygons": r"(?:P|(?:<poly>P</poly>)+)?",
    "answer": r"(?:(?:(?!L).)*?\S(?:(?!L).)*?(?:L{4})*)?",
}
"""What a whole answer is; L a place, P the parts of a thing."""

WAYS = {
    "greedy": Options(),
    "beams": Options(num_beams=3),
    "published": replace(OPTIONS, max_new_tokens=None),
    "drawn": Options(do_sample=True, temperature=1.5, seed=1, num_return_sequences=3),
    "narrow": Options(do_sample=True, top_k=2, seed=2),
    "long": Options(num_beams=2, min_new_tokens=9),
}


def well_formed(task: str, text: str) -> bool:
    part = r"(?:(?:LL){3,})"
    form = FORMS[grammar_of(task)].replace("P", rf"{part}(?:<sep>{part})*")
    return re.fullmatch(form.replace("L", "(?:<loc_[0-9]{1,3}>)"), text, re.S) is not None


@dataclass
class Past:
    """A number for each row that depends on all it wrote."""

    hashes: Tensor

    def reorder(self, rows: Tensor) -> Past:
        return Past(self.hashes[rows])


class Wild(nn.Module):
    """Writes anything: the next token's scores are a row of a random table, found by the past."""

    def __init__(self, seed: int, size: int = TOKENS.size) -> None:
        super().__init__()
        made = torch.Generator().manual_seed(seed)
        table = torch.randn(97, size, generator=made) * 4
        # without these what is written would be places alone, or have no end
        table[:, : len(SPECIAL) + 256] += 3
        table[:, [TOKENS.vocabulary[sign] for sign in (*SIGNS, "</s>")]] += 6
        self.register_buffer("table", table)

    def prefill(self, batch: Prompt) -> tuple[Tensor, Past]:
        return self.step(batch.prefix[:, -1], Past(torch.arange(len(batch.prefix))))

    def step(self, ids: Tensor, state: Past) -> tuple[Tensor, Past]:
        past = state.hashes.repeat_interleave(len(ids) // len(state.hashes))
        past = (past * 31 + ids * 7 + 1) % 1_000_003
        return self.table[past % len(self.table)], Past(past)


def written(module: nn.Module, task: str, options: Options, rows: int = 2) -> list[str]:
    """What a module writes by rule, checked to have ended by itself."""
    prefix = torch.full((rows, 1), TOKENS.end_id)
    prompt = Prompt(None, prefix, torch.ones_like(prefix, dtype=torch.bool))
    by = rule(TOKENS, task)
    assert by is not None
    found = decode(module, prompt, options, end_ids=[TOKENS.end_id], rules=[by])
    listed = [one for row in found for one in row]
    assert listed
    assert all(one.finished for one in listed)
    return TOKENS.decode([one.ids for one in listed])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", GRAMMARS)
def test_an_answer_is_well_formed_and_ends_within_its_length(task: str, way: str) -> None:
    regions = 0
    for seed in range(4):
        module = Wild(seed).eval()
        for limit in (9, 10, 14, 60):
            for text in written(module, task, WAYS[way].changed(max_new_tokens=limit)):
                assert well_formed(task, text), text
                found = parse(task, text, SIZE)
                assert not found.truncated
                regions += len(found.regions)
                assert sum(text.count(name) for name in ("<loc_",)) == len(bins_in(text))
                for region in found.regions:
                    if grammar_of(task) not in ("quads", "polygons"):
                        assert region.box == region.box.ordered
                if "<" not in found.text:
                    assert parse(task, spell(task, found.regions, SIZE), SIZE).regions == (
                        found.regions
                    )
    assert regions > 3


@pytest.mark.parametrize("task", GRAMMARS)
def test_the_shortest_lengths_end_well_formed_too(task: str) -> None:
    for limit in range(1, 9):
        for way in ("greedy", "beams", "published", "drawn"):
            options = WAYS[way].changed(max_new_tokens=limit)
            for text in written(Wild(limit).eval(), task, options):
                assert well_formed(task, text), (limit, text)
                assert not parse(task, text, SIZE).truncated


def test_without_the_rule_the_same_network_writes_nonsense() -> None:
    prefix = torch.full((2, 1), TOKENS.end_id)
    prompt = Prompt(None, prefix, torch.ones_like(prefix, dtype=torch.bool))
    options = Options(do_sample=True, seed=0, max_new_tokens=60, num_return_sequences=8)
    found = decode(Wild(0).eval(), prompt, options, end_ids=[TOKENS.end_id])
    texts = TOKENS.decode([one.ids for row in found for one in row])
    assert not any(well_formed("<OD>", text) for text in texts)


@pytest.mark.parametrize("task", ["<CAPTION>", "<OCR>", "<DocVQA>who?", "what?"])
def test_text_alone_needs_no_rule(task: str) -> None:
    assert rule(TOKENS, task) is None


def test_a_tokenizer_without_places_is_told_of() -> None:
    with pytest.raises(UsageError, match="no token <loc_0>"):
        rule(ByteLevelTokenizer.published(), "<OD>")


def test_the_rule_of_a_grammar_is_made_once() -> None:
    assert rule(TOKENS, "<OD>") is rule(TOKENS, "<DENSE_REGION_CAPTION>")


def allowed(task: str, text: str, *, left: int = 99, banned: tuple[int, ...] = ()) -> list[str]:
    """Which tokens the rule lets follow a text, where so many more may be written."""
    by = rule(TOKENS, task)
    assert by is not None
    ids = torch.tensor([[TOKENS.end_id, TOKENS.start_id, *TOKENS.ids([text])[0]]])
    count = ids.shape[1] - 1
    scores = torch.zeros(1, TOKENS.size + 7)  # a table may have more rows than there are tokens
    scores[0, list(banned)] = -torch.inf
    scores = by.apply(scores, Draft(ids, [1], [count + left], count))
    names = {id: name for name, id in TOKENS.vocabulary.items()}
    return [names[id] for id in (scores[0] > -torch.inf).nonzero()[:, 0].tolist()]


def test_edges_come_in_order() -> None:
    assert allowed("<OD>", "a<loc_990><loc_5>") == list(NAMES[990:])
    assert allowed("<OD>", "a<loc_990><loc_5><loc_991>") == list(NAMES[5:])
    assert allowed("<OCR_WITH_REGION>", "a<loc_990><loc_5>") == list(NAMES)


def test_a_label_needs_a_letter_and_a_box_a_label() -> None:
    assert "<loc_0>" not in allowed("<OD>", "")
    assert "Ġ" not in allowed("<OD>", "")
    assert "Ġ" in allowed("<OD>", "a")
    assert "<" not in allowed("<OD>", "a")
    assert "<" in allowed("<OCR_WITH_REGION>", "a")
    assert "<loc_0>" in allowed("<REGION_PROPOSAL>", "")
    assert "a" not in allowed("<REGION_PROPOSAL>", "")


def test_nothing_is_begun_that_would_not_fit() -> None:
    assert "a" in allowed("<OD>", "", left=6)  # a label, four places, the end
    assert allowed("<OD>", "", left=5) == ["<s>", "</s>"]
    assert allowed("<OD>", "a", left=5) == list(NAMES)
    after = allowed("<OD>", "a<loc_1><loc_2><loc_3><loc_4>", left=5)
    assert {"</s>", "<loc_0>"} <= {*after}
    assert "a" not in after
    assert allowed("<OD>", "a<loc_1><loc_2><loc_3><loc_4>", left=4) == ["</s>"]


def test_an_outline_ends_after_three_whole_points() -> None:
    task = "<REGION_TO_SEGMENTATION>"
    six = "".join(NAMES[:6])
    assert {"<poly>", "<loc_0>", "</s>"} <= {*allowed(task, "")}
    assert allowed(task, NAMES[0] * 5) == list(NAMES)
    assert {"</s>", "<sep>"} == {*allowed(task, six)} - {*NAMES}
    assert {*allowed(task, six + NAMES[0])} == {*NAMES}
    assert {"</poly>", "<sep>"} == {*allowed(task, f"<poly>{six}")} - {*NAMES}
    assert {"</s>", "<poly>"} == {*allowed(task, f"<poly>{six}<sep>{six}</poly>")}
    assert allowed(task, f"<poly>{six}", left=2) == ["</poly>"]


def test_rules_that_forbid_all_that_could_come_are_overruled_at_a_price() -> None:
    last = TOKENS.vocabulary["<loc_999>"]
    assert allowed("<OD>", "a<loc_999><loc_0>", banned=(last,)) == ["<loc_999>"]
    by = rule(TOKENS, "<OD>")
    assert by is not None
    ids = torch.tensor([[TOKENS.end_id, *TOKENS.ids(["a<loc_999><loc_0>"])[0]]])
    scores = torch.zeros(1, TOKENS.size)
    scores[0, last] = -torch.inf
    assert by.apply(scores, Draft(ids, [1], [99], 3))[0, last] == UNLIKELY


def test_rows_stand_at_different_places() -> None:
    by = rule(TOKENS, "<OD>")
    assert by is not None
    rows = [TOKENS.ids([text])[0] for text in ("ab", "a<loc_7>", "c<loc_1>")]
    ids = torch.tensor([[-1, TOKENS.end_id, *rows[0]], [-1, TOKENS.end_id, *rows[1]],
                        [TOKENS.end_id, TOKENS.start_id, *rows[2]]])  # fmt: skip
    together = by.apply(torch.zeros(3, TOKENS.size), Draft(ids, [1, 1, 2], [5, 9, 9], 2))
    for i, limit in enumerate((5, 9, 9)):
        own = ids[i : i + 1][:, ids[i] >= 0]
        alone = by.apply(torch.zeros(1, TOKENS.size), Draft(own, [1], [limit], 2))
        assert torch.equal(together[i], alone[0])


@pytest.mark.parametrize("task", ["<OD>", "<OCR_WITH_REGION>", "<REGION_TO_SEGMENTATION>"])
def test_the_published_vocabulary_is_held_to_it_too(task: str) -> None:
    model = seesay.create("florence2-tiny", seed=0)
    processor = model.processor
    asked = task + ("<loc_1><loc_2><loc_3><loc_4>" if "SEGMENTATION" in task else "")
    prompt = processor.prompts("prompt", [asked] * 2)._replace(pixels=torch.randn(2, 3, 64, 64))
    options = OPTIONS.changed(max_new_tokens=30)
    found = decode(
        model.module, prompt, options, end_ids=processor.end_ids, rules=[processor.rule(asked)]
    )
    for row in found:
        assert row[0].finished
        text = processor.decode([row[0].ids])[0]
        assert well_formed(task, text), text
