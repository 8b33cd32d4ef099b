"""How a text is generated, as frozen data. Names are those of transformers where it has them.

Imports neither torch nor anything slow: command lines and family declarations read it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

from seesay.errors import UsageError, nearest

NEW_TOKENS = 20
"""How many tokens are written at most when neither a length nor the family's is given."""

SAMPLING = ("temperature", "top_k", "top_p", "typical_p", "seed")
"""Options that mean nothing unless `do_sample`."""


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a text is generated. docs/generation.md says what each option does.

    Lengths called `max_length` and `min_length` count the prefix, as published settings do;
    those of `new_tokens` count only what is written, and take precedence.
    """

    num_beams: int = _option(1, "Beams of beam search; 1 searches none.")
    do_sample: bool = _option(False, "Draw tokens by their probability instead of taking the best.")
    temperature: float = _option(1.0, "Below 1 sharpens the probabilities that are drawn from.")
    top_k: int = _option(0, "Draw from so many most probable tokens; 0 for all.")
    top_p: float = _option(1.0, "Draw from the fewest tokens that have this much probability.")
    typical_p: float = _option(1.0, "Draw from the most typical tokens that have this much of it.")
    num_return_sequences: int = _option(1, "How many texts for each image.")
    num_beam_groups: int = _option(1, "Groups of beams that avoid each other's tokens.")
    diversity_penalty: float = _option(0.0, "How much a group avoids tokens of those before it.")
    length_penalty: float = _option(1.0, "Power of the length that scores of beams are divided by.")
    early_stopping: Literal[False, True, "never"] = _option(
        False, "Stop when all beams finished (true), when better are unlikely, or never."
    )
    repetition_penalty: float = _option(1.0, "Above 1 makes tokens less likely that were written.")
    no_repeat_ngram_size: int = _option(0, "No run of so many tokens comes twice; 0 forbids none.")
    max_length: int | None = _option(None, "Most tokens, the prefix included.")
    min_length: int = _option(0, "Fewest tokens before the end, the prefix included.")
    max_new_tokens: int | None = _option(
        None, "Most tokens to write; if no length is set, what the model was published with."
    )
    min_new_tokens: int | None = _option(None, "Fewest tokens to write before the end.")
    forced_bos_id: int | None = _option(None, "Id that follows a prefix of one token.")
    forced_eos_id: int | None = _option(None, "Id that comes last where the length runs out.")
    suppressed_ids: tuple[int, ...] = _option((), "Ids that are never written.")
    stop: tuple[str, ...] = _option((), "Texts before which writing stops.")
    seed: int | None = _option(None, "Makes the draws repeatable.")

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences", "num_beam_groups"):
            self._least(name, 1)
        for name in ("top_k", "no_repeat_ngram_size", "min_length", "min_new_tokens"):
            self._least(name, 0)
        for name in ("max_length", "max_new_tokens"):
            self._least(name, 1)
        for name in ("forced_bos_id", "forced_eos_id", "seed"):
            self._least(name, 0)
        for name in ("temperature", "repetition_penalty"):
            if self._number(name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} is not above 0; 1 changes nothing")
        for name in ("top_p", "typical_p"):
            if not 0 < self._number(name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not in (0, 1]; 1 keeps all")
        self._number("length_penalty")
        if self._number("diversity_penalty") < 0:
            raise ValueError(f"diversity_penalty={self.diversity_penalty} is below 0")
        if self.early_stopping not in (False, True, "never"):
            raise ValueError(
                f"early_stopping={self.early_stopping!r} is none of false, true and 'never'"
            )
        if any(i < 0 for i in self.suppressed_ids):
            raise ValueError(f"suppressed_ids={self.suppressed_ids} has a negative id")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ValueError(f"stop={self.stop!r} is not a list of texts, none of them empty")
        self._check_together()

    def _least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name}={value!r} is not a whole number")
        if value < least:
            raise ValueError(f"{name}={value} is not at least {least}")

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not isfinite(value):
            raise ValueError(f"{name}={value!r} is not a number")
        return value

    def _check_together(self) -> None:
        """Refuse settings that contradict each other."""
        beams, groups, several = self.num_beams, self.num_beam_groups, self.num_return_sequences
        if several > 1 and beams == 1 and not self.do_sample:
            raise ValueError(
                f"num_return_sequences={several}, but there is only one most probable text; "
                f"set do_sample=True, or num_beams={several} or more"
            )
        if beams > 1 and several > beams:
            raise ValueError(
                f"num_return_sequences={several} is more than num_beams={beams}; "
                f"set num_beams={several} or more"
            )
        if beams % groups:
            raise ValueError(
                f"num_beams={beams} cannot be split into num_beam_groups={groups}; "
                f"set num_beams={max(1, round(beams / groups)) * groups}"
            )
        if groups > 1 and self.do_sample:
            raise ValueError(f"num_beam_groups={groups} does not go with do_sample=True; drop one")
        if (groups > 1) != (self.diversity_penalty > 0):
            raise ValueError(
                f"num_beam_groups={groups} with diversity_penalty={self.diversity_penalty}: "
                "groups above 1 and a penalty above 0 go together; set both or neither"
            )

        if self.max_new_tokens is not None and (self.min_new_tokens or 0) > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens={self.min_new_tokens} is more than "
                f"max_new_tokens={self.max_new_tokens}"
            )
        both = self.max_length is not None and self.max_new_tokens is None
        if both and self.min_new_tokens is None and self.min_length > (self.max_length or 0):
            raise ValueError(
                f"min_length={self.min_length} is more than max_length={self.max_length}"
            )

    def changed(self, **settings: Any) -> Options:
        """Return these options with some set anew, as a user does with those of a family.

        Lengths are told in one of two ways: setting `max_new_tokens` or `max_length` forgets the
        other, and so it is with the least ones. Who asks for sampling and does not speak of beams
        gets no beams.

        Raises:
            UsageError: An option does not exist, cannot be so, or would have no effect.
        """
        names = [f.name for f in dataclasses.fields(self)]
        for name in settings:
            if name not in names:
                raise UsageError(f"there is no option {name!r}.{nearest(name, names)}")
        forgotten: dict[str, Any] = {}
        if settings.get("max_length") is not None and "max_new_tokens" not in settings:
            forgotten["max_new_tokens"] = None
        if settings.get("max_new_tokens") is not None and "max_length" not in settings:
            forgotten["max_length"] = None
        if settings.get("min_length") is not None and "min_new_tokens" not in settings:
            forgotten["min_new_tokens"] = None
        if settings.get("do_sample") and "num_beams" not in settings:
            forgotten |= {"num_beams": 1, "num_beam_groups": 1, "diversity_penalty": 0.0}
        # JSON has lists alone
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        try:
            made = dataclasses.replace(self, **{**forgotten, **settings})
        except ValueError as error:
            raise UsageError(str(error)) from None
        told = [name for name in SAMPLING if settings.get(name, _default(name)) != _default(name)]
        if told and not made.do_sample:
            raise UsageError(
                f"{told[0]}={settings[told[0]]} has no effect without sampling",
                "set do_sample=True, or --do-sample",
            )
        return made


def _default(name: str) -> Any:
    return next(f.default for f in dataclasses.fields(Options) if f.name == name)
