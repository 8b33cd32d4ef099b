"""Data of every format becomes raw prompts and what is written after them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from data.made import pictures, write
from seesay.cli.main import run as command
from seesay.data import open_dataset, open_prompts, open_questions
from seesay.data.check import check
from seesay.data.readers.options import Options, Said
from seesay.errors import InputError, UsageError
from seesay.regions.locations import bins_in

SIZE = (200, 100)


def told(path: str, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(question.text, question.answers) for question in open_prompts(path, **options)]


def lines(path: Path, *rows: dict[str, Any]) -> str:
    pictures(path.parent, "a.jpg", "b.jpg", size=SIZE)
    return write(path, "\n".join(json.dumps({"image": "a.jpg"} | row) for row in rows) + "\n")


def test_prefix_and_suffix_are_taken_as_they_are(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        {"prefix": "<DocVQA>who signed?", "suffix": "K. Jones"},
        {"prefix": "<DocVQA>when?", "suffix": ["3 May", "May 3"], "image": "b.jpg"},
        {"prefix": "<OD>", "suffix": ""},
    )
    assert told(path) == [
        ("<DocVQA>who signed?", ("K. Jones",)),
        ("<DocVQA>when?", ("3 May", "May 3")),
        ("<OD>", ("",)),
    ]
    assert list(open_questions(path)) == list(open_prompts(path))
    assert not check(open_prompts(path)).all
    several = lines(tmp_path / "all.jsonl", {"prefix": "<VQA>a?", "suffixes": ["b", "c"]})
    assert told(several) == [("<VQA>a?", ("b", "c"))]
    assert list(open_prompts(path, prompt="<VQA>")) == list(open_prompts(path))


def test_questions_stand_behind_a_task_token(tmp_path: Path) -> None:
    path = lines(tmp_path / "rows.jsonl", {"question": "what?", "answers": ["a", "a", "b"]})
    assert told(path) == [("<VQA>what?", ("a", "a", "b"))]
    assert told(path, prompt="<MINE>") == [("<MINE>what?", ("a", "a", "b"))]


def test_docvqa_as_it_is_published(tmp_path: Path) -> None:
    pictures(tmp_path, "documents/xnbl0037_1.png")
    row = {
        "questionId": 337,
        "question": "what is the date mentioned in this letter? ",
        "image": "documents/xnbl0037_1.png",
        "docId": 279,
        "ucsf_document_id": "xnbl0037",
        "ucsf_document_page_no": "1",
        "answers": ["1/8/93", "January 8"],
        "data_split": "val",
    }
    listed = {"dataset_name": "docvqa", "dataset_split": "val", "data": [row]}
    path = write(tmp_path / "val_v1.0.json", json.dumps(listed))
    (found,) = open_prompts(path)
    assert found.text == "<DocVQA>what is the date mentioned in this letter?"
    assert found.answers == ("1/8/93", "January 8")
    assert (found.id, found.where) == ("337", "val_v1.0.json:data[0]")
    assert found.images == (str(tmp_path / "documents" / "xnbl0037_1.png"),)
    assert open_questions(path)[0].text == "what is the date mentioned in this letter?"
    test = {key: value for key, value in row.items() if key != "answers"}
    asked = write(tmp_path / "test.json", json.dumps(listed | {"data": [test]}))
    assert told(asked)[0][1] == ()


def coco(folder: Path, **changed: Any) -> str:
    pictures(folder, "val2017/1.jpg", "val2017/2.jpg", size=SIZE)
    things = [
        {"image_id": 1, "category_id": 7, "bbox": [20, 10, 40, 20]},
        {"image_id": 1, "category_id": 3, "bbox": [0, 0, 200, 100]},
        {"image_id": 1, "category_id": 7, "bbox": [100, 50, 100, 50]},
        {"image_id": 1, "category_id": 3, "bbox": [1, 1, 1, 1], "iscrowd": 1},
    ]
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 100} for i in (1, 2)],
        "annotations": things,
        "categories": [{"id": 7, "name": "traffic light"}, {"id": 3, "name": "car"}],
    }
    return write(folder / "annotations" / "instances_val2017.json", json.dumps(content | changed))


def test_coco_boxes_are_spelt_label_by_label_from_the_largest(tmp_path: Path) -> None:
    path = coco(tmp_path)
    car = "car<loc_0><loc_0><loc_999><loc_999>"
    lights = "<loc_500><loc_500><loc_999><loc_999><loc_100><loc_100><loc_300><loc_300>"
    assert told(path) == [("<OD>", (f"{car}traffic light{lights}",)), ("<OD>", ("",))]
    found = open_prompts(path)
    assert found[1].images == (str(tmp_path / "val2017" / "2.jpg"),)
    assert not check(found).all
    assert told(path, prompt="<REGION_PROPOSAL>")[0] == (
        "<REGION_PROPOSAL>",
        (f"{car[3:]}{lights}",),
    )
    # who asks for records of pictures still gets COCO's boxes checked
    assert open_dataset(path).form == "coco"


def test_bad_boxes_are_left_out_and_stop_training(tmp_path: Path) -> None:
    bad: list[Any] = [[0, 0, 0, 5], [0, 0, 5], [150, 0, 100, 10], ["a", 1, 2, 3], None]
    things = [{"image_id": 1, "category_id": 3, "bbox": box} for box in bad]
    things += [{"image_id": 1, "category_id": 99, "bbox": [0, 0, 10, 10]}]
    things += [{"image_id": 1, "category_id": [3], "bbox": [0, 0, 10, 10]}]
    findings = check(open_prompts(coco(tmp_path, annotations=things)))
    assert findings.counts == {"bad-box": 7}
    assert {finding.row for finding in findings.all} == {0}
    assert findings.good_rows() == [1]


def test_ids_of_categories_are_compared_as_texts(tmp_path: Path) -> None:
    things = [{"image_id": 1, "category_id": "3", "bbox": [0, 0, 200, 100]}]
    kinds = [{"id": [7], "name": "light"}, {"id": 3, "name": "car"}]
    path = coco(tmp_path, annotations=things, categories=kinds)
    assert told(path)[0] == ("<OD>", ("car<loc_0><loc_0><loc_999><loc_999>",))
    assert not check(open_prompts(path)).all


def test_coco_captions_and_tables_of_captions_answer_one_prompt(tmp_path: Path) -> None:
    pictures(tmp_path, "1.jpg", "cat/1.jpg", "dog/1.jpg")
    notes = [{"image_id": 1, "caption": text} for text in ("a cat", "a dog")]
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": notes}
    path = write(tmp_path / "captions_val.json", json.dumps(content))
    assert told(path) == [("<CAPTION>", ("a cat", "a dog"))]
    table = write(tmp_path / "a.csv", "image,text\n1.jpg,a cat\n")
    assert told(table, prompt="<DETAILED_CAPTION>") == [("<DETAILED_CAPTION>", ("a cat",))]
    (tmp_path / "1.jpg").unlink()
    table = write(tmp_path / "b.csv", "image,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n")
    assert told(table, prompt="<CLASS>") == [("<CLASS>", ("cat",)), ("<CLASS>", ("dog",))]


def test_lines_of_text_are_spelt_with_their_corners(tmp_path: Path) -> None:
    quad = [0, 0, 100, 0, 100, 50, 0, 50]
    pairs = [quad[i : i + 2] for i in range(0, 8, 2)]
    path = lines(
        tmp_path / "ocr.jsonl",
        {
            "lines": [
                {"text": "Invoice  12", "quad": quad},
                {"text": "总计", "box": [0, 50, 200, 100]},
            ]
        },
        {"lines": [{"text": "one", "quad": pairs}], "width": 1000, "height": 1000},
        {"lines": [{"text": "x", "quad": quad[:6]}, {"text": " ", "quad": quad}]},
        {"lines": []},
        {"lines": "no"},
    )
    found = open_prompts(path)
    first, second, third, empty = (question.answers[0] for question in found)
    assert {question.text for question in found} == {"<OCR_WITH_REGION>"}
    assert first.startswith("Invoice 12<loc_0><loc_0><loc_500>")
    assert bins_in(first) == [0, 0, 500, 0, 500, 500, 0, 500, 0, 500, 999, 500, 999, 999, 0, 999]
    assert "总计<loc_0><loc_500>" in first
    assert bins_in(second) == [0, 0, 100, 0, 100, 50, 0, 50]
    assert (third, empty) == ("", "")
    assert check(found).counts["bad-box"] == 2
    assert check(found).counts["bad-row"] == 1
    assert command(["data", "check", path, "--quiet"]) == 4
    assert told(path, prompt="<OCR>")[0] == ("<OCR>", ("Invoice 12\n总计",))


def test_phrases_of_a_caption_are_spelt_as_listed(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "grounded.jsonl",
        {
            "caption": "a cat on two mats",
            "phrases": [
                {"phrase": "two mats", "boxes": [[0, 0, 100, 50], [100, 50, 200, 100]]},
                {"phrase": "a cat", "box": [0, 0, 20, 10]},
                {"phrase": "nothing", "boxes": []},
            ],
        },
        {"caption": " ", "phrases": []},
    )
    mats = "<loc_0><loc_0><loc_500><loc_500><loc_500><loc_500><loc_999><loc_999>"
    cat = "<loc_0><loc_0><loc_100><loc_100>"
    assert told(path)[0] == (
        "<CAPTION_TO_PHRASE_GROUNDING>a cat on two mats",
        (f"two mats{mats}a cat{cat}",),
    )
    assert check(open_prompts(path)).counts == {"empty-question": 1, "no-answer": 1}


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        ("car<loc_0><loc_1000><loc_9><loc_9>", "<loc_1000>: <loc_0> to <loc_999>"),
        ("<loc0123><loc0456><loc0789><loc1023> car", "PaliGemma's"),
        ("car<loc_-1><loc_2>", "<loc_-1>"),
        ("car<LOC_1><loc_2>", "<LOC_1>"),
        ("car<lco_1><loc_2>", "<lco_1>"),
        ("car< loc_1><loc_2>", "< loc_1>"),
        ("car<loc 5>", "<loc 5>"),
        ("car<loc_-3>", "<loc_-3>"),
        ("car<loc_1.5>", "<loc_1.5>"),
        ("car<seg-7>", "<seg-7>"),
        ("car<loc_007>", "<loc_007>"),
        ("car<loc_1<loc_2>", "<loc_1:"),
        ("carloc_1><loc_2>", "loc_1>"),
    ],
)
def test_places_that_are_no_tokens_are_found_before_training(
    tmp_path: Path, suffix: str, said: str
) -> None:
    path = lines(tmp_path / "rows.jsonl", {"prefix": "<OD>", "suffix": suffix})
    (finding,) = check(open_prompts(path)).stopping
    assert (finding.kind, finding.row) == ("bad-location", 0)
    assert said in finding.what
    assert command(["data", "check", path, "--quiet"]) == 4


@pytest.mark.parametrize(
    "words",
    ["<segment 3>", "<lo 5>", "<location>", "<location 1>", "<local shop>", "<loc>", "<local 24h>",
     "<loc 5 is it>", "a < b > 5", "<locus_7>"],
)  # fmt: skip
def test_words_that_only_begin_like_places_are_none(tmp_path: Path, words: str) -> None:
    path = lines(tmp_path / "rows.jsonl", {"prefix": f"<VQA>{words}?", "suffix": words})
    assert not check(open_prompts(path)).all


@pytest.mark.parametrize("suffix", ["yes</s>", "<s>yes", ["no", "yes<pad>"]])
def test_tokens_that_end_texts_are_told_and_do_not_stop(tmp_path: Path, suffix: Any) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        {"prefix": "<OD>", "suffix": "car<loc_1><loc_2><loc_3><loc_999>"},
        {"prefix": "is a < b > c, local x < loc 5?", "suffix": suffix},
    )
    found = check(open_prompts(path))
    assert found.counts == {"special-token": 1}
    (finding,) = found.all
    assert finding.row == 1
    assert "a text begins or ends there" in finding.what
    assert command(["data", "check", path, "--quiet"]) == 0
    # a model whose tokenizer does not know them is asked about a letter that is struck out
    asked = lines(tmp_path / "asked.jsonl", {"question": "what is <s>?", "answer": "html"})
    assert not check(open_questions(asked)).stopping


def test_only_rows_with_equal_answers_are_there_twice(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        {"prefix": "<CAPTION>", "suffix": "a cat"},
        {"prefix": "<CAPTION>", "suffix": "a mat"},
        {"prefix": "<CAPTION>", "suffix": "a cat"},
    )
    (finding,) = check(open_prompts(path)).all
    assert (finding.kind, finding.row) == ("duplicate-row", 2)
    assert finding.what == "is rows.jsonl:1 again"


def test_who_said_nothing_among_others_is_left_out(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "rows.jsonl",
        {"question": "is it?", "answers": ["y", None]},
        {"question": "is it?", "answers": [None, None]},
    )
    questions = open_questions(path)
    assert [question.answers for question in questions] == [("y",)]
    (finding,) = check(questions).stopping
    assert (finding.kind, finding.where) == ("bad-row", "rows.jsonl:2")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"suffix": {}}, "suffix has an object, and no text"),
        ({"suffix": {"text": "a"}}, "suffix has an object"),
        ({"suffix": [None]}, "suffix has null in its list"),
        ({"suffix": ["a", ["b"]]}, "suffix has a list in its list"),
        ({"prefix": ["<OD>"]}, "prefix is a list, not a text"),
        ({"prefix": {"text": "<OD>"}}, "prefix is an object, not a text"),
    ],
)
def test_what_is_no_text_is_a_bad_row(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    good = {"prefix": "<OD>", "suffix": "a"}
    path = lines(tmp_path / "rows.jsonl", good, good | row, good | {"suffix": []})
    questions = open_prompts(path)
    assert [question.answers for question in questions] == [("a",), ("",)]
    (finding,) = check(questions).stopping
    assert (finding.kind, finding.where, finding.what) == ("bad-row", "rows.jsonl:2", finding.what)
    assert said in finding.what


def test_things_in_pictures_that_are_not_listed_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", size=SIZE)
    box = {"category_id": 1, "bbox": [0, 0, 20, 10]}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 5, "image_id": 1, **box}, {"id": 6, "image_id": 9, **box}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    questions = open_prompts(write(tmp_path / "instances.json", json.dumps(content)))
    assert [question.answers for question in questions] == [
        ("cat<loc_0><loc_0><loc_100><loc_100>",)
    ]
    assert [(f.where, f.what) for f in check(questions).stopping] == [
        ("instances.json:image 1", "is listed twice"),
        ("instances.json:annotation 6", "is about image 9, which is not listed"),
    ]


def test_options_are_said_by_their_names(tmp_path: Path) -> None:
    assert get_type_hints(Said) == get_type_hints(Options)
    path = lines(tmp_path / "rows.jsonl", {"prefix": "<OD>", "suffix": "a"})
    for opened in (open_questions, open_prompts):
        with pytest.raises(UsageError, match=r"no option txt_column\. Did you mean text_column"):
            opened(path, txt_column="prefix")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"no option promt\. Did you mean prompt"):
        open_prompts(path, promt="<OD>")  # type: ignore[call-arg]


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        open_prompts(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match="has no column"):
        open_prompts(write(tmp_path / "a.jsonl", '{"image": "a.jpg"}'), text_column="said")
