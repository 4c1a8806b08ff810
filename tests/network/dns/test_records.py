"""The DNS specification's records, over real packets."""

from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st
from tests.network.dns.zone import SLICE, nobody, zone

from shirube.network.dns.answer import Responder


async def ask(name, kind="A", *, tcp=False):
    packet = await Responder(zone(), nobody).respond(DNSRecord.question(name, kind).pack(), tcp=tcp)
    return DNSRecord.parse(packet)


async def values(name, kind="A"):
    return sorted(str(r.rdata) for r in (await ask(name, kind)).rr)


async def test_cluster_ip_service():
    assert await values("web.default.svc.cluster.local") == ["10.96.0.7"]
    assert await values("WEB.Default.svc.CLUSTER.local.") == ["10.96.0.7"]
    assert await values("_http._tcp.web.default.svc.cluster.local", "SRV") == [
        "0 100 80 web.default.svc.cluster.local."
    ]
    assert await values("7.0.96.10.in-addr.arpa", "PTR") == ["web.default.svc.cluster.local."]


async def test_headless_service_has_its_ready_endpoints():
    assert await values("db.default.svc.cluster.local") == ["10.244.0.2", "10.244.0.3"]
    assert await values("db-0.db.default.svc.cluster.local") == ["10.244.0.2"]
    assert await values("10-244-0-3.db.default.svc.cluster.local") == ["10.244.0.3"]
    reply = await ask("_sql._tcp.db.default.svc.cluster.local", "SRV")
    assert sorted(str(r.rdata.target) for r in reply.rr) == [
        "10-244-0-3.db.default.svc.cluster.local.",
        "db-0.db.default.svc.cluster.local.",
    ]
    assert len(reply.ar) == 2
    assert await values("2.0.244.10.in-addr.arpa", "PTR") == ["db-0.db.default.svc.cluster.local."]


async def test_external_name_is_followed():
    reply = await ask("outside.default.svc.cluster.local")
    assert [QTYPE[r.rtype] for r in reply.rr] == ["CNAME", "A"]
    assert str(reply.rr[1].rdata) == "10.96.0.7"


async def test_pods_and_version():
    assert await values("10-244-0-9.default.pod.cluster.local") == ["10.244.0.9"]
    assert await values("dns-version.cluster.local", "TXT") == ['"1.1.0"']


async def test_no_such_name_and_no_such_type():
    for name in (
        "nope.default.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "db-2.db.default.svc.cluster.local",
    ):
        reply = await ask(name)
        assert reply.header.rcode == RCODE.NXDOMAIN and QTYPE[reply.auth[0].rtype] == "SOA"
    reply = await ask("web.default.svc.cluster.local", "AAAA")
    assert reply.header.rcode == RCODE.NOERROR and not reply.rr and QTYPE[reply.auth[0].rtype] == "SOA"


async def test_outside_names_fail_when_nobody_answers():
    assert (await ask("example.invalid")).header.rcode == RCODE.SERVFAIL


async def test_a_long_answer_is_truncated_over_udp_only(monkeypatch):
    monkeypatch.setitem(
        SLICE, "endpoints", [{"addresses": [f"10.244.1.{i}"], "conditions": {"ready": True}} for i in range(1, 100)]
    )
    assert (await ask("db.default.svc.cluster.local")).header.tc == 1
    assert len((await ask("db.default.svc.cluster.local", tcp=True)).rr) == 99


@given(st.binary(max_size=600))
async def test_malformed_packets_never_raise(data):
    await Responder(zone(), nobody).respond(data, tcp=False)
