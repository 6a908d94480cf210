"""A share of the cases, such as 3/10, so that several jobs divide a data set without talking to each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
EXPECTED = "a number and a count, such as 3/10, from 1/10 to 10/10"


@dataclass(frozen=True)
class Part:
    """One of `count` shares; the first has the number 1.

    >>> Part.parse("2/3").take(["d", "a", "c", "b", "e"], str)
    ['b', 'e']
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Reads `3/10`.

        Raises:
            ValueError: the text is not of this form, or its number is not from 1 to its count.
        """
        match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text, re.ASCII)
        if not match or int(match[1]) > int(match[2]):
            raise ValueError(EXPECTED)
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def take(self, items: Sequence[T], name: Callable[[T], str]) -> list[T]:
        """The items of this share: in the order of their names, every `count`-th from the `number`-th on."""
        return sorted(items, key=name)[self.number - 1 :: self.count]
