"""Our tokens are those of the Java program that published caption scores were made with."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from seesay.evaluate.text.tokens import PUNCTUATION, tokens

GOLDEN: list[tuple[str, str]] = [
    (text, told)
    for text, told in json.loads((Path(__file__).parent / "java_tokens.json").read_text("utf-8"))
]


def test_tokens_are_those_recorded_from_the_java_program() -> None:
    """Captions by hand, and made of words, numbers, abbreviations, marks, links and emoji."""
    assert len(GOLDEN) > 200
    wrong = [(text, told, tokens(text)) for text, told in GOLDEN if " ".join(tokens(text)) != told]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A dog.", "a dog"),
        ("The dog's bone isn't here", "the dog 's bone is n't here"),
        ("two (2) dogs!!", "two -lrb- 2 -rrb- dogs !!"),
        ("don’t", "do n't"),
        ("at 3,000 ft. and 10:30 a.m.", "at 3,000 ft. and 10:30 a.m."),
        ("No. 5, but no.", "no. 5 but no"),
        ("and/or a black-and-white t-shirt", "and/or a black-and-white t-shirt"),
        ("😀 ❤", "❤"),
        ("one\ntwo\r\nthree", "one two three"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_rules_one_by_one(text: str, told: str) -> None:
    assert tokens(text) == told.split()


def test_a_caption_of_hostile_characters_ends_and_is_no_punctuation() -> None:
    rng = random.Random(0)
    pool = [chr(rng.randrange(1, 0x3000)) for _ in range(300)] + list("aA1.,-'\"<>&@#:/ \n")
    for _ in range(300):
        found = tokens("".join(rng.choice(pool) for _ in range(40)))
        assert not PUNCTUATION & set(found)
        assert all(word and not word.isspace() for word in found)


@pytest.mark.parametrize(
    "text",
    ["<a" * 2000, "'" * 5000, "www." + "a." * 300 + "1", "a@" * 1000, "a." * 2000, "1," * 2000,
     "a-" * 2000, "<a " + "b= " * 500, "&amp" * 500, "_a" * 2000, "x" * 20000, "(555) " * 500],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    started = time.perf_counter()
    tokens(text)
    assert time.perf_counter() - started < 5


@pytest.mark.skipif(
    shutil.which("java") is None or find_spec("pycocoevalcap") is None,
    reason="needs Java and pycocoevalcap",
)
def test_tokens_are_those_of_the_java_program_itself(tmp_path: Path) -> None:
    spec = find_spec("pycocoevalcap")
    assert spec is not None
    assert spec.submodule_search_locations
    jar = next(Path(spec.submodule_search_locations[0]).glob("tokenizer/*.jar"))
    rng = random.Random(1)
    words = [word for text, _ in GOLDEN for word in text.split()]
    texts = [" ".join(rng.choice(words) for _ in range(rng.randint(2, 15))) for _ in range(500)]
    # a line between, because the program also looks at what the next one begins with
    path = tmp_path / "captions.txt"
    path.write_text("".join(f"{text}\nzz zz\n" for text in texts), encoding="utf-8")
    command = ["java", "-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", "-cp", str(jar)]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", str(path)]
    output = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    lines = output.replace("\xa0", " ").split("\n")[::2]
    told = [[word for word in line.split() if word not in PUNCTUATION] for line in lines]
    same = sum(tokens(text) == words for text, words in zip(texts, told, strict=False))
    assert same >= 0.99 * len(texts)
