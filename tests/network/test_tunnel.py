"""Nodes on different links: VXLAN between them, with real packets through a router that knows no pod."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from tests import aftermath
from tests.network.lab import add_namespace, inside, ip, run

from shirube.foundation.address_family import IPV4, IPV6
from shirube.network import cni, routes, tunnel
from shirube.network import main as network
from shirube.network.main import Options
from shirube.network.routes import Hop, Link

FOUR = Link("eth0", 1500, ("192.0.2.2/25",))


def node(name, address, *cidrs, six=""):
    addresses = [{"type": "InternalIP", "address": a} for a in (address, six) if a]
    return {"metadata": {"name": name}, "spec": {"podCIDRs": list(cidrs)}, "status": {"addresses": addresses}}


NODES = {
    "a": node("a", "192.0.2.2", "10.244.0.0/24", "fd00:10:244::/64", six="2001:db8:a::2"),
    "near": node("near", "192.0.2.3", "10.244.1.0/24"),
    "far": node("far", "198.51.100.2", "10.244.2.0/24", "fd00:10:244:2::/64", six="2001:db8:b::2"),
    "new": node("new", "198.51.100.9"),
}


def test_only_what_is_on_no_link_of_ours_goes_through_the_tunnel():
    far = tunnel.peers(NODES.values(), "a", IPV4, FOUR.reaches)
    assert [peer.name for peer in far] == ["far"]
    assert routes.wanted(NODES.values(), "a", FOUR.reaches) == {"10.244.1.0/24": Hop("192.0.2.3")}
    assert tunnel.routes(far) == {
        "10.244.2.0/24": Hop("10.244.2.0", tunnel.DEVICE),
        "fd00:10:244:2::/64": Hop("fd00:10:244:2::", tunnel.DEVICE),
    }
    assert routes.plan({}, tunnel.routes(far))[0] == (
        "route replace 10.244.2.0/24 via 10.244.2.0 dev shirube.vxlan onlink proto 83"
    )


def test_what_is_put_around_a_packet_is_taken_from_its_room():
    assert tunnel.mtu(FOUR, IPV4) == 1450
    assert tunnel.mtu(FOUR, IPV6) == 1430
    assert "mtu 1430 type vxlan" in tunnel.device("a", "2001:db8:a::2", ["10.244.0.0/24"], 1430)[0]


def test_every_node_has_a_hardware_address_of_its_own_that_others_can_compute():
    found = {tunnel.hardware_address(f"node-{n}") for n in range(1000)}
    assert len(found) == 1000
    assert all(int(address[:2], 16) & 3 == 2 for address in found)  # one machine's, given by nobody


def test_frames_go_to_nodes_that_are_there():
    far = tunnel.Peer("far", "198.51.100.2", ("10.244.2.0/24",))
    have = {far.hardware: "198.51.100.77", "02:00:00:00:00:01": "198.51.100.3"}
    assert tunnel.forwarding(have, [far]) == [
        f"fdb del {far.hardware} dev shirube.vxlan dst 198.51.100.77",
        "fdb del 02:00:00:00:00:01 dev shirube.vxlan dst 198.51.100.3",
        f"fdb append {far.hardware} dev shirube.vxlan dst 198.51.100.2",
    ]
    assert tunnel.forwarding({far.hardware: far.address}, [far]) == []


POD = {"a": ("10.244.0.10", "fd00:10:244::10"), "far": ("10.244.2.10", "fd00:10:244:2::10")}
UNDER = {"a": (("192.0.2.2", 25), ("2001:db8:a::2", 64)), "far": (("198.51.100.2", 24), ("2001:db8:b::2", 64))}
ROUTER = {"a": ("192.0.2.1/25", "2001:db8:a::1/64"), "far": ("198.51.100.1/24", "2001:db8:b::1/64")}


def name(machine):
    return f"{aftermath.NAME}-vx-{machine}"


@pytest.fixture(scope="module")
def segments():
    """Two nodes, each with a pod (whose own MTU knows of no tunnel), on links that a router joins."""
    machines = ["router", "a", "far", "pod-a", "pod-far"]
    try:
        for machine in machines:
            add_namespace(name(machine))
            quick = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad; echo 1 > /proc/sys/net/ipv4/ip_forward; "
            run(name(machine), "sh", "-c", quick + "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
            ip(name(machine), "link set lo up")
        for machine in ("a", "far"):
            (four, bits), (six, bits_6) = UNDER[machine]
            ip(
                name("router"),
                f"link add to-{machine} type veth peer name eth0 netns {name(machine)}",
                f"addr add {ROUTER[machine][0]} dev to-{machine}",
                f"addr add {ROUTER[machine][1]} dev to-{machine} nodad",
                f"link set to-{machine} up",
            )
            ip(
                name(machine),
                f"addr add {four}/{bits} dev eth0",
                f"addr add {six}/{bits_6} dev eth0 nodad",
                "link set eth0 up",
                f"route add default via {ROUTER[machine][0].split('/')[0]}",
                f"route add default via {ROUTER[machine][1].split('/')[0]}",
                f"link add pod type veth peer name eth0 netns {name(f'pod-{machine}')}",
                "addr add 10.244.255.1/32 dev pod",
                "addr add fd00:10:244:ff::1/128 dev pod nodad",
                "link set pod up",
                *(f"route add {a} dev pod" for a in POD[machine]),
            )
            ip(
                name(f"pod-{machine}"),
                f"addr add {POD[machine][0]}/32 dev eth0",
                f"addr add {POD[machine][1]}/128 dev eth0 nodad",
                "link set eth0 up",
                "route add 10.244.255.1 dev eth0 scope link",
                "route add default via 10.244.255.1",
                "route add fd00:10:244:ff::1 dev eth0",
                "route add default via fd00:10:244:ff::1",
            )
        yield
    finally:
        for machine in reversed(machines):
            subprocess.run(["ip", "netns", "del", name(machine)], check=False)


def connect(machine, nodes, outer):
    """What the node's network process does when Nodes change."""

    async def work():
        local = UNDER[machine][0 if outer is IPV4 else 1][0]
        links = [link for link in await routes.links() if link.name != tunnel.DEVICE]
        link = next(one for one in links if one.reaches(local))

        def near(address):
            return any(one.reaches(address) for one in links)

        far = tunnel.peers(nodes, machine, outer, near)
        await tunnel.carry_out(NODES[machine], far, link, local)
        want = routes.wanted(nodes, machine, near) | tunnel.routes(far)
        await routes.carry_out(routes.plan(await routes.current(), want))
        assert await routes.current() == want

    with inside(name(machine)):
        asyncio.run(work())


