"""What the DNS server counts, and how it tells: Prometheus text on port 9153, in the names that CoreDNS uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from shirube.foundation import log

_logger = log.get("dns")
PORT = 9153
_BUCKETS = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048)
_RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_IDLE_SECONDS = 5.0
_MOST_REQUEST_BYTES = 8192


class DnsMetrics:
    """Counters. `observe` is called for every answer: it must stay cheap."""

    def __init__(self) -> None:
        self._requests: Counter[bool] = Counter()  # by whether over TCP
        self._codes: Counter[int] = Counter()
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0
        self.cache_hits = 0
        self.cache_misses = 0

    def observe(self, answer: bytes | None, seconds: float, *, tcp: bool) -> None:
        self._requests[tcp] += 1
        if answer is not None and len(answer) > 3:
            self._codes[answer[3] & 0xF] += 1
        self._sum += seconds
        for index, bound in enumerate(_BUCKETS):
            if seconds <= bound:
                self._buckets[index] += 1
                return
        self._buckets[-1] += 1

    def text(self) -> str:
        out = ["# TYPE coredns_dns_requests_total counter"]
        out += [
            f'coredns_dns_requests_total{{proto="{"tcp" if tcp else "udp"}"}} {n}'
            for tcp, n in sorted(self._requests.items())
        ]
        out.append("# TYPE coredns_dns_responses_total counter")
        out += [
            f'coredns_dns_responses_total{{rcode="{_RCODES.get(code, code)}"}} {n}'
            for code, n in sorted(self._codes.items())
        ]
        out.append("# TYPE coredns_dns_request_duration_seconds histogram")
        total = 0
        for bound, count in zip((*_BUCKETS, "+Inf"), self._buckets, strict=True):
            total += count
            out.append(f'coredns_dns_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        out.append(f"coredns_dns_request_duration_seconds_sum {self._sum:.6f}")
        out.append(f"coredns_dns_request_duration_seconds_count {total}")
        for name, value in (("hits", self.cache_hits), ("misses", self.cache_misses)):
            out += [f"# TYPE coredns_cache_{name}_total counter", f"coredns_cache_{name}_total {value}"]
        return "\n".join([*out, ""])

    async def serve(self, host: str, port: int = PORT) -> asyncio.Server | None:
        """Answer `GET /metrics`; None when the port is taken, which DNS does not suffer from."""
        try:
            return await asyncio.start_server(self._answer, host, port, limit=_MOST_REQUEST_BYTES)
        except OSError as error:
            _logger.error("cannot serve metrics", address=host, port=port, error=error.strerror or str(error))
            return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                good = head.startswith((b"GET /metrics ", b"GET /metrics?"))
                body = self.text().encode() if good else b""
                status = "200 OK" if good else "404 Not Found"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            _logger.debug("gave up on a request for metrics", error=str(error))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
