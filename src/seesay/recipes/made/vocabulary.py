"""Names, words, numbers and dates to fill pages with; the splits share none."""

from __future__ import annotations

import gzip
import hashlib
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

TEXTS = Path(__file__).parent / "texts"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def split_of(value: str) -> Split:
    """Return the split that a value belongs to: 15 % are for testing, 10 % for validation."""
    share = int(hashlib.sha1(value.encode()).hexdigest()[:8], 16) % 100
    return "test" if share < 15 else "validation" if share < 25 else "train"


@cache
def pool(name: str, split: Split) -> tuple[str, ...]:
    """Return the lines of a file of `texts/` that belong to a split."""
    packed = TEXTS / f"{name}.txt.gz"
    if packed.exists():
        lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    else:  # written by hand for these pages
        lines = (TEXTS / f"{name}.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if split_of(line) == split)


class Vocabulary:
    """Draws values of one split; equal generators draw equal values."""

    def __init__(self, draw: random.Random, split: Split) -> None:
        self.draw, self.split = draw, split

    def any_of(self, name: str) -> str:
        """Return one line of a file of `texts/`."""
        return self.draw.choice(pool(name, self.split))

    def known(self, name: str) -> str:
        """Likewise, earlier lines (the commoner ones) more often."""
        lines = pool(name, self.split)
        return lines[int(len(lines) * self.draw.random() ** 2)]

    def made(self, make: Callable[[], str]) -> str:
        """Return the first of the values drawn that belongs to the split."""
        while split_of(value := make()) != self.split:
            pass
        return value

    def word(self) -> str:
        """A common English word."""
        return self.known("words")

    def person(self) -> str:
        """A first and a last name."""
        return f"{self.known('first')} {self.known('last')}"

    def amount(self, most: int = 100) -> str:
        """A sum of money without a sign, such as 12.40."""
        cents = ("00", "50", "99", "95")

        def make() -> str:
            tail = self.draw.choice(cents) if self.draw.random() < 0.4 else ""
            return f"{self.draw.randrange(1, most)}.{tail or f'{self.draw.randrange(100):02}'}"

        return self.made(make)

    def number(self, least: int, most: int) -> int:
        """A whole number, which both splits share: they are too few to be divided."""
        return self.draw.randint(least, most)

    def date(self) -> str:
        """A day of the years 1990 to 2030, in one of five ways of writing it."""
        way = self.draw.randrange(5)

        def make() -> str:
            day, month = self.draw.randint(1, 28), self.draw.randint(1, 12)
            year, name = self.draw.randint(1990, 2030), MONTHS[month - 1]
            return (
                f"{day} {name} {year}",
                f"{name} {day}, {year}",
                f"{day:02}.{month:02}.{year}",
                f"{year}-{month:02}-{day:02}",
                f"{day} {name[:3]} {year}",
            )[way]

        return self.made(make)

    def time(self) -> str:
        """An hour and minutes."""
        hour, minute = self.draw.randint(1, 23), self.draw.choice((0, 15, 30, 45, 5, 20, 40, 50))
        return f"{hour}:{minute:02}"

    def phone(self) -> str:
        """A telephone number."""
        return self.made(
            lambda: (
                f"{self.draw.randint(200, 989)}-{self.draw.randint(100, 999)}-"
                f"{self.draw.randint(0, 9999):04}"
            )
        )

    def code(self) -> str:
        """A number of an order or a room: letters and digits."""
        letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"

        def make() -> str:
            head = "".join(self.draw.choice(letters) for _ in range(self.draw.randint(1, 2)))
            middle = self.draw.choice(("", "-", "-"))
            return f"{head}{middle}{self.draw.randint(10, 99999)}"

        return self.made(make)

    def address(self, person: str) -> str:
        """An e-mail address of a person."""
        first, last = person.lower().split()
        name = self.draw.choice((f"{first}.{last}", f"{first[0]}{last}", first, f"{first}_{last}"))
        end = self.draw.choice(("com", "org", "net", "edu"))
        return f"{name}@{self.word()}.{end}"

    def street(self) -> str:
        """A house number and a street."""
        kind = self.draw.choice(("Street", "Road", "Lane", "Avenue", "St", "Drive"))
        return f"{self.draw.randint(1, 199)} {self.known('last')} {kind}"

    def odd(self) -> str:
        """Anything that is no word: numbers, dates, codes, addresses."""
        makers = (
            self.amount,
            self.date,
            self.code,
            self.phone,
            self.time,
            lambda: self.address(self.person()),
            lambda: str(self.number(0, 9999)),
            lambda: "$" + self.amount(),
            lambda: f"{self.number(1, 100)}%",
        )
        maker: Callable[[], str] = self.draw.choice(makers)
        return maker()


def titled(text: str) -> str:
    """Capitals as in titles."""
    small = {"of", "the", "and", "a", "an", "in", "on", "to", "for"}
    words = text.split()
    return " ".join(w if i and w in small else w[:1].upper() + w[1:] for i, w in enumerate(words))
