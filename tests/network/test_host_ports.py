"""hostPort with real packets."""

import pytest
from tests.network.lab import NODE_ADDRESS, NODE_ADDRESS_6, Lab, Probe, ip, nft, run

from shirube.foundation.address_family import BOTH, IPV4, IPV6
from shirube.network import host_ports

pytestmark = pytest.mark.cluster
NODE, NODE_6 = NODE_ADDRESS, NODE_ADDRESS_6
OTHER, OTHER_6 = "172.30.0.3", "fd00:172:30::3"


def pod(address, *ports, six="", **spec):
    listed = [{"containerPort": 80, "hostPort": n, "protocol": p, "hostIP": h} for n, p, h in ports]
    addresses = [{"ip": a} for a in (address, six) if a]
    status = {"podIP": address, "podIPs": addresses, "phase": "Running"}
    return {"spec": {"containers": [{"ports": listed}], **spec}, "status": status}


@pytest.mark.parametrize(
    "made",
    [
        None,
        pod("", (80, "TCP", "")),
        pod("10.244.0.10", (80, "TCP", ""), hostNetwork=True),
        pod("10.244.0.10"),
        pod("10.244.0.10", (80, "TCP", "::")),
        {**pod("10.244.0.10", (80, "TCP", "")), "status": {"podIP": "10.244.0.10", "phase": "Failed"}},
    ],
)
def test_pods_without_host_ports(made):
    assert host_ports.fragment(made, IPV4).elements == {}


def test_a_port_without_an_address_is_one_of_both_families():
    made = pod("10.244.0.10", (80, "TCP", ""), (81, "TCP", "0.0.0.0"), six="fd00:10:244::10")
    assert host_ports.fragment(made, IPV4).elements["anywhere"].keys() == {"tcp . 80", "tcp . 81"}
    assert host_ports.fragment(made, IPV6).elements["anywhere"] == {"tcp . 80": "fd00:10:244::10 . 80"}


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-hp", (("tcp", 80), ("udp", 80))) as made:
        made.machine("a", "10.244.0.10", "fd00:10:244::10")
        made.machine("b", "10.244.0.11", "fd00:10:244::11")
        made.machine("out", "192.0.2.5", "2001:db8::5")
        ip(made.node, f"addr add {OTHER}/32 dev lo", f"addr add {OTHER_6}/128 dev lo nodad")
        run(made.node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        one = pod(
            "10.244.0.10",
            (8080, "TCP", ""),
            (9090, "TCP", NODE),
            (9090, "TCP", NODE_6),
            (7070, "UDP", ""),
            (6060, "TCP", "127.0.0.1"),
            six="fd00:10:244::10",
        )
        other = pod(
            "10.244.0.11",
            (8080, "UDP", ""),
            (9090, "TCP", OTHER),
            (9090, "TCP", OTHER_6),
            (9090, "UDP", NODE),
            (9090, "UDP", NODE_6),
            six="fd00:10:244::11",
        )
        for family in BOTH:
            table = host_ports.table(family)
            table.put("a", host_ports.fragment(one, family))
            table.put("b", host_ports.fragment(other, family))
            nft(made.node, table.script())
        yield made


@pytest.mark.parametrize("source", ["out", "node", "a"])
@pytest.mark.parametrize("addresses", [(NODE, OTHER), (NODE_6, OTHER_6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("address", "protocol", "port", "taker"),
    [
        (0, "tcp", 8080, "a"),
        (0, "udp", 8080, "b"),
        (0, "tcp", 9090, "a"),
        (1, "tcp", 9090, "b"),
        (0, "udp", 9090, "b"),
        (1, "udp", 9090, None),
        (0, "udp", 7070, "a"),
        (0, "tcp", 6060, None),
    ],
)
def test_one_port_leads_to_different_pods(lab, source, addresses, address, protocol, port, taker):
    probe = Probe(source, addresses[address], protocol, port)
    reached = lab.reached([probe])
    assert reached.get(probe, (None,))[0] == (taker and lab.full(taker))


@pytest.mark.parametrize(("protocol", "port"), [("tcp", 8080), ("udp", 7070), ("tcp", 6060)])
def test_the_nodes_loopback(lab, protocol, port):
    assert lab.reached([Probe("node", "127.0.0.1", protocol, port)])
