"""Questions are read from every published form, and what is wrong with them is told."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from data.made import pictures, write
from seesay.cli.main import run as command
from seesay.data import Question, Questions, open_questions
from seesay.data.check import check
from seesay.errors import InputError, UsageError

COCO = "val2014/COCO_val2014_000000262148.jpg"
TEN = ["yes"] * 7 + ["no"] * 2 + ["maybe"]


def vqa(folder: Path, prefix: str = "v2_", answers: bool = True) -> Path:
    """VQAv2's two files, as they are published, beside its pictures."""
    pictures(folder, COCO)
    asked = {
        "data_type": "mscoco",
        "data_subtype": "val2014",
        "questions": [
            {"image_id": 262148, "question": "Is it dark?", "question_id": 262148000},
            {"image_id": 262148, "question": "How many?", "question_id": 262148001},
        ],
    }
    notes = [
        {
            "question_id": 262148001,
            "answer_type": "number",
            "answers": [{"answer": "2", "answer_confidence": "yes", "answer_id": 1}],
        },
        {
            "question_id": 262148000,
            "question_type": "is it",
            "answer_type": "yes/no",
            "answers": [{"answer": said} for said in TEN],
        },
    ]
    path = folder / f"{prefix}OpenEnded_mscoco_val2014_questions.json"
    path.write_text(json.dumps(asked))
    if answers:
        other = folder / f"{prefix}mscoco_val2014_annotations.json"
        other.write_text(json.dumps({"annotations": notes}))
    return path


@pytest.mark.parametrize("prefix", ["v2_", ""])
def test_vqa_joins_questions_and_annotations_whichever_is_named(
    tmp_path: Path, prefix: str
) -> None:
    path = vqa(tmp_path, prefix)
    questions = open_questions(path)
    assert questions[0] == Question(
        images=(str(tmp_path / COCO),),
        text="Is it dark?",
        answers=tuple(TEN),
        id="262148000",
        kind="yes/no",
        where=f"{path.name}:question 262148000",
    )
    assert (questions[1].answers, questions[1].kind) == (("2",), "number")
    other = open_questions(tmp_path / f"{prefix}mscoco_val2014_annotations.json")
    assert list(other) == list(questions)
    assert questions.picture(1).size == (40, 30)
    assert not check(questions).stopping


def test_vqa_without_annotations_is_for_asking_and_not_for_training(tmp_path: Path) -> None:
    questions = open_questions(vqa(tmp_path, answers=False))
    assert [question.answers for question in questions] == [(), ()]
    (finding,) = check(questions).stopping
    assert (finding.kind, finding.row) == ("no-answer", None)


def test_pictures_are_found_where_archives_unpack_or_all_in_one_folder(tmp_path: Path) -> None:
    path = vqa(tmp_path / "vqa")
    (tmp_path / "flat").mkdir()
    (tmp_path / "vqa" / COCO).rename(tmp_path / "flat" / Path(COCO).name)
    found = open_questions(path, root=tmp_path / "flat")
    assert found[0].images == (str(tmp_path / "flat" / Path(COCO).name),)
    with pytest.raises(UsageError, match="not a folder"):
        open_questions(path, root=tmp_path / "gone")


def test_the_lists_of_blip_and_lavis(tmp_path: Path) -> None:
    pictures(tmp_path / "coco", COCO)
    pictures(tmp_path / "vg", "VG_100K/1.jpg")
    train = [
        {"question_id": 1, "question": "what?", "answer": TEN, "image": COCO, "dataset": "vqa"}
    ]
    genome = [{"question_id": 9, "question": "who?", "answer": "a man", "image": "VG_100K/1.jpg"}]
    write(tmp_path / "vqa_train.json", json.dumps(train))
    write(tmp_path / "vg_qa.json", json.dumps(genome))
    both = open_questions(tmp_path / "{vqa_train,vg_qa}.json")
    assert [question.answers for question in both] == [tuple(TEN), ("a man",)]
    assert not check(both).stopping
    assert both[1].where == "vg_qa.json[0]"


