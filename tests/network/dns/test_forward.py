"""The cache of answers from outside, stub domains, their configuration, and metrics."""

import asyncio

from dnslib import QTYPE, RCODE, RR, SOA, A, DNSRecord
from tests.network.dns.zone import nobody, zone

from shirube.foundation.clock import Clock
from shirube.network.dns.answer import Responder
from shirube.network.dns.cache import AnswerCache
from shirube.network.dns.forward import Forwarder
from shirube.network.dns.main import configuration
from shirube.network.dns.metrics import DnsMetrics
from shirube.network.dns.server import DnsServer


class Hands(Clock):
    """A clock that stands where it is put."""

    at = 100.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


def question(name="example.org", identity=1):
    made = DNSRecord.question(name)
    made.header.id = identity
    return bytes(made.pack())


def answer(query, ttl=20, rcode=RCODE.NOERROR):
    reply = DNSRecord.parse(query).reply()
    reply.header.rcode = rcode
    if rcode == RCODE.NOERROR:
        reply.add_answer(RR("example.org", rdata=A("192.0.2.1"), ttl=ttl))
    elif rcode == RCODE.NXDOMAIN:
        reply.add_auth(RR("org", QTYPE.SOA, rdata=SOA("a.", "b.", (1, 2, 3, 4, 5)), ttl=ttl))
    return bytes(reply.pack())


def test_answers_are_kept_as_long_as_they_say_and_their_lifetimes_run_down():
    clock = Hands()
    cache = AnswerCache(clock)
    cache.put(question(), False, answer(question()))
    clock.at += 7
    kept = DNSRecord.parse(cache.get(question(identity=99), False))
    assert kept.header.id == 99 and kept.rr[0].ttl == 13
    assert cache.get(question(), True) is None
    clock.at += 13
    assert cache.get(question(), False) is None and len(cache) == 0


def test_negative_answers_are_kept_failures_are_not():
    cache = AnswerCache(Hands())
    cache.put(question("a.org"), False, answer(question("a.org"), rcode=RCODE.NXDOMAIN))
    cache.put(question("b.org"), False, answer(question("b.org"), rcode=RCODE.SERVFAIL))
    assert DNSRecord.parse(cache.get(question("a.org"), False)).header.rcode == RCODE.NXDOMAIN
    assert cache.get(question("b.org"), False) is None


def test_nothing_is_kept_longer_than_half_a_minute():
    clock = Hands()
    cache = AnswerCache(clock)
    cache.put(question(), False, answer(question(), ttl=86400))
    clock.at += 31
    assert cache.get(question(), False) is None


async def test_stub_domains_have_resolvers_of_their_own():
    server = DnsServer(Responder(zone(), nobody))
    await server.start("127.0.0.1", 0)
    try:
        metrics = DnsMetrics()
        forward = Forwarder([], cache=AnswerCache(Hands()), metrics=metrics)
        assert await forward(question("web.default.svc.cluster.local"), False) is None
        forward.configure([], {"svc.Cluster.local.": [f"127.0.0.1:{server.port}"]})
        for _ in range(2):
            reply = await forward(question("web.default.svc.cluster.local"), False)
            assert str(DNSRecord.parse(reply).a.rdata) == "10.96.0.7"
        assert (metrics.cache_hits, metrics.cache_misses) == (1, 2)
        assert await forward(question("example.org"), False) is None
    finally:
        await server.close()


def test_the_config_map():
    data = {"stubDomains": '{"acme.local": ["1.2.3.4", "5.6.7.8:5353", "x"], "bad": "y"}', "upstreamNameservers": "[]"}
    assert configuration(data, ["9.9.9.9"]) == (["9.9.9.9"], {"acme.local": ["1.2.3.4", "5.6.7.8:5353"]})
    assert configuration({"upstreamNameservers": '["8.8.8.8", "fd00::1"]'}, []) == (["8.8.8.8", "fd00::1"], {})
    assert configuration({"stubDomains": "{"}, ["9.9.9.9"]) == (["9.9.9.9"], {})


async def test_metrics_are_served():
    metrics = DnsMetrics()
    metrics.observe(answer(question()), 0.0001, tcp=False)
    metrics.observe(None, 9.0, tcp=True)
    serving = await metrics.serve("127.0.0.1", 0)
    assert serving is not None
    port = serving.sockets[0].getsockname()[1]
    try:
        for path, expected in (("/metrics", b"200"), ("/", b"404")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            text = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert expected in text.split(b"\r\n")[0]
            if expected == b"200":
                assert b'coredns_dns_requests_total{proto="udp"} 1' in text
                assert b'le="0.00025"} 1' in text and b'le="+Inf"} 2' in text
    finally:
        serving.close()
        await serving.wait_closed()
