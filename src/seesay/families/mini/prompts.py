"""Prompt sets for zero-shot classification; the bare label comes first, as most training texts."""

from __future__ import annotations

TEMPLATES: dict[str, list[str]] = {
    "short": ["{}", "a photo of a {}"],
    "none": ["{}"],
    "photo": ["a photo of a {}"],
    "chinese": ["{}", "{}的照片"],
}
