"""The text tower's first training: imitate an English teacher, in English and Chinese.

A pair's target is the teacher's vector of its English side, whichever side the student reads.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn

from seesay.families.mini.configs import TextConfig
from seesay.recipes.mini.corpus import SHARES, Pair
from seesay.recipes.mini.sources import TEACHER
from seesay.train.objectives import distillation

UNKNOWN = "<unk>"
_CHINESE_WORDS = ("words", "captions", "classes", "emoji")


def train_tokenizer(corpus: dict[str, list[Pair]], vocab_size: int) -> Tokenizer:
    """Return a lower-casing BPE over words and over runs of ideographs.

    The made-up captions of the grammar teach it English words but no Chinese ones: their stock
    phrases would be merged into tokens that say too much at once.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(IDEOGRAPHS), "isolated"),
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[UNKNOWN],
        min_frequency=3,
        limit_alphabet=4200,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    return tokenizer


IDEOGRAPHS = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"


def _texts(corpus: dict[str, list[Pair]]) -> Iterator[str]:
    """The corpus with its small, visual parts repeated about as often as training draws them."""
    for name, pairs in corpus.items():
        repeats = max(1, min(20, round(400_000 * SHARES[name] / len(pairs))))
        for pair in pairs:
            for _ in range(repeats):
                yield pair.english
                if name in _CHINESE_WORDS:
                    yield pair.chinese


def teach(work: Path, texts: list[str]) -> np.ndarray:
    """Return the teacher's unit vectors [N, 384] fp16 of English texts; kept on disk."""
    from transformers import AutoModel, AutoTokenizer

    folder = next((work / "packages" / TEACHER.folder).glob("*/model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).bfloat16().eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.empty((len(texts), model.config.hidden_size), np.float16)
    with torch.inference_mode():
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            batch = tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=64,
                return_tensors="pt",
            )
            hidden = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            vectors[rows] = F.normalize(mean, dim=-1).numpy()
    return vectors


class Encoded:
    """Texts as padded ids, made once."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str], max_length: int) -> None:
        found = [e.ids[:max_length] or [0] for e in tokenizer.encode_batch(texts)]
        self.lengths = np.array([len(ids) for ids in found])
        self.ids = np.zeros((len(found), max(self.lengths, default=1)), np.int16)
        for row, ids in zip(self.ids, found, strict=True):
            row[: len(ids)] = ids

    def __getitem__(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Ids [B, L] and mask [B, L] of these rows, no longer than the longest."""
        lengths = torch.from_numpy(self.lengths[rows])
        longest = int(lengths.max())
        ids = torch.from_numpy(self.ids[rows][:, :longest].astype(np.int64))
        return ids, torch.arange(longest) < lengths[:, None]


def misspelt(text: str, rng: random.Random) -> str:
    """Return an English text with one letter doubled, dropped or swapped with the next."""
    if len(text) < 5:
        return text
    at = rng.randrange(1, len(text) - 1)
    return rng.choice(
        [
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
        ]
    )


class DistilData:
    """Batches of (ids, mask, target), each a function of its step alone."""

    def __init__(
        self,
        work: Path,
        tokenizer: Tokenizer,
        corpus: dict[str, list[Pair]],
        config: TextConfig,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        english = list(dict.fromkeys(p.english for pairs in corpus.values() for p in pairs))
        row_of = {text: i for i, text in enumerate(english)}
        path = work / "text" / "teacher.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, teach(work, english))
        self.targets = np.load(path, mmap_mode="r")
        if len(self.targets) != len(english):
            raise ValueError(f"{path} has {len(self.targets)} rows, the corpus {len(english)}")
        rng = random.Random(seed)
        texts: list[str] = []
        rows: list[int] = []
        bounds = [0]
        for pairs in corpus.values():
            for pair in pairs:
                target = row_of[pair.english]
                texts.append(pair.english)
                rows.append(target)
                if rng.random() < 0.1:
                    texts.append(misspelt(pair.english, rng))
                    rows.append(target)
                if pair.chinese:
                    texts.append(pair.chinese)
                    rows.append(target)
            bounds.append(len(texts))
        tokenizer.model.dropout = 0.08  # other splits of the same words, as typing makes them
        self.encoded = Encoded(tokenizer, texts, config.max_length)
        tokenizer.model.dropout = None
        self.rows = np.array(rows)
        self.bounds = bounds
        self.shares = np.array([SHARES[name] for name in corpus])

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the batch of a step: texts of similar length, to waste little on padding."""
        rng = np.random.default_rng([self.seed, step])
        part = rng.choice(len(self.shares), 4 * self.batch_size, p=self.shares)
        low, high = np.array(self.bounds)[part], np.array(self.bounds)[part + 1]
        drawn = low + (rng.random(len(part)) * (high - low)).astype(np.int64)
        by_length = drawn[np.argsort(self.encoded.lengths[drawn], kind="stable")]
        start = int(rng.integers(0, 4)) * self.batch_size
        chosen = by_length[start : start + self.batch_size]
        ids, mask = self.encoded[chosen]
        targets = torch.from_numpy(self.targets[self.rows[chosen]].astype(np.float32))
        return ids, mask, targets


def distil_loss(tower: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the distillation loss of a text tower on a batch."""
    ids, mask, targets = batch
    return distillation(F.normalize(tower(ids, mask).float(), dim=-1), targets)


def deepen(shallow: dict[str, Tensor], tower: nn.Module) -> None:
    """Start `tower` as the same function as one without blocks: new blocks add nothing yet."""
    state = tower.state_dict()
    for name, tensor in state.items():
        if name in shallow:
            tensor.copy_(shallow[name])
        elif ".out_proj." in name or ".fc2." in name:
            tensor.zero_()
    tower.load_state_dict(state)
