"""Services with real packets, in both address families: a node, two pods on it, one elsewhere, and clients outside."""

import itertools
import socket
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from tests.network.lab import NODE_ADDRESS, NODE_ADDRESS_6, Lab, Probe, inside, nft, run
from tests.waiting import eventually

from shirube.foundation import conntrack
from shirube.proxy import ruleset
from shirube.proxy.endpoints import Place, ServicePort, service_ports
from shirube.proxy.stale import stale

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Addresses:
    """The lab's, in one family."""

    word: str
    pods: str
    a: tuple[str, int]
    b: tuple[str, int]
    far: tuple[str, int]
    client: str
    guest: str
    clients: str  # a range that has the client, not the guest
    node: str
    vip: str
    balancer: str
    external: str

    @property
    def web(self) -> ServicePort:
        everybody = (self.a, self.b, self.far)
        return ServicePort(
            namespace="default",
            name="web",
            port_name="",
            protocol="tcp",
            cluster_ip=self.vip,
            port=8000,
            node_port=30080,
            external_ips=(self.external,),
            load_balancer_ips=(self.balancer,),
            internal=everybody,
            everywhere=everybody,
            here=(self.a, self.b),
        )

    @property
    def inside_only(self) -> ServicePort:
        return replace(self.web, node_port=0, external_ips=(), load_balancer_ips=())


FOUR = Addresses(
    word="ip",
    pods="10.244.0.0/16",
    a=("10.244.0.10", 80),
    b=("10.244.0.11", 80),
    far=("10.244.1.5", 80),
    client="192.0.2.5",
    guest="192.0.2.77",
    clients="192.0.2.0/26",
    node=NODE_ADDRESS,
    vip="10.96.0.7",
    balancer="198.51.100.2",
    external="198.51.100.1",
)
SIX = Addresses(
    word="ip6",
    pods="fd00:10:244::/56",
    a=("fd00:10:244::10", 80),
    b=("fd00:10:244::11", 80),
    far=("fd00:10:244:1::5", 80),
    client="2001:db8::5",
    guest="2001:db8:1::77",
    clients="2001:db8::/64",
    node=NODE_ADDRESS_6,
    vip="fd00:10:96::7",
    balancer="2001:db8:f::2",
    external="2001:db8:f::1",
)


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-px", (("tcp", 80), ("udp", 80))) as made:
        made.machine("a", FOUR.a[0], SIX.a[0])
        made.machine("b", FOUR.b[0], SIX.b[0])
        made.machine("far", FOUR.far[0], SIX.far[0])
        made.machine("out", FOUR.client, FOUR.guest, SIX.client, SIX.guest)
        yield made


@pytest.fixture(params=[FOUR, SIX], ids=["IPv4", "IPv6"])
def at(request, lab):
    """The family's addresses, and no rules of the other tests."""
    yield request.param
    nft(lab.node, "".join(f"add table {w} shirube_proxy\ndelete table {w} shirube_proxy\n" for w in ("ip", "ip6")))


def program(lab, at, *ports):
    table = ruleset.table(at.pods)
    table.put("x", ruleset.fragment(ports, at.pods))
    nft(lab.node, table.script())
    table.settle()
    return table


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
        ("a", "vip", 8000),
        ("node", "vip", 8000),
        ("out", "external", 8000),
        ("out", "balancer", 8000),
        ("out", "node", 30080),
        ("a", "node", 30080),
        ("node", "node", 30080),
    ],
)
def test_every_address_reaches_every_endpoint(lab, at, source, address, port):
    program(lab, at, at.web)
    machines, _ = takers(lab, source, getattr(at, address), port, times=30)
    assert machines.total() == 30
    assert machines.keys() == {"a", "b", "far"}  # hairpin included; 3 of 3 in 30 draws but for one in 60,000


@pytest.mark.parametrize("source", ["a", "node", "out"])
def test_a_service_inside_only(lab, at, source):
    program(lab, at, at.inside_only)
    machines, clients = takers(lab, source, at.vip, 8000, times=30)
    assert machines.total() == 30
    assert machines.keys() == {"a", "b", "far"}
    if source == "out":
        assert at.client not in clients  # its answers must come back through this node


def test_a_pod_that_meets_itself_sees_the_node_and_others_see_it(lab, at):
    program(lab, at, replace(at.inside_only, internal=(at.a,), everywhere=(at.a,), here=(at.a,)))
    machines, clients = takers(lab, "a", at.vip, 8000, times=2)
    assert machines == {"a": 2} and at.a[0] not in clients
    machines, clients = takers(lab, "b", at.vip, 8000, times=2)
    assert machines == {"a": 2} and clients == {at.b[0]}


def test_the_number_that_was_drawn_does_not_stay_in_the_mark(lab, at):
    program(lab, at, at.inside_only)
    watch = "add table inet t\nadd counter inet t marked\nadd chain inet t c { type filter hook forward priority 5; }\n"
    nft(lab.node, watch + "add rule inet t c meta mark != 0 counter name marked\n")
    try:
        assert takers(lab, "a", at.vip, 8000)[0].total() == 12
        assert "packets 0" in run(lab.node, "nft", "list", "counter", "inet", "t", "marked")
    finally:
        nft(lab.node, "delete table inet t\n")