def carried(family, megabytes=2, source="pod-a"):
    """Whether so much arrives at the far pod over TCP."""
    place = 0 if family is IPV4 else 1
    with inside(name("pod-far")):
        server = socket.create_server((POD["far"][place], 5000), family=family.socket_family)
    with inside(name(source)):
        client = socket.socket(family.socket_family)
    total = 0
    with server, client:
        for opened in (server, client):
            opened.settimeout(5)
        client.connect((POD["far"][place], 5000))
        taken, _ = server.accept()
        taken.settimeout(5)

        def send():
            client.sendall(bytes(megabytes << 20))
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        with taken, contextlib.suppress(TimeoutError):
            while data := taken.recv(1 << 16):
                total += len(data)
        sender.join()
    return total == megabytes << 20


@pytest.mark.cluster
@pytest.mark.parametrize("outer", [IPV4, IPV6], ids=["over-IPv4", "over-IPv6"])
def test_pods_of_two_links_talk_and_big_packets_fit(segments, outer):
    both = [NODES["a"], NODES["far"]]
    for _ in range(2):  # twice: nothing more happens
        for machine in ("a", "far"):
            connect(machine, both, outer)
    for family in (IPV4, IPV6):
        assert carried(family)
    [found] = json.loads(run(name("pod-a"), "ip", "-j", "route", "get", POD["far"][0]))
    assert json.dumps(found["metrics"]).count(str(tunnel.mtu(FOUR, outer))) == 1  # the pod was told
    # A host reaches the pods of the other one, too, by its own end of the tunnel.
    for family in (IPV4, IPV6):
        assert carried(family, source="a")


@pytest.mark.cluster
def test_another_plugin_is_left_alone(segments, tmp_path):
    """What a user brings is the pods' network: our routes, rules and configuration are not there, or go."""
    options = Options(Path("/"), "a", UNDER["a"][0][0], cni_conf_dir=tmp_path / "net.d", cni_bin_dir=tmp_path)
    both = [NODES["a"], NODES["far"]]

    def connected():
        with inside(name("a")):
            asyncio.run(network.connect(options, NODES["a"], both))
        tables = run(name("a"), "nft", "list", "tables")
        found = run(name("a"), "ip", "route", "show", "proto", routes.PROTOCOL)
        return "shirube_network" in tables, "10.244.2.0/24" in found, tunnel.DEVICE in run(name("a"), "ip", "link")

    assert connected() == (True, True, True)
    [plugin, *_] = json.loads((options.cni_conf_dir / cni.FILE_NAME).read_bytes())["plugins"]
    assert plugin["mtu"] == 1450  # there is a tunnel
    (options.cni_conf_dir / "05-theirs.conflist").write_text("{}")
    assert connected() == (False, False, False)
    assert (options.cni_conf_dir / "05-theirs.conflist").read_text() == "{}"
    fresh = Options(Path("/"), "a", UNDER["a"][0][0], cni_conf_dir=tmp_path / "other.d", cni_bin_dir=tmp_path)
    fresh.cni_conf_dir.mkdir()
    (fresh.cni_conf_dir / "10-theirs.conflist").write_text("{}")
    with inside(name("a")):
        asyncio.run(network.connect(fresh, NODES["a"], both))
    assert [f.name for f in fresh.cni_conf_dir.iterdir()] == ["10-theirs.conflist"]


@pytest.mark.cluster
def test_the_tunnel_goes_with_the_last_node_that_needs_it(segments):
    connect("a", [NODES["a"], NODES["far"]], IPV4)
    assert tunnel.DEVICE in run(name("a"), "ip", "link", "show")
    connect("a", [NODES["a"]], IPV4)
    assert tunnel.DEVICE not in run(name("a"), "ip", "link", "show")
