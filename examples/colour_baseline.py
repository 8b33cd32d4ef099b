"""What colour alone tells about `examples/drawings`: the figures a trained model has to beat.

`python examples/colour_baseline.py [--split test]`: a picture is the square root of its histogram
of 6 x 6 x 6 colours; a name is as like a picture as the likest training drawing of that name.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from seesay.data import Dataset, open_dataset

DRAWINGS = Path(__file__).with_name("drawings")
Matrix = np.ndarray[Any, np.dtype[np.float64]]


def histograms(dataset: Dataset) -> Matrix:
    """Unit vectors [N, 216]."""
    found = []
    for i in range(len(dataset)):
        pixels = np.asarray(dataset.picture(i).image, dtype=np.int64) // 43
        colours = pixels[..., 0] * 36 + pixels[..., 1] * 6 + pixels[..., 2]
        found.append(np.bincount(colours.ravel(), minlength=216) ** 0.5)
    stacked = np.stack(found)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def recall(similarity: Matrix) -> str:
    """Rows ask, columns answer, and the diagonal is right."""
    best = (-similarity).argsort(axis=1)
    right = best == np.arange(len(best))[:, None]
    return " ".join(f"R@{k} {100 * right[:, :k].any(axis=1).mean():.1f}" for k in (1, 5, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test")
    told = parser.parse_args()
    train, asked = (open_dataset(DRAWINGS, split=split) for split in ("train", told.split))
    like = histograms(train) @ histograms(asked).T
    names = np.array([record.texts[0] for record in train])
    by_name = np.stack([like[names == record.texts[0]].max(axis=0) for record in asked])
    print(f"text to image: {recall(by_name)}")
    print(f"image to text: {recall(by_name.T)}")
    labelled = train.labels[like.argmax(axis=0)] == asked.labels
    often = Counter(asked.labels.tolist()).most_common(1)[0][1]
    print(f"label of the likest drawing: {100 * labelled.mean():.1f}")
    print(f"always the commonest label: {100 * often / len(asked):.1f}")


if __name__ == "__main__":
    main()
