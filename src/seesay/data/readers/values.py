"""Values of rows as texts: questions, answers, choices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from seesay.data.readers.places import Refused


def strings(value: Any, *, several: bool = False) -> tuple[str, ...]:
    """Return the texts in a value: one, a list, or what annotators said as {"answer": text}.

    Args:
        value: As it is listed.
        several: Whether a text stands for a list: of JSON, or with bars between its parts.
    """
    if several and isinstance(value, str):
        value = value.strip()
        try:
            read = json.loads(value) if value.startswith("[") else value.split("|")
        except ValueError:
            read = [value]
        value = read
    given = value if isinstance(value, (list, tuple)) else [value]
    texts = (item.get("answer") if isinstance(item, Mapping) else item for item in given)
    return tuple(text for item in texts if item is not None and (text := str(item).strip()))


def check_text(name: str, value: Any) -> None:
    """Refuse what is no text: a list, an object.

    Raises:
        Refused: It is.
    """
    if isinstance(value, (list, tuple, Mapping)):
        raise Refused(f"{name} is {_kind(value)}, not a text")


def check_texts(name: str, value: Any) -> None:
    """Refuse what is neither a text nor a list of them, or of what annotators said.

    Who said nothing among others is left out; a list of nothing else is refused.

    Raises:
        Refused: It is not.
    """
    several = isinstance(value, (list, tuple))
    among = " in its list" if several else ""
    for item in value if several else [value]:
        told = isinstance(item, Mapping) and "answer" in item
        if not told and isinstance(item, (list, tuple, Mapping)):
            raise Refused(f"{name} has {_kind(item)}{among}, and no text")
    if several and value and all(item is None for item in value):
        raise Refused(f"{name} has null{among}, and no text")


def right_of(value: Any, choices: Sequence[str]) -> int | None:
    """Return the number of the right choice, told as a number or in words; None for none.

    Raises:
        Refused: It is none of the choices.
    """
    text = "" if value is None else str(value).strip()
    if not text or not choices:
        return None
    place = choices.index(text) if text in choices else int(text) if text.isdecimal() else -1
    if not 0 <= place < len(choices):
        raise Refused(f"{text!r} is none of its {len(choices)} choices")
    return place


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "an object" if isinstance(value, Mapping) else "a list"