def test_a_okvqa_names_its_pictures_by_number_and_knows_the_right_choice(tmp_path: Path) -> None:
    pictures(tmp_path, "train2017/000000299207.jpg", "val2017/000000000007.jpg")
    row = {
        "split": "train",
        "image_id": 299207,
        "question_id": "22Mex",
        "question": "What is it?",
        "choices": ["a", "b", "c", "d"],
        "correct_choice_idx": 2,
        "direct_answers": ["c", "c", "sea"],
    }
    test = {k: v for k, v in row.items() if k not in ("correct_choice_idx", "direct_answers")}
    listed = [row, test | {"split": "val", "image_id": 7}]
    path = write(tmp_path / "aokvqa.json", json.dumps(listed))
    first, second = open_questions(path)
    assert first.images == (str(tmp_path / "train2017" / "000000299207.jpg"),)
    assert (first.answers, first.choices[first.right or 0]) == (("c", "c", "sea"), "c")
    assert (second.answers, second.right) == ((), None)
    assert [q.id for q in open_questions(path, split="train")] == ["22Mex"]


def test_gqa_textvqa_and_easy_vqa(tmp_path: Path) -> None:
    pictures(tmp_path, "images/2375429.jpg", "train_images/0054.jpg")
    gqa = {
        "07333408": {
            "imageId": "2375429",
            "question": "Is it?",
            "answer": "yes",
            "fullAnswer": "Yes, it is.",
            "types": {"structural": "verify"},
        }
    }
    (asked,) = open_questions(write(tmp_path / "val_balanced_questions.json", json.dumps(gqa)))
    assert (asked.id, asked.kind, asked.answers) == ("07333408", "verify", ("yes",))
    assert asked.images == (str(tmp_path / "images" / "2375429.jpg"),)
    text = {"data": [{"image_id": "0054", "question": "what?", "answers": ["a", "a"]}]}
    (asked,) = open_questions(write(tmp_path / "TextVQA.json", json.dumps(text)))
    assert asked.images == (str(tmp_path / "train_images" / "0054.jpg"),)
    pictures(tmp_path / "easy" / "train", "images/0.png", "images/2.png")
    easy = [["what is the blue shape?", "rectangle", 0], ["is it red?", "no", 2]]
    write(tmp_path / "easy" / "train" / "questions.json", json.dumps(easy))
    questions = open_questions(tmp_path / "easy", split="train")
    assert [q.answers for q in questions] == [("rectangle",), ("no",)]
    assert questions[1].images == (str(tmp_path / "easy" / "train" / "images" / "2.png"),)
    with pytest.raises(InputError, match=r"questions\.json") as refused:
        open_questions(tmp_path / "easy")
    assert refused.value.hint == "say split=train"


def test_statements_about_two_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "images", *(f"dev/dev-850-0-img{n}.png" for n in (0, 1)))
    row = {"identifier": "dev-850-0-1", "sentence": "There are two dogs.", "label": "True"}
    lines = json.dumps(row) + "\n" + json.dumps(row | {"identifier": "dev-850-0-2"})
    published = open_questions(write(tmp_path / "dev.json", lines))[:1]
    listed = [{
        "images": ["images/dev/dev-850-0-img0.png", "images/dev/dev-850-0-img1.png"],
        "sentence": "There are two dogs.",
        "label": "True",
    }]  # fmt: skip
    lavis = open_questions(write(tmp_path / "nlvr_dev.json", json.dumps(listed)))
    table = "image1,image2,statement,label\n" + ",".join(
        ["images/dev/dev-850-0-img0.png", "images/dev/dev-850-0-img1.png"]
    )
    own = open_questions(write(tmp_path / "mine.csv", table + ",There are two dogs.,true\n"))
    for questions in (published, lavis, own):
        assert [Path(p).name for p in questions[0].images] == [
            "dev-850-0-img0.png",
            "dev-850-0-img1.png",
        ]
        assert questions[0].answers[0].lower() == "true"
        assert questions.picture(0, 1).image.tobytes() != questions.picture(0).image.tobytes()
        assert check(questions).images == 2
        assert not check(questions).all


