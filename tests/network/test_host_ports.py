"""hostPort with real packets."""

import pytest
from tests.network.lab import Lab, Probe, ip, nft, run

from shirube.foundation.nft import Table
from shirube.network import host_ports

NODE = "172.30.0.2"


def pod(address, *ports, **spec):
    listed = [{"containerPort": 80, "hostPort": n, "protocol": p, "hostIP": h} for n, p, h in ports]
    return {"spec": {"containers": [{"ports": listed}], **spec}, "status": {"podIP": address, "phase": "Running"}}


@pytest.mark.parametrize(
    "made",
    [
        None,
        pod("", (80, "TCP", "")),
        pod("10.244.0.10", (80, "TCP", ""), hostNetwork=True),
        pod("10.244.0.10"),
        {**pod("10.244.0.10", (80, "TCP", "")), "status": {"podIP": "10.244.0.10", "phase": "Failed"}},
    ],
)
def test_pods_without_host_ports(made):
    assert host_ports.fragment(made).elements == {}


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-hp", (("tcp", 80), ("udp", 80))) as made:
        made.machine("a", "10.244.0.10")
        made.machine("b", "10.244.0.11")
        made.machine("out", "192.0.2.5")
        ip(made.node, "addr add 172.30.0.3/32 dev lo")
        run(made.node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        table = Table(host_ports.TABLE, host_ports.FIXED)
        one = pod("10.244.0.10", (8080, "TCP", ""), (9090, "TCP", NODE), (7070, "UDP", ""), (6060, "TCP", "127.0.0.1"))
        other = pod("10.244.0.11", (8080, "UDP", ""), (9090, "TCP", "172.30.0.3"), (9090, "UDP", NODE))
        table.put("a", host_ports.fragment(one))
        table.put("b", host_ports.fragment(other))
        nft(made.node, table.script())
        yield made


@pytest.mark.cluster
@pytest.mark.parametrize("source", ["out", "node", "a"])
@pytest.mark.parametrize(
    ("address", "protocol", "port", "taker"),
    [
        (NODE, "tcp", 8080, "a"),
        (NODE, "udp", 8080, "b"),
        (NODE, "tcp", 9090, "a"),
        ("172.30.0.3", "tcp", 9090, "b"),
        (NODE, "udp", 9090, "b"),
        ("172.30.0.3", "udp", 9090, None),
        (NODE, "udp", 7070, "a"),
        (NODE, "tcp", 6060, None),
    ],
)
def test_one_port_leads_to_different_pods(lab, source, address, protocol, port, taker):
    probe = Probe(source, address, protocol, port)
    reached = lab.reached([probe])
    assert reached.get(probe, (None,))[0] == (taker and lab.full(taker))


@pytest.mark.cluster
@pytest.mark.parametrize(("protocol", "port"), [("tcp", 8080), ("udp", 7070), ("tcp", 6060)])
def test_the_nodes_loopback(lab, protocol, port):
    assert lab.reached([Probe("node", "127.0.0.1", protocol, port)])