def test_policy_cluster_hides_the_client_and_policy_local_keeps_it(lab, at):
    program(lab, at, at.web)
    _, clients = takers(lab, "out", at.node, 30080, at.client)
    assert at.client not in clients
    program(lab, at, replace(at.web, local_external=True))
    machines, clients = takers(lab, "out", at.node, 30080, at.client)
    assert clients == {at.client}
    assert machines.total() == 12 and "far" not in machines


def test_policy_local_without_endpoints_here_drops_outside_and_serves_inside(lab, at):
    program(lab, at, replace(at.web, here=(), local_external=True, internal=(at.far,), everywhere=(at.far,)))
    assert takers(lab, "out", at.external, 8000, at.client, times=2)[0].total() == 0
    assert takers(lab, "a", at.external, 8000, times=2)[0] == {"far": 2}
    assert takers(lab, "node", at.node, 30080, times=2)[0] == {"far": 2}


def test_source_ranges_guard_the_load_balancer_only(lab, at):
    program(lab, at, replace(at.web, source_ranges=(at.clients,), restricted=True))
    assert takers(lab, "out", at.balancer, 8000, at.client, times=2)[0].total() == 2
    assert takers(lab, "out", at.balancer, 8000, at.guest, times=2)[0].total() == 0
    assert takers(lab, "out", at.node, 30080, at.guest, times=2)[0].total() == 2


def test_source_ranges_of_the_other_family_let_nobody_in(lab, at):
    program(lab, at, replace(at.web, restricted=True))
    assert takers(lab, "out", at.balancer, 8000, at.client, times=2)[0].total() == 0
    assert takers(lab, "out", at.external, 8000, at.client, times=2)[0].total() == 2


def test_affinity_keeps_a_client_with_its_endpoint_also_when_others_come_and_go(lab, at):
    sticky = replace(at.web, affinity_seconds=60)
    table = program(lab, at, sticky)
    machines, _ = takers(lab, "out", at.external, 8000, at.client)
    [chosen] = machines
    more = tuple(sorted((*sticky.everywhere, (at.far[0].replace("5", "9"), 80))))
    table.put("x", ruleset.fragment([replace(sticky, internal=more, everywhere=more)], at.pods))
    nft(lab.node, table.script())
    machines, _ = takers(lab, "out", at.external, 8000, at.client)
    assert machines == {chosen: 12}


def test_affinity_ends_with_its_time(lab, at):
    program(lab, at, replace(at.web, affinity_seconds=1))

    def remembered():
        return run(lab.node, "nft", "list", "table", at.word, "shirube_proxy").count(" expires ")

    assert takers(lab, "out", at.external, 8000, at.client, times=1)[0].total() == 1
    assert remembered() == 1
    eventually(lambda: remembered() == 0, "the client is forgotten", 5)
    # Whoever asks often enough is with another one in the end: each time the time has passed, there is a new draw.
    seen = set()

    def another():
        if remembered() == 0:
            seen.update(takers(lab, "out", at.external, 8000, at.client, times=1)[0])
        return len(seen) > 1

    eventually(another, "another endpoint is chosen", 40)


def test_endpoints_that_end_serve_while_there_is_nobody_else(lab, at):
    """From the API's objects: an endpoint that is ready, and one that is not but still serves while it ends."""
    family = "IPv6" if at is SIX else "IPv4"
    service = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": at.vip, "clusterIPs": [at.vip], "ports": [{"port": 8000}]},
    }

    def piece(ready):
        ends = {"ready": False, "serving": True, "terminating": True}
        endpoints = [{"addresses": [at.a[0]], "nodeName": "here", "conditions": ends}]
        if ready:
            endpoints.append({"addresses": [at.b[0]], "nodeName": "here", "conditions": {"ready": True}})
        return {"addressType": family, "ports": [{"port": 80}], "endpoints": endpoints}

    for ready, expected in ((True, "b"), (False, "a")):
        program(lab, at, *service_ports(service, [piece(ready)], Place("here")))
        assert takers(lab, "far", at.vip, 8000, times=4)[0] == {expected: 4}


def test_hints_keep_traffic_near(lab, at):
    """What `trafficDistribution` makes: PreferSameNode and PreferSameZone write hints for nodes and zones."""
    service = {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": at.vip, "clusterIPs": [at.vip], "ports": [{"port": 8000}]},
    }

    def endpoint(address, node, zone, kind):
        hints = {"forZones": [{"name": zone}]}
        if kind == "node":
            hints["forNodes"] = [{"name": node}]
        return {"addresses": [address[0]], "nodeName": node, "conditions": {"ready": True}, "hints": hints}

    for kind, place, expected in (
        ("zone", Place("n1", "z1"), {"a", "b"}),
        ("zone", Place("n3", "z2"), {"far"}),
        ("zone", Place("n4", "z3"), {"a", "b", "far"}),  # nothing is near: everybody
        ("node", Place("n2", "z1"), {"b"}),
        ("node", Place("n9", "z2"), {"far"}),  # nobody on the node: the zone
    ):
        endpoints = [
            endpoint(at.a, "n1", "z1", kind),
            endpoint(at.b, "n2", "z1", kind),
            endpoint(at.far, "n3", "z2", kind),
        ]
        piece = {"addressType": "IPv6" if at is SIX else "IPv4", "ports": [{"port": 80}], "endpoints": endpoints}
        program(lab, at, *service_ports(service, [piece], place))
        assert takers(lab, "out", at.vip, 8000, times=24)[0].keys() == expected


