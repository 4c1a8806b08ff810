"""Which number of a range to try next: pure arithmetic over addresses and ports.

As upstream (KEP-3070, KEP-3668): what nobody asked for by name comes from the upper band of the range, so that
the lower band stays free for people who choose their own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from shirube.foundation.chance import Chance


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers `first` to `last`; those before `dynamic` are for people who choose."""

    first: int
    last: int
    dynamic: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last

    def candidates(self, chance: Chance) -> Iterator[int]:
        """Every number once: the upper band from a random place on, then the lower."""
        for low, high in ((self.dynamic, self.last), (self.first, self.dynamic - 1)):
            size = high - low + 1
            if size > 0:
                start = chance.below(size)
                for step in range(size):
                    yield low + (start + step) % size


def address_range(cidr: str) -> Range:
    """Without the network's own address and, for IPv4, its broadcast address."""
    network = ipaddress.ip_network(cidr)
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    return Range(first, last, first + _offset(network.num_addresses, 16, 256))


def port_range(low: int, high: int) -> Range:
    return Range(low, high, low + _offset(high - low + 1, 32, 128))


def _offset(size: int, step: int, most: int) -> int:
    """Size of the lower band: none in small ranges, never more than `most`."""
    if size <= 16:
        return 0
    return min(max(16, size // step), most)
