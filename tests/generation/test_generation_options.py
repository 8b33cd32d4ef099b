"""Options that cannot be are refused in words that say what to set."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from seesay.config import from_dict, override, to_dict
from seesay.errors import UsageError
from seesay.generation import Options

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no beams": ({"num_beams": 0}, "num_beams=0 is not at least 1"),
    "half a beam": ({"num_beams": 2.5}, "not a whole number"),
    "a beam told as true": ({"num_beams": True}, "not a whole number"),
    "cold": ({"temperature": 0.0}, "temperature=0.0 is not above 0"),
    "a number told as text": ({"top_p": "0.9"}, "top_p='0.9' is not a number"),
    "no mass": ({"top_p": 0}, "top_p=0 is not in"),
    "too much mass": ({"typical_p": 1.2}, "typical_p=1.2 is not in"),
    "below zero": ({"top_k": -1}, "top_k=-1 is not at least 0"),
    "nan": ({"length_penalty": float("nan")}, "length_penalty=nan"),
    "several of one": ({"num_return_sequences": 3}, "do_sample=True, or num_beams=3"),
    "more than beams": ({"num_beams": 2, "num_return_sequences": 3}, "set num_beams=3"),
    "odd groups": (
        {"num_beams": 5, "num_beam_groups": 2, "diversity_penalty": 1.0},
        "set num_beams=4",
    ),
    "groups without a penalty": ({"num_beams": 4, "num_beam_groups": 2}, "set both or neither"),
    "a penalty without groups": ({"diversity_penalty": 1.0}, "set both or neither"),
    "drawn groups": (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "do_sample": True},
        "drop one",
    ),
    "early": ({"early_stopping": "soon"}, "early_stopping='soon'"),
    "least above most": ({"min_length": 9, "max_length": 5}, "min_length=9 is more than"),
    "least new above most": ({"min_new_tokens": 9, "max_new_tokens": 5}, "min_new_tokens=9"),
    "a stop that is no list": ({"stop": "."}, "not a list of texts"),
    "an empty stop": ({"stop": ("",)}, "none of them empty"),
    "a negative id": ({"suppressed_ids": (-1,)}, "negative id"),
    "a negative seed": ({"seed": -1}, "seed=-1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_said_with_its_value(name: str) -> None:
    settings, text = BAD[name]
    with pytest.raises(ValueError, match="=") as raised:
        Options(**settings)
    assert text in str(raised.value)
    with pytest.raises(UsageError) as told:
        Options().changed(**settings)
    assert text in str(told.value)


def test_every_option_says_what_it_is() -> None:
    for field in dataclasses.fields(Options):
        assert field.metadata["help"].endswith(".")
        assert len(field.metadata["help"]) < 80


def test_options_travel_as_data() -> None:
    options = Options(num_beams=3, early_stopping="never", stop=("\n",), suppressed_ids=(1, 2))
    assert from_dict(Options, to_dict(options)) == options
    settings = ["early_stopping=true", "suppressed_ids=[4,5]", "max_length=none", "num_beams=2"]
    changed = override(options, settings)
    assert changed.early_stopping is True
    assert changed.suppressed_ids == (4, 5)


def test_a_user_changes_the_options_of_a_family() -> None:
    family = Options(num_beams=3, max_length=20, min_length=5)
    assert family.changed(num_beams=1) == Options(max_length=20, min_length=5)
    # one way to tell a length forgets the other
    assert family.changed(max_new_tokens=4).max_length is None
    assert family.changed(max_new_tokens=4).changed(max_length=30).max_new_tokens is None
    # who samples wants no beams
    assert family.changed(do_sample=True, top_p=0.9).num_beams == 1
    assert family.changed(do_sample=True, num_beams=2).num_beams == 2
    # a list is what JSON has
    listed = family.changed(stop=["."], suppressed_ids=[1, 2])
    assert listed == family.changed(stop=(".",), suppressed_ids=(1, 2))
    assert hash(listed) == hash(listed.changed())


def test_settings_without_effect_and_unknown_ones_are_refused() -> None:
    with pytest.raises(UsageError, match=r"top_p=0\.9 has no effect") as raised:
        Options().changed(top_p=0.9)
    assert raised.value.hint == "set do_sample=True, or --do-sample"
    with pytest.raises(UsageError, match="Did you mean num_beams"):
        Options().changed(num_beam=3)
    assert Options(do_sample=True, temperature=0.5).changed(do_sample=False).temperature == 0.5


def test_options_cost_no_torch() -> None:
    code = (
        "import sys, seesay.generation; seesay.generation.Options(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
