"""The fast way and the general way say the same; malformed packets get FORMERR or nothing, never an exception."""

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from tests.network.dns.zone import nobody, zone

from shirube.network.dns import wire
from shirube.network.dns.answer import Responder

NAMES = [
    "web.default.svc.cluster.local",
    "WEB.Default.svc.cluster.local",
    "db.default.svc.cluster.local",
    "db-0.db.default.svc.cluster.local",
    "nobody.default.svc.cluster.local",
    "web.default.svc.cluster.local.default.svc.cluster.local",
    "default.svc.cluster.local",
    "cluster.local",
    "10-244-0-7.default.pod.cluster.local",
    "outside.default.svc.cluster.local",
    "example.org",
]


def query(name, kind="A", edns=None):
    made = DNSRecord.question(name, kind)
    if edns is not None:
        made.add_ar(EDNS0(udp_len=edns))
    return bytes(made.pack())


def meaning(packet):
    parsed = DNSRecord.parse(packet)
    header = parsed.header
    return (
        (header.id, header.qr, header.aa, header.rd, header.ra, header.tc, header.rcode),
        str(parsed.q.qname),
        sorted(str(r) for r in parsed.rr),
        [str(r) for r in parsed.auth],
        [(r.rtype, r.rclass) for r in parsed.ar],
    )


@pytest.mark.parametrize("edns", [None, 512, 4096])
@pytest.mark.parametrize("kind", ["A", "AAAA", "SRV"])
@pytest.mark.parametrize("name", NAMES)
async def test_both_ways_say_the_same(name, kind, edns):
    responder = Responder(zone(), nobody)
    packet = query(name, kind, edns)
    fast = responder.at_once(packet, tcp=False)
    if fast is not None:
        assert meaning(fast) == meaning(await responder.respond(packet, tcp=False))
    else:
        assert kind == "SRV" or name in ("outside.default.svc.cluster.local", "example.org")


@given(st.binary(max_size=80), st.sampled_from(NAMES), st.integers(0, 60), st.binary(max_size=3))
async def test_malformed_packets(noise, name, at, patch):
    responder = Responder(zone(), nobody)
    whole = query(name)
    for packet in (
        noise,
        whole[:at],
        whole[:at] + patch + whole[at + len(patch) :],
        whole + noise,
        noise[:12] + whole[12:],
    ):
        for tcp in (False, True):
            answer = responder.at_once(packet, tcp=tcp) or await responder.respond(packet, tcp=tcp)
            assert answer is None or answer[:2] == packet[:2]
        wire.lifetimes(packet)


async def test_edns_versions_and_sizes():
    responder = Responder(zone(), nobody)
    packet = bytearray(query(NAMES[0], edns=4096))
    reply = DNSRecord.parse(responder.at_once(bytes(packet), tcp=False))
    assert [r.rclass for r in reply.ar if r.rtype == QTYPE.OPT] == [wire.UDP_MOST]
    packet[-5] = 1  # version 1
    assert responder.at_once(bytes(packet), tcp=False) is None
    reply = DNSRecord.parse(await responder.respond(bytes(packet), tcp=False))
    [opt] = [r for r in reply.ar if r.rtype == QTYPE.OPT]
    assert opt.ttl >> 24 == 1 and reply.header.rcode == RCODE.NOERROR and not reply.rr


def test_clients_take_turns():
    responder = Responder(zone(), nobody)
    firsts = set()
    for _ in range(40):
        firsts.add(
            str(DNSRecord.parse(responder.at_once(query("db.default.svc.cluster.local"), tcp=False)).rr[0].rdata)
        )
    assert len(firsts) == 2
