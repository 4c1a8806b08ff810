"""Services with real packets: a node, two pods on it, one elsewhere, and clients outside."""

import socket
from collections import Counter
from dataclasses import replace

import pytest
from tests.network.lab import Lab, Probe, inside, nft, run

from shirube.foundation import conntrack
from shirube.proxy import ruleset
from shirube.proxy.endpoints import ServicePort
from shirube.proxy.stale import stale

pytestmark = pytest.mark.cluster

PODS = "10.244.0.0/16"
A, B, FAR = ("10.244.0.10", 80), ("10.244.0.11", 80), ("10.244.1.5", 80)
CLIENT, GUEST, NODE = "192.0.2.5", "192.0.2.77", "172.30.0.2"
VIP, BALANCER, EXTERNAL = "10.96.0.7", "198.51.100.2", "198.51.100.1"
WEB = ServicePort(
    namespace="default",
    name="web",
    port_name="",
    protocol="tcp",
    cluster_ip=VIP,
    port=8000,
    node_port=30080,
    external_ips=(EXTERNAL,),
    load_balancer_ips=(BALANCER,),
    internal=(A, B, FAR),
    everywhere=(A, B, FAR),
    here=(A, B),
)


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-px", (("tcp", 80), ("udp", 80))) as made:
        made.machine("a", A[0])
        made.machine("b", B[0])
        made.machine("far", FAR[0])
        made.machine("out", CLIENT, GUEST)
        yield made


def program(lab, *ports):
    table = ruleset.table(PODS)
    table.put("x", ruleset.fragment(ports, PODS))
    nft(lab.node, table.script())


def takers(lab, source, address, port, source_address="", times=12, protocol="tcp"):
    """Who took `times` connections, and which client addresses they saw."""
    machines, clients = Counter(), set()
    # Probes that are equal would be one: each carries its number in a source address that means nothing to it.
    for _ in range(times):
        for machine, client in lab.reached([Probe(source, address, protocol, port, source_address)]).values():
            machines[machine.rsplit("-", 1)[-1]] += 1
            clients.add(client)
    return machines, clients


@pytest.mark.parametrize(
    ("source", "address", "port"),
    [
        ("a", VIP, 8000),
        ("node", VIP, 8000),
        ("out", EXTERNAL, 8000),
        ("out", BALANCER, 8000),
        ("out", NODE, 30080),
        ("a", NODE, 30080),
        ("node", NODE, 30080),
    ],
)
def test_every_address_reaches_every_endpoint(lab, source, address, port):
    program(lab, WEB)
    machines, _ = takers(lab, source, address, port, times=30)
    assert machines.total() == 30
    assert machines.keys() == {"a", "b", "far"}  # hairpin included; 3 of 3 in 30 draws but for one in 60,000


INSIDE = replace(WEB, node_port=0, external_ips=(), load_balancer_ips=())


@pytest.mark.parametrize("source", ["a", "node", "out"])
def test_a_service_inside_only(lab, source):
    program(lab, INSIDE)
    machines, clients = takers(lab, source, VIP, 8000, times=30)
    assert machines.total() == 30
    assert machines.keys() == {"a", "b", "far"}
    if source == "out":
        assert CLIENT not in clients  # its answers must come back through this node


def test_the_number_that_was_drawn_does_not_stay_in_the_mark(lab):
    program(lab, INSIDE)
    watch = "add table ip t\nadd counter ip t marked\nadd chain ip t c { type filter hook forward priority 5; }\n"
    nft(lab.node, watch + "add rule ip t c meta mark != 0 counter name marked\n")
    try:
        assert takers(lab, "a", VIP, 8000)[0].total() == 12
        assert "packets 0" in run(lab.node, "nft", "list", "counter", "ip", "t", "marked")
    finally:
        nft(lab.node, "delete table ip t\n")


def test_policy_cluster_hides_the_client_and_policy_local_keeps_it(lab):
    program(lab, WEB)
    _, clients = takers(lab, "out", NODE, 30080, CLIENT)
    assert CLIENT not in clients
    program(lab, replace(WEB, local_external=True))
    machines, clients = takers(lab, "out", NODE, 30080, CLIENT)
    assert clients == {CLIENT}
    assert machines.total() == 12 and "far" not in machines


def test_policy_local_without_endpoints_here_drops_outside_and_serves_inside(lab):
    program(lab, replace(WEB, here=(), local_external=True, internal=(FAR,), everywhere=(FAR,)))
    assert takers(lab, "out", EXTERNAL, 8000, CLIENT, times=2)[0].total() == 0
    assert takers(lab, "a", EXTERNAL, 8000, times=2)[0] == {"far": 2}
    assert takers(lab, "node", NODE, 30080, times=2)[0] == {"far": 2}


def test_source_ranges_guard_the_load_balancer_only(lab):
    program(lab, replace(WEB, source_ranges=("192.0.2.0/26",)))
    assert takers(lab, "out", BALANCER, 8000, CLIENT, times=2)[0].total() == 2
    assert takers(lab, "out", BALANCER, 8000, GUEST, times=2)[0].total() == 0
    assert takers(lab, "out", NODE, 30080, GUEST, times=2)[0].total() == 2


def test_affinity_keeps_a_client_with_its_endpoint_also_when_others_come_and_go(lab):
    sticky = replace(WEB, affinity_seconds=60)
    table = ruleset.table(PODS)
    table.put("x", ruleset.fragment([sticky], PODS))
    nft(lab.node, table.script())
    table.settle()
    machines, _ = takers(lab, "out", EXTERNAL, 8000, CLIENT)
    [chosen] = machines
    more = tuple(sorted((*sticky.everywhere, ("10.244.1.9", 80))))
    table.put("x", ruleset.fragment([replace(sticky, internal=more, everywhere=more)], PODS))
    nft(lab.node, table.script())
    machines, _ = takers(lab, "out", EXTERNAL, 8000, CLIENT)
    assert machines == {chosen: 12}


@pytest.mark.parametrize(("address", "port"), [(VIP, 8000), (NODE, 30080), (VIP, 9999)])
def test_nobody_to_serve_rejects_at_once(lab, address, port):
    program(lab, replace(WEB, internal=(), everywhere=(), here=()))
    with inside(lab.full("a")):
        client = socket.socket()
    with client, pytest.raises(ConnectionRefusedError):
        client.settimeout(2)
        client.connect((address, port))


def test_udp_flows_to_an_endpoint_that_is_gone_are_forgotten(lab):
    dns = replace(WEB, protocol="udp", internal=(A,), everywhere=(A,), here=(A,))
    program(lab, dns)
    with inside(lab.full("out")):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind((CLIENT, 5353))
    with client:
        moved = replace(dns, internal=(B,), everywhere=(B,), here=(B,))
        for ports, expected in ((dns, "10.244.0.10"), (moved, "10.244.0.11")):
            program(lab, ports)
            with inside(lab.node):
                flows = conntrack.flows(socket.IPPROTO_UDP)
                conntrack.forget(stale(flows, [ports]))
            client.sendto(b"\0\0\0\0", (VIP, 8000))
            client.sendto(b"\0\0\0\0", (NODE, 30080))
            with inside(lab.node):
                to_us = [f for f in conntrack.flows(socket.IPPROTO_UDP) if f.destination_port in (8000, 30080)]
            assert len(to_us) == 2
            assert {f.answers_from for f in to_us} == {expected}
            assert stale(to_us, [ports]) == []
