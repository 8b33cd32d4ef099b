"""Samples to train and evaluate on: readers, checks, order, augmentation, batches."""

from __future__ import annotations

from seesay.data.record import Dataset, Record
from seesay.data.source import open_dataset

__all__ = ["Dataset", "Record", "open_dataset"]
