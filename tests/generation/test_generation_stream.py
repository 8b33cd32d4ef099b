"""Stops cut the text, and a stream gives the text in pieces that are never taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from generation.toy import ENDS, VOCAB, Toy, prompt, row
from seesay.generation import Options, Piece, decode, stream
from seesay.generation.written import Ending

WORDS = ["dog", " cat", ".", "[end]", " on", " a", "n", "[end]", " red", "s", ",", " ", "!"]
CHINESE = "一只猫坐在红色的垫子上看".encode()


def words(ids: Sequence[int]) -> str:
    return "".join(WORDS[i % len(WORDS)] for i in ids)


def pieces_of_bytes(ids: Sequence[int]) -> str:
    """Tokens are single bytes of letters that have three."""
    return bytes(CHINESE[i % len(CHINESE)] for i in ids).decode("utf-8", "replace")


def told(pieces: list[Piece], image: int, sequence: int = 0) -> str:
    return "".join(p.text for p in pieces if (p.image, p.sequence) == (image, sequence))


HOW = {
    "greedy": Options(min_new_tokens=9, no_repeat_ngram_size=2),
    "greedy with stops": Options(
        max_new_tokens=15, no_repeat_ngram_size=2, stop=("cat.", "!", "s,")
    ),
    "drawn": Options(do_sample=True, seed=2, num_return_sequences=3, max_new_tokens=12),
    "drawn with stops": Options(do_sample=True, seed=3, num_return_sequences=3, stop=(" on", ".")),
    "beams": Options(num_beams=3, num_return_sequences=2, stop=(".", "s")),
}


@pytest.mark.parametrize("name", HOW)
def test_a_stream_ends_as_what_decode_returns(name: str) -> None:
    module, batch = Toy(3, sharpness=1.3), prompt(5, 3)
    expected = decode(module, batch, HOW[name], end_ids=ENDS, text=words)
    pieces = list(stream(module, batch, HOW[name], end_ids=ENDS, text=words))
    assert [len(texts) for texts in expected] == [HOW[name].num_return_sequences] * 5
    for image, texts in enumerate(expected):
        for sequence, written in enumerate(texts):
            mine = [p for p in pieces if (p.image, p.sequence) == (image, sequence)]
            assert told(pieces, image, sequence) == written.text
            assert [i for piece in mine for i in piece.ids] == written.ids
            assert [piece.written for piece in mine] == [None] * (len(mine) - 1) + [written]
            assert all(piece.text for piece in mine[:-1])
    if name == "greedy":  # it writes enough
        assert len(pieces) > 5


def test_stops_cut_the_text_and_end_it() -> None:
    module, batch = Toy(3, sharpness=1.3), prompt(5, 3)
    greedy = Options(stop=(" on",), no_repeat_ngram_size=1, max_new_tokens=9)
    for options in (greedy, greedy.changed(num_beams=3)):
        for (written,) in decode(module, batch, options, end_ids=(), text=words):
            assert written.text is not None
            assert " on" not in written.text
            assert written.finished == (" on" in words(written.ids))
            if written.finished:
                assert words(written.ids).endswith(" on")
                assert written.text == words(written.ids)[: -len(" on")]
    found = decode(module, batch, greedy, end_ids=(), text=words)
    assert {written.finished for (written,) in found} == {True, False}


def test_rows_stop_alone_as_they_do_together() -> None:
    module, batch = Toy(3, sharpness=1.3), prompt(5, 3)
    options = Options(num_beams=3, num_return_sequences=3, stop=(".", " a"))
    for i, texts in enumerate(decode(module, batch, options, end_ids=ENDS, text=words)):
        alone = decode(module, row(batch, i), options, end_ids=ENDS, text=words)[0]
        assert [w.text for w in alone] == [w.text for w in texts]


def test_without_a_decoder_every_token_is_a_piece() -> None:
    module, batch = Toy(3), prompt(2, 3)
    pieces = list(stream(module, batch, Options(suppressed_ids=ENDS), end_ids=ENDS))
    assert len(pieces) == 2 * 20
    assert all(len(piece.ids) == 1 and piece.text == "" for piece in pieces)
    # both rows come forward together
    assert [piece.image for piece in pieces[:4]] == [0, 1, 0, 1]


def test_a_stream_can_be_left_and_changes_no_mode_between_pieces() -> None:
    pieces = stream(Toy(3), prompt(1), Options(suppressed_ids=ENDS), end_ids=ENDS)
    next(pieces)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    pieces.close()


@pytest.mark.parametrize("decode_ids", [words, pieces_of_bytes])
def test_what_is_settled_stays(decode_ids: Callable[[Sequence[int]], str]) -> None:
    ending = Ending(frozenset(), (), decode_ids)
    ids = torch.randint(0, VOCAB, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    if decode_ids is pieces_of_bytes:
        ids = list(range(len(CHINESE)))
    shown = ""
    for count in range(1, len(ids) + 1):
        settled = ending.settled(ids[:count])
        assert settled.startswith(shown)
        assert "\ufffd" not in settled
        shown = settled
    assert decode_ids(ids).startswith(shown)
    assert len(shown) > len(decode_ids(ids)) - 12


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("a dog", "a"),
        ("a dog ", "a dog"),
        ("dog", ""),
        ("", ""),
        ("一只猫", "一只猫"),
        ("一只 cat", "一只"),
        ("一只cat", "一只"),
        ("猫\ufffd\ufffd", "猫"),
        ("a\nb c", "a\nb"),
        ("see stop", "see"),
        ("一只<", "一只"),
    ],
)
def test_words_are_told_when_the_next_begins(text: str, settled: str) -> None:
    assert Ending(frozenset(), ("<end>",), lambda _: text).settled([1]) == settled
