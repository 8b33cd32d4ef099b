"""The published rules of CLIP's tokenizer, step by step and slowly: an oracle for tests.

Mis-decoded text is repaired, HTML entities are resolved twice, white space collapses, case is
lowered. Words are cut by the published expression, written as bytes, and merged pair by pair, the
pair that stands earliest in the list of merges first. Shares nothing with the package but the list.
"""

from __future__ import annotations

import gzip
import html
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import ftfy
import regex

MERGES = Path(__file__).parents[2] / "src/seesay/processing/bpe_simple_vocab_16e6.txt.gz"
SOT, EOT = 49406, 49407
WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


@lru_cache
def tables() -> tuple[dict[tuple[str, str], int], dict[str, int], dict[int, str]]:
    """Rank of each merge, id of each token, character of each byte."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().split("\n")[1:48895]
    merges = [tuple(line.split()) for line in lines]
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    shown += range(ord("®"), ord("ÿ") + 1)
    letters = {byte: chr(byte) for byte in shown}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(shown))
    tokens = list(letters.values())
    tokens += [token + "</w>" for token in tokens]
    tokens += ["".join(merge) for merge in merges]
    ids = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return {merge: i for i, merge in enumerate(merges)}, ids, letters  # type: ignore[misc]


def encode(text: str, length: int = 77, *, clean: bool = True) -> list[int]:
    """Ids with start and end; a text that is too long is cut, and its last id is the end."""
    ranks, ids, letters = tables()
    if clean:
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    text = regex.sub(r"\s+", " ", text).strip().lower()
    found = []
    for word in WORDS.findall(text):
        if word in ("<|startoftext|>", "<|endoftext|>"):
            found.append(ids[word])
            continue
        parts = [letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        found += [ids[part] for part in parts]
    row = [SOT, *found, EOT][:length]
    row[-1] = EOT
    return row
