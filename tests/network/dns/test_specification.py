"""The Kubernetes DNS-Based Service Discovery specification 1.1.0, section by section, on a zone of two families; and a
collection of packets that are wrong in every way we know of."""

from __future__ import annotations

import socket
import struct

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from shirube.network.dns.answer import Responder
from shirube.network.dns.forward import Forwarder
from shirube.network.dns.metrics import DnsMetrics
from shirube.network.dns.records import Zone
from shirube.network.dns.server import DnsServer

D = "cluster.local"


def service(name, **spec):
    return {"metadata": {"namespace": "ns", "name": name}, "spec": {"ports": [], **spec}}


def piece(service_name, family, *endpoints, ports=({"name": "https", "port": 443, "protocol": "TCP"},)):
    metadata = {"namespace": "ns", "name": f"{service_name}-1", "labels": {"kubernetes.io/service-name": service_name}}
    return {"metadata": metadata, "addressType": family, "ports": list(ports), "endpoints": list(endpoints)}


def endpoint(address, hostname="", ready=True):
    named = {"hostname": hostname} if hostname else {}
    return {"addresses": [address], "conditions": {"ready": ready}, **named}


PORTS = [{"name": "https", "port": 443, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
SERVICES = {
    s["metadata"]["name"]: s
    for s in (
        service("single", clusterIP="10.3.0.1", clusterIPs=["10.3.0.1"], ports=PORTS),
        service("dual", clusterIP="10.3.0.100", clusterIPs=["10.3.0.100", "2001:db8::1"], ports=PORTS),
        service("headless", clusterIP="None", clusterIPs=["None"], ports=PORTS),
        service("early", clusterIP="None", publishNotReadyAddresses=True),
        service("late", clusterIP="None"),
        service("names", clusterIP="None"),
        service("external", type="ExternalName", externalName="www.example.com"),
        service("inner", type="ExternalName", externalName="dual.ns.svc.cluster.local"),
    )
}
SLICES = {
    "headless": [
        piece(
            "headless", "IPv4", endpoint("10.3.0.7"), endpoint("10.3.0.8", "my-pod"), endpoint("10.3.0.9", ready=False)
        ),
        piece("headless", "IPv6", endpoint("2001:db8::7"), endpoint("2001:db8::8", "my-pod")),
    ],
    "early": [piece("early", "IPv4", endpoint("10.3.0.20", ready=False))],
    "late": [piece("late", "IPv4", endpoint("10.3.0.21", ready=False))],
    "names": [piece("names", "FQDN", endpoint("web.example.org"))],
}


def zone():
    def by_address(address):
        services = [s for s in SERVICES.values() if address in s["spec"].get("clusterIPs", ())]
        pieces = [
            p
            for listed in SLICES.values()
            for p in listed
            if any(address in e["addresses"] and e.get("hostname") for e in p["endpoints"])
        ]
        return services, pieces

    return Zone(
        D,
        service=lambda namespace, name: SERVICES.get(name) if namespace == "ns" else None,
        slices=lambda namespace, name: SLICES.get(name, []),
        namespace_exists=lambda name: name == "ns",
        by_address=by_address,
    )


async def nobody(packet, tcp):
    return None


async def ask(name, kind):
    packet = bytes(DNSRecord.question(name, kind).pack())
    responder = Responder(zone(), nobody)
    answer = responder.at_once(packet, tcp=True) or await responder.respond(packet, tcp=True)
    return DNSRecord.parse(answer)


SEVEN, EIGHT = (".".join(reversed(f"20010db8{0:023x}{n}")) + ".ip6.arpa" for n in (7, 8))
ONE = ".".join(reversed(f"20010db8{0:023x}1")) + ".ip6.arpa"


@pytest.mark.parametrize(
    ("section", "name", "kind", "wanted"),
    [
        # 2.2: schema version
        ("2.2", f"dns-version.{D}", "TXT", {'"1.1.0"'}),
        # 2.3.1: addresses of Services with a cluster address, of each family that they have
        ("2.3.1", f"single.ns.svc.{D}", "A", {"10.3.0.1"}),
        ("2.3.1", f"single.ns.svc.{D}", "AAAA", set()),
        ("2.3.1", f"dual.ns.svc.{D}", "A", {"10.3.0.100"}),
        ("2.3.1", f"dual.ns.svc.{D}", "AAAA", {"2001:db8::1"}),
        # 2.3.2: ports; an unnamed one has no record
        ("2.3.2", f"_https._tcp.dual.ns.svc.{D}", "SRV", {f"443 dual.ns.svc.{D}"}),
        ("2.3.2", f"_dns._udp.dual.ns.svc.{D}", "SRV", None),
        ("2.3.2", f"_https._udp.dual.ns.svc.{D}", "SRV", None),
        # 2.3.3: from address to name
        ("2.3.3", "1.0.3.10.in-addr.arpa", "PTR", {f"single.ns.svc.{D}."}),
        ("2.3.3", ONE, "PTR", {f"dual.ns.svc.{D}."}),
        # 2.4.1: headless: every ready endpoint, and each by its hostname
        ("2.4.1", f"headless.ns.svc.{D}", "A", {"10.3.0.7", "10.3.0.8"}),
        ("2.4.1", f"headless.ns.svc.{D}", "AAAA", {"2001:db8::7", "2001:db8::8"}),
        ("2.4.1", f"my-pod.headless.ns.svc.{D}", "A", {"10.3.0.8"}),
        ("2.4.1", f"my-pod.headless.ns.svc.{D}", "AAAA", {"2001:db8::8"}),
        ("2.4.1", f"nobody.headless.ns.svc.{D}", "A", None),
        ("2.4.1", f"early.ns.svc.{D}", "A", {"10.3.0.20"}),
        ("2.4.1", f"late.ns.svc.{D}", "A", None),
        ("2.4.1", f"names.ns.svc.{D}", "A", None),
        # 2.4.2: their ports, with a target for each endpoint
        (
            "2.4.2",
            f"_https._tcp.headless.ns.svc.{D}",
            "SRV",
            {
                f"443 my-pod.headless.ns.svc.{D}",
                f"443 10-3-0-7.headless.ns.svc.{D}",
                f"443 2001-db8--7.headless.ns.svc.{D}",
            },
        ),
        ("2.4.2", f"10-3-0-7.headless.ns.svc.{D}", "A", {"10.3.0.7"}),
        ("2.4.2", f"2001-db8--7.headless.ns.svc.{D}", "AAAA", {"2001:db8::7"}),
        # 2.4.3: from address to name, of endpoints with hostnames
        ("2.4.3", "8.0.3.10.in-addr.arpa", "PTR", {f"my-pod.headless.ns.svc.{D}."}),
        ("2.4.3", EIGHT, "PTR", {f"my-pod.headless.ns.svc.{D}."}),
        # 2.5: external names
        ("2.5", f"external.ns.svc.{D}", "CNAME", {"www.example.com."}),
        ("2.5", f"external.ns.svc.{D}", "A", {"www.example.com."}),
        ("2.5", f"inner.ns.svc.{D}", "AAAA", {f"dual.ns.svc.{D}.", "2001:db8::1"}),
        # 2.6: pods by their addresses
        ("2.6", f"10-3-0-7.ns.pod.{D}", "A", {"10.3.0.7"}),
        ("2.6", f"2001-db8--7.ns.pod.{D}", "AAAA", {"2001:db8::7"}),
        ("2.6", f"10-3-0-7.elsewhere.pod.{D}", "A", None),
        ("2.6", f"not-an-address.ns.pod.{D}", "A", None),
        # 2.1: what is in the zone and has nothing to say exists all the same; what is not there does not
        ("2.1", f"svc.{D}", "A", set()),
        ("2.1", f"ns.svc.{D}", "A", set()),
        ("2.1", f"nowhere.svc.{D}", "A", None),
    ],
)  # fmt: skip
async def test_the_specification(section, name, kind, wanted):
    reply = await ask(name, kind)
    assert reply.header.aa == 1
    assert reply.header.rcode == (RCODE.NXDOMAIN if wanted is None else RCODE.NOERROR), section
    found = set()
    for record in reply.rr:
        data = record.rdata
        found.add(f"{data.port} {str(data.target).rstrip('.')}" if QTYPE[record.rtype] == "SRV" else str(data))
    assert found == (wanted or set()), section
    if not found:
        [authority] = reply.auth  # how long the answer may be remembered
        assert QTYPE[authority.rtype] == "SOA" and authority.rdata.times[-1] == 5


async def test_srv_answers_bring_the_addresses_of_their_targets():
    reply = await ask(f"_https._tcp.dual.ns.svc.{D}", "SRV")
    assert {str(r.rdata) for r in reply.ar} == {"10.3.0.100", "2001:db8::1"}


HEAD = struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0)
WELL = bytes(DNSRecord.question(f"single.ns.svc.{D}").pack())
WITH_ONE_MORE = struct.pack("!6H", 1, 0, 1, 0, 0, 1) + WELL[12:]
WRONG = {
    "nothing": b"",
    "half a header": HEAD[:7],
    "no question": HEAD,
    "a question that ends in a label": HEAD + b"\x06single",
    "a label longer than the packet": HEAD + b"\x3fabc\0\0\1\0\1",
    "a label with a reserved length": HEAD + b"\x80" + b"a" * 200,
    "a pointer to itself": HEAD + b"\xc0\x0c\0\1\0\1",
    "pointers in a circle": HEAD + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    "a pointer behind the end": HEAD + b"\xff\xff\0\1\0\1",
    "half a pointer": HEAD + b"\xc0",
    "a name of 300 bytes": HEAD + b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 4 + b"\0\0\1\0\1",
    "a thousand labels": HEAD + b"\1a" * 1000 + b"\0\0\1\0\1",
    "65535 questions": struct.pack("!6H", 1, 0, 65535, 0, 0, 0) + WELL[12:],
    "two questions": struct.pack("!6H", 1, 0x0100, 2, 0, 0, 0) + WELL[12:] * 2,
    "65535 answers in a question": struct.pack("!6H", 1, 0, 1, 65535, 0, 0) + WELL[12:],
    "an additional record that is not there": struct.pack("!6H", 1, 0, 1, 0, 0, 1) + WELL[12:],
    "an OPT record whose data is not there": WITH_ONE_MORE + b"\0\0\x29\x10\0\0\0\0\0\xff\xff",
    "an OPT record with broken options": WITH_ONE_MORE + b"\0\0\x29\x10\0\0\0\0\0\0\3\0\x0a\0",
    "two OPT records": struct.pack("!6H", 1, 0, 1, 0, 0, 2) + WELL[12:] + b"\0\0\x29\x10\0\0\0\0\0\0\0" * 2,
    "an answer": struct.pack("!6H", 1, 0x8180, 1, 0, 0, 0) + WELL[12:],
    "another operation": struct.pack("!6H", 1, 0x2800, 1, 0, 0, 0) + WELL[12:],
    "another class": WELL[:-2] + b"\0\3",
    "a type that nobody knows": WELL[:-4] + b"\xff\0\0\1",
    "a zone transfer": WELL[:-4] + b"\0\xfc\0\1",
    "bytes behind the question": WELL + b"\0" * 400,
    "bytes that are no text in a label": HEAD + b"\4\xff\xfe\0." + b"\7cluster\5local\0\0\1\0\1",
    "an empty name": HEAD + b"\0\0\1\0\1",
    "nothing but ones": b"\xff" * 512,
}  # fmt: skip


@pytest.mark.parametrize("packet", WRONG.values(), ids=WRONG.keys())
async def test_wrong_packets_are_answered_as_what_they_are_or_not_at_all(packet):
    responder = Responder(zone(), nobody)
    for tcp in (False, True):
        answer = responder.at_once(packet, tcp=tcp)
        if answer is None:
            answer = await responder.respond(packet, tcp=tcp)
        if answer is not None:
            assert answer[:2] == packet[:2] and answer[2] & 0x80, "an answer to this very question"
            assert len(answer) <= 65535 and (tcp or len(answer) <= 1232)


async def test_the_server_goes_on_after_all_of_them():
    metrics = DnsMetrics()
    server = DnsServer(Responder(zone(), nobody), metrics)
    await server.start("127.0.0.1", 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", server.port))
            for packet in WRONG.values():
                client.send(packet)
        for tcp in (False, True):
            answer = await Forwarder([f"127.0.0.1:{server.port}"])(WELL, tcp)
            assert answer is not None and str(DNSRecord.parse(answer).rr[0].rdata) == "10.3.0.1"
    finally:
        await server.close()
    assert 'coredns_dns_responses_total{rcode="NOERROR"}' in metrics.text()


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG.keys())
async def test_what_resolvers_outside_say_is_not_believed(answer):
    """Behind an alias the answer of a resolver is taken apart: whatever it is, the alias itself is told."""

    async def liar(packet, tcp):
        return packet[:2] + answer[2:]

    packet = bytes(DNSRecord.question(f"external.ns.svc.{D}").pack())
    reply = DNSRecord.parse(await Responder(zone(), liar).respond(packet, tcp=True))
    assert str(reply.rr[0].rdata) == "www.example.com."