@pytest.mark.parametrize(("address", "port"), [("vip", 8000), ("node", 30080), ("vip", 9999), ("external", 8000)])
def test_nobody_to_serve_rejects_at_once(lab, at, address, port):
    program(lab, at, replace(at.web, internal=(), everywhere=(), here=()))
    with inside(lab.full("a")):
        client = socket.socket(socket.AF_INET6 if at is SIX else socket.AF_INET)
    with client, pytest.raises(ConnectionRefusedError):
        client.settimeout(2)
        client.connect((getattr(at, address), port))


def test_addresses_of_no_service_lead_nowhere(lab, at):
    """Not even to a machine that has the address."""
    ranges = {"ip": ("192.0.2.0/26", "192.0.2.0/28"), "ip6": ("2001:db8::/64",)}[at.word]
    table = program(lab, at, at.web)
    assert takers(lab, "a", at.client, 80, times=1)[0].total() == 1
    table.put("ranges", ruleset.ranges_fragment(ranges, at.pods))
    nft(lab.node, table.script())
    for source in ("a", "node"):
        assert takers(lab, source, at.client, 80, times=1)[0].total() == 0
        assert takers(lab, source, at.vip, 8000, times=4)[0].total() == 4
    assert takers(lab, "a", at.guest, 80, times=1)[0].total() == 1


def test_established_connections_survive_a_new_start_of_the_proxy(lab, at):
    """A new process programs the whole table afresh: in one transaction it is deleted and made."""
    only = replace(at.inside_only, internal=(at.far,), everywhere=(at.far,), here=())
    program(lab, at, only)
    family = socket.AF_INET6 if at is SIX else socket.AF_INET
    with inside(lab.full("far")):
        server = socket.create_server((at.far[0], 81), family=family)
    only = replace(only, internal=((at.far[0], 81),), everywhere=((at.far[0], 81),))
    program(lab, at, only)
    with inside(lab.full("a")):
        client = socket.socket(family)
    with server, client:
        for opened in (server, client):
            opened.settimeout(5)
        client.connect((at.vip, 8000))
        served, _ = server.accept()
        with served:
            served.settimeout(5)
            elsewhere = replace(only, internal=(at.b,), everywhere=(at.b,), here=(at.b,))
            for ports, word in (([only], b"one"), ([elsewhere], b"two"), ([], b"three")):
                program(lab, at, *ports)
                client.sendall(word)
                assert served.recv(16) == word
                served.sendall(word)
                assert client.recv(16) == word


def test_udp_flows_to_an_endpoint_that_is_gone_are_forgotten(lab, at):
    family = socket.AF_INET6 if at is SIX else socket.AF_INET
    dns = replace(at.web, protocol="udp", internal=(at.a,), everywhere=(at.a,), here=(at.a,))
    program(lab, at, dns)
    with inside(lab.full("out")):
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.bind((at.client, 5353))
    with client:
        moved = replace(dns, internal=(at.b,), everywhere=(at.b,), here=(at.b,))
        for ports, expected in ((dns, at.a[0]), (moved, at.b[0])):
            program(lab, at, ports)
            with inside(lab.node):
                conntrack.forget(stale(conntrack.flows(socket.IPPROTO_UDP, family), [ports]))
            client.sendto(b"\0\0\0\0", (at.vip, 8000))
            client.sendto(b"\0\0\0\0", (at.node, 30080))
            with inside(lab.node):
                flows = conntrack.flows(socket.IPPROTO_UDP, family)
            to_us = [f for f in flows if f.destination_port in (8000, 30080)]
            assert len(to_us) == 2
            assert {f.answers_from for f in to_us} == {expected}


def test_only_our_tables_are_touched(lab, at):
    strangers = "add table inet theirs\nadd chain inet theirs c { type filter hook forward priority 7; }\n"
    nft(lab.node, strangers)
    try:
        before = run(lab.node, "nft", "list", "table", "inet", "theirs")
        for ports in itertools.chain([()], [(at.web,)], [()]):
            program(lab, at, *ports)
        assert run(lab.node, "nft", "list", "table", "inet", "theirs") == before
        names = {line.split(None, 1)[1] for line in run(lab.node, "nft", "list", "tables").splitlines()}
        assert names == {"inet theirs", f"{at.word} shirube_proxy"}
    finally:
        nft(lab.node, "delete table inet theirs\n")
