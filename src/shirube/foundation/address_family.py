"""IPv4 and IPv6: the words that nftables, iproute2 and the API have for each, and which of them an address is of.

What follows both families does everything once for each; a table of rules exists once for each (`ip …`, `ip6 …`).
Addresses and ranges are their canonical texts: a colon tells the families apart.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    word: str  # nft's table family and expression: "ip", "ip6"
    flag: str  # iproute2's
    api: str  # in ipFamilies and addressType
    address_type: str  # nft's
    loopback: str
    everything: str
    bits: int
    socket_family: socket.AddressFamily

    def among(self, texts: Iterable[str]) -> list[str]:
        """Those addresses or ranges that are of this family, in their order."""
        return [text for text in texts if of(text) is self]


IPV4 = Family("ip", "-4", "IPv4", "ipv4_addr", "127.0.0.0/8", "0.0.0.0/0", 32, socket.AF_INET)
IPV6 = Family("ip6", "-6", "IPv6", "ipv6_addr", "::1", "::/0", 128, socket.AF_INET6)
BOTH = (IPV4, IPV6)


def of(text: str) -> Family:
    """The family of an address or range."""
    return IPV6 if ":" in text else IPV4


def listed(text: str) -> list[str]:
    """What a flag names: one address or range, or one of each family with a comma between."""
    return [part.strip() for part in text.split(",") if part.strip()]


def endpoint(address: str, port: int) -> str:
    """`address:port`, in brackets where the address has colons."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