def test_entailment_and_ones_own_tables(tmp_path: Path) -> None:
    pictures(tmp_path, "4705552913.jpg", "photos/cat.jpg")
    row = {
        "Flickr30K_ID": "4705552913",
        "gold_label": "neutral",
        "sentence2": "A man.",
        "pairID": 3,
    }
    (asked,) = open_questions(write(tmp_path / "snli_ve_dev.jsonl", json.dumps(row)))
    assert (asked.id, asked.text, asked.answers) == ("3", "A man.", ("neutral",))
    assert asked.images == (str(tmp_path / "4705552913.jpg"),)
    table = "image;question;answers\nphotos/cat.jpg;how many?;one|one|two\n"
    (asked,) = open_questions(write(tmp_path / "a.csv", table))
    assert asked.answers == ("one", "one", "two")
    capital = table.replace("answers", "Answers")
    assert open_questions(write(tmp_path / "A.csv", capital))[0].answers == asked.answers
    listed = 'image,question,answers\nphotos/cat.jpg,what?,"[""a, b"", ""c""]"\n'
    assert open_questions(write(tmp_path / "b.csv", listed))[0].answers == ("a, b", "c")
    single = "image,question,answer\nphotos/cat.jpg,which?,a|b\n"
    assert open_questions(write(tmp_path / "c.csv", single))[0].answers == ("a|b",)
    named = "image,asked,said\nphotos/cat.jpg,which?,this\n"
    (asked,) = open_questions(
        write(tmp_path / "d.csv", named), text_column="asked", label_column="said"
    )
    assert (asked.text, asked.answers) == ("which?", ("this",))


def test_bad_rows_are_told_with_their_place_and_stop_training(tmp_path: Path) -> None:
    pictures(tmp_path, "cat.jpg")
    rows = [
        {"image": "cat.jpg", "question": "what?", "answer": "a"},
        {"image": "../cat.jpg", "question": "what?", "answer": "a"},
        {"image": "cat.jpg", "question": "  ", "answer": "a"},
        {"image": "cat.jpg", "question": "who?", "answer": ""},
        {"image": "gone.jpg", "question": "who?", "answer": 2},
        {"image": None, "question": "who?", "answer": "a"},
        {"image": ["cat.jpg", "cat.jpg"], "question": "who?", "answer": "a"},
    ]
    text = "\n".join(map(json.dumps, rows)) + "\nnot json\n"
    questions = open_questions(write(tmp_path / "bad.jsonl", text))
    findings = check(questions)
    assert findings.counts == {"bad-row": 4, "missing": 1, "empty-question": 1, "no-answer": 1}
    assert {f.where for f in findings.all} == {f"bad.jsonl:{n}" for n in range(2, 9)}
    assert findings.good_rows() == [0]
    assert [q.text for q in questions.select(findings.good_rows())] == ["what?"]
    with pytest.raises(InputError, match=r"bad.jsonl:5: .*gone.jpg"):
        questions.picture(3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,caption\na.jpg,b\n", "no column with questions"),
        ("question,answer\na,b\n", "no column with the pictures"),
        ("image,question,sentence\na.jpg,b,c\n", "which"),
        ("image,question\n", "has no question"),
        ("image,question,answer,answers\na.jpg,b,c,d\n", "which"),
    ],
)
def test_what_is_no_listing_of_questions_is_refused(
    tmp_path: Path, content: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        open_questions(write(tmp_path / "a.csv", content))


def test_the_digest_is_that_of_the_listing_and_not_of_its_place(tmp_path: Path) -> None:
    row = "image,question,answer\ncat.jpg,{},yes\n"
    paths = [
        write(tmp_path / "one" / "a.csv", row.format("is it?")),
        write(tmp_path / "two" / "a.csv", row.format("is it?")),
        write(tmp_path / "three" / "a.csv", row.format("was it?")),
    ]
    one, two, three = (open_questions(path).digest for path in paths)
    assert one == two != three


def test_half_a_million_questions_fit_into_little_memory() -> None:
    def many(count: int) -> Questions:
        names = ((f"/d/val2014/COCO_val2014_{i // 3:012}.jpg",) for i in range(count))
        return Questions(
            "many",
            (
                Question(name, f"what is number {i} doing?", (f"{i % 99}",) * 10, str(i), "other")
                for i, name in enumerate(names)
            ),
            root="/d",
        )

    tracemalloc.start()
    questions = many(20_000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(questions) < 260
    assert questions.nbytes == pytest.approx(held, rel=0.4)
    assert questions[19_999].answers == ("1",) * 10
    assert questions[-1] == questions[19_999]
    assert [q.id for q in questions[2:4]] == ["2", "3"]


def test_the_command_checks_questions_as_it_checks_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = vqa(tmp_path)
    assert command(["data", "check", str(path), "--quiet"]) == 0
    assert (
        "(questions): 2 records, 1 pictures, 11 answers (1 to 10 each)" in capsys.readouterr().out
    )
    (tmp_path / COCO).unlink()
    assert command(["data", "check", str(path), "--quiet"]) == 4
    assert "STOPS  missing: 2" in capsys.readouterr().out
