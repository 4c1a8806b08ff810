"""Asking the resolvers outside: one question, one answer, over UDP or TCP, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from pathlib import Path

from shirube.network.dns import wire
from shirube.network.dns.cache import AnswerCache
from shirube.network.dns.metrics import DnsMetrics

_SECONDS = 2.0
_MOST_WAITING = 1000


def system_resolvers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """The machine's nameservers that can be reached from another network namespace (no loopback), at most three."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].split("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(str(address))
    return found[:3]


def resolver_address(text: str, default_port: int) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:53`, `2001:db8::1` and `[2001:db8::1]:53` as address and port; port 0 is a bad one."""
    host, colon, port = text.rpartition(":")
    if colon and (("." in host and ":" not in host) or (host.startswith("[") and host.endswith("]"))):
        return host.strip("[]"), int(port) if port.isdigit() else 0
    return text.strip("[]"), default_port


class Forwarder:
    """Tries the resolvers in turn. Bounded: with too many questions waiting, new ones fail at once.

    `stub_domains` (domain -> resolvers) have resolvers of their own; of several the longest counts. A resolver may have
    a port (`192.0.2.1:5353`, `[2001:db8::1]:5353`).
    """

    def __init__(
        self,
        resolvers: list[str],
        port: int = 53,
        *,
        cache: AnswerCache | None = None,
        metrics: DnsMetrics | None = None,
    ) -> None:
        self._resolvers = resolvers
        self._stub_domains: dict[str, list[str]] = {}
        self._port = port
        self._waiting = 0
        self._cache = cache
        self._metrics = metrics

    def configure(self, resolvers: list[str], stub_domains: dict[str, list[str]]) -> None:
        self._resolvers = resolvers
        self._stub_domains = {name.strip(".").lower(): servers for name, servers in stub_domains.items()}

    async def __call__(self, packet: bytes, tcp: bool) -> bytes | None:
        """The resolver's answer, or None when nobody answered."""
        if self._cache is not None and (kept := self._cache.get(packet, tcp)) is not None:
            if self._metrics is not None:
                self._metrics.cache_hits += 1
            return kept
        answer = await self._ask(packet, tcp)
        if self._metrics is not None:
            self._metrics.cache_misses += 1
        if self._cache is not None and answer is not None:
            self._cache.put(packet, tcp, answer)
        return answer

    def _responsible(self, packet: bytes) -> list[str]:
        if self._stub_domains and (asked := wire.question(packet)) is not None:
            labels = asked.name.split(".")
            for start in range(len(labels)):
                if (servers := self._stub_domains.get(".".join(labels[start:]))) is not None:
                    return servers
        return self._resolvers

    async def _ask(self, packet: bytes, tcp: bool) -> bytes | None:
        if self._waiting >= _MOST_WAITING:
            return None
        self._waiting += 1
        try:
            for resolver in self._responsible(packet):
                try:
                    async with asyncio.timeout(_SECONDS):
                        return await (self._over_tcp if tcp else self._over_udp)(resolver, packet)
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    continue
            return None
        finally:
            self._waiting -= 1

    def _address(self, resolver: str) -> tuple[str, int]:
        return resolver_address(resolver, self._port)

    async def _over_udp(self, resolver: str, packet: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Question(answered, packet[:2]), remote_addr=self._address(resolver)
        )
        try:
            transport.sendto(packet)
            return await answered
        finally:
            transport.close()

    async def _over_tcp(self, resolver: str, packet: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._address(resolver))
        try:
            writer.write(len(packet).to_bytes(2, "big") + packet)
            length = int.from_bytes(await reader.readexactly(2), "big")
            return await reader.readexactly(length)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):  # the resolver closed first
                await writer.wait_closed()


class _Question(asyncio.DatagramProtocol):
    def __init__(self, answered: asyncio.Future[bytes], identity: bytes) -> None:
        self._answered = answered
        self._identity = identity

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        # The socket is connected, so only the resolver's packets arrive; the identity must still match.
        if data[:2] == self._identity and not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(error)
