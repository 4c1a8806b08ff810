"""Chance, passed in: names, UIDs and jitter from one seeded source, so that a run can be replayed.

Not for secrets: keys and tokens come from the `secrets` module.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# Upstream's alphabet for generated names: no vowels, no look-alikes.
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


# The bits of a UUID of version 4 that are random, and those that say that it is one.
_UUID_RANDOM = ~(0xF << 76 | 0x3 << 62)
_UUID_FIXED = 4 << 76 | 2 << 62


class Chance:
    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(int.from_bytes(os.urandom(8), "big") if seed is None else seed)

    def uid(self) -> str:
        """A random (version 4) UUID."""
        h = (self._random.getrandbits(128) & _UUID_RANDOM | _UUID_FIXED).to_bytes(16).hex()
        return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def suffix(self, length: int = 5) -> str:
        """The random end of a `generateName`."""
        random, count = self._random.random, len(SUFFIX_ALPHABET)
        return "".join([SUFFIX_ALPHABET[int(random() * count)] for _ in range(length)])

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def jitter(self, seconds: float, factor: float = 0.1) -> float:
        """`seconds` lengthened by up to `factor` of itself, as `wait.Jitter` does."""
        return seconds * (1 + self._random.random() * factor)

    def choice(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def below(self, n: int) -> int:
        return self._random.randrange(n)
