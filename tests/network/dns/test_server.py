import asyncio

from dnslib import DNSRecord
from tests.network.dns.zone import nobody, zone

from shirube.network.dns.answer import Responder
from shirube.network.dns.forward import Forwarder, system_resolvers
from shirube.network.dns.server import DnsServer


async def test_over_udp_and_tcp_and_through_a_forwarder():
    first = DnsServer(Responder(zone(), nobody))
    await first.start("127.0.0.1", 0)
    query = DNSRecord.question("web.default.svc.cluster.local").pack()
    try:
        forward = Forwarder(["127.0.0.1"], first.port)
        for tcp in (False, True):
            answer = await forward(query, tcp)
            assert str(DNSRecord.parse(answer).a.rdata) == "10.96.0.7"
    finally:
        await first.close()


async def test_two_queries_on_one_tcp_connection_and_a_broken_one():
    server = DnsServer(Responder(zone(), nobody))
    await server.start("127.0.0.1", 0)
    query = DNSRecord.question("web.default.svc.cluster.local").pack()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(len(query).to_bytes(2, "big") + query)
            length = int.from_bytes(await reader.readexactly(2), "big")
            DNSRecord.parse(await reader.readexactly(length))
        writer.write(b"\x00\x05abc")
        writer.close()
        await writer.wait_closed()
    finally:
        await server.close()


def test_loopback_resolvers_are_passed_over(tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver nonsense\nsearch x\n")
    assert system_resolvers(file) == ["192.0.2.1"]
    assert system_resolvers(tmp_path / "none") == []
