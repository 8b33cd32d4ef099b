"""Samples to train and evaluate on: readers, checks, order, augmentation, batches."""

from __future__ import annotations

from seesay.data.questions import Question, Questions, open_prompts, open_questions
from seesay.data.record import Dataset, Record
from seesay.data.source import open_dataset

__all__ = [
    "Dataset",
    "Question",
    "Questions",
    "Record",
    "open_dataset",
    "open_prompts",
    "open_questions",
]
