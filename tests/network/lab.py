"""A node and pods of network namespaces, and probes with real packets between them.

Pods are wired as the `ptp` plugin does: a veth each, everything between them routed by the node.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests import aftermath

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
GATEWAY, GATEWAY_6 = "10.244.0.1", "fd00:10:244::1"
NODE_ADDRESS, NODE_ADDRESS_6 = "172.30.0.2", "fd00:172:30::2"
_QUIET_LOOKS, _LOOK_SECONDS = 6, 0.02


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in a network namespace: sockets opened here belong to it for good."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        assert _libc.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        assert _libc.setns(home, _CLONE_NEWNET) == 0
        os.close(home)
        os.close(there)


def add_namespace(name: str) -> None:
    """The folder of namespaces may be taken away by the last cluster that uses it at this very moment."""
    command = ["ip", "netns", "add", name]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        subprocess.run(command, check=True)


def run(namespace: str, *argv: str, given: str = "") -> str:
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", *argv], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}\n{given}"
    return done.stdout


def nft(namespace: str, script: str) -> None:
    run(namespace, "nft", "-f", "-", given=script)


@dataclass(frozen=True, slots=True)
class Probe:
    source: str  # name of a machine
    address: str
    protocol: str
    port: int
    source_address: str = ""


@dataclass
class Lab:
    """`node` with machines around it. Everything listens on every port of `ports`, at every address it has.

    Their namespaces carry the run's name: two runs on one machine do not meet.
    """

    name: str
    ports: tuple[tuple[str, int], ...]
    machines: list[str] = field(default_factory=list)
    _listeners: dict[int, tuple[str, str, int, socket.socket]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"{aftermath.NAME}-{self.name}"

    def __enter__(self) -> Lab:
        self._add(self.node)
        ip(
            self.node,
            "link set lo up",
            "link add eth0 type veth peer name nobody",
            f"addr add {NODE_ADDRESS}/24 dev eth0",
            f"addr add {NODE_ADDRESS_6}/64 dev eth0 nodad",
            "link set eth0 up",
            "link set nobody up",
            "route add default via 172.30.0.1",
            "route add default via fd00:172:30::1",
        )
        for key in ("ipv4/ip_forward", "ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            run(self.node, "sh", "-c", f"echo 1 > /proc/sys/net/{key}")
        self.listen(self.node)
        return self

    def __exit__(self, *_: object) -> None:
        for _, _, _, opened in self._listeners.values():
            opened.close()
        for name in reversed(self.machines):
            subprocess.run(["ip", "netns", "del", self.full(name)], check=True)

    @property
    def node(self) -> str:
        return self.full("node")

    def full(self, name: str) -> str:
        return name if name.startswith(self.name) else f"{self.name}-{name}"

    def _add(self, name: str) -> None:
        add_namespace(self.full(name))
        self.machines.append(self.full(name))
        # No waiting for whether somebody else has the link-local address: neighbours are found with it.
        run(self.full(name), "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")

    def machine(self, name: str, *addresses: str) -> None:
        """A pod or a machine outside: routed to, by its addresses."""
        self._add(name)
        link = f"v{len(self.machines)}"
        first = next((a for a in addresses if ":" not in a), "")
        first_6 = next((a for a in addresses if ":" in a), "")
        ip(
            self.node,
            f"link add {link} type veth peer name eth0 netns {self.full(name)}",
            f"addr add {GATEWAY}/32 dev {link}",
            f"addr add {GATEWAY_6}/128 dev {link} nodad",
            f"link set {link} up",
            *(f"route add {host(a)} dev {link}" for a in addresses),
        )
        ip(
            self.full(name),
            "link set lo up",
            *(f"addr add {host(a)} dev eth0{' nodad' if ':' in a else ''}" for a in addresses),
            "link set eth0 up",
            *([f"route add {GATEWAY} dev eth0 scope link"] if first else []),
            *([f"route add default via {GATEWAY} src {first}"] if first else []),
            *([f"route add {GATEWAY_6} dev eth0"] if first_6 else []),
            *([f"route add default via {GATEWAY_6} src {first_6}"] if first_6 else []),
        )
        self.listen(name)

    def listen(self, name: str, ports: Iterable[tuple[str, int]] | None = None) -> None:
        with inside(self.full(name)):
            for address in ("0.0.0.0", "::"):
                for protocol, port in ports or self.ports:
                    opened = _socket(protocol, address)
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if ":" in address:
                        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    opened.bind((address, port))
                    if protocol != "udp":
                        opened.listen(512)
                    self._listeners[opened.fileno()] = (self.full(name), protocol, port, opened)

    def reached(self, probes: Iterable[Probe]) -> dict[Probe, tuple[str, str]]:
        """The probes that came through: the machine that took them and the client address that it saw."""
        wanted = dict(enumerate(probes))
        found: dict[Probe, tuple[str, str]] = {}
        clients: list[socket.socket] = []
        taken: list[socket.socket] = []
        poll = select.epoll()
        for number in self._listeners:
            poll.register(number, select.EPOLLIN)
        numbers: dict[int, tuple[str, socket.socket]] = {}
        try:
            for number, probe in wanted.items():
                clients.append(client := self._start(probe, struct.pack("!I", number)))
                if probe.protocol != "udp":
                    poll.register(client.fileno(), select.EPOLLOUT)
                    numbers[client.fileno()] = (struct.pack("!I", number).hex(), client)
            quiet = 0  # looks in a row, not time: this process may be the one that is kept waiting
            while len(found) < len(wanted) and quiet < _QUIET_LOOKS:
                events = poll.poll(_LOOK_SECONDS)
                quiet = 0 if events else quiet + 1
                for descriptor, _ in events:
                    self._progress(descriptor, poll, wanted, found, numbers, taken)
        finally:
            poll.close()
            for opened in (*clients, *taken):
                opened.close()
        return found

    def _progress(self, descriptor, poll, wanted, found, numbers, taken) -> None:
        if descriptor in numbers:  # connected, or refused: say who we are
            text, client = numbers.pop(descriptor)
            poll.unregister(descriptor)
            with contextlib.suppress(OSError):
                client.send(bytes.fromhex(text))
            return
        entry = self._listeners.get(descriptor)
        if entry is None:
            opened = next(t for t in taken if t.fileno() == descriptor)
            poll.unregister(descriptor)
            with contextlib.suppress(OSError):
                if len(data := opened.recv(4)) == 4:
                    found[wanted[struct.unpack("!I", data)[0]]] = (self._taker[descriptor], opened.getpeername()[0])
            return
        machine, protocol, _, listener = entry
        if protocol == "udp":
            data, client_address = listener.recvfrom(64)
            found[wanted[struct.unpack("!I", data)[0]]] = (machine, client_address[0])
            return
        opened, _ = listener.accept()
        opened.setblocking(False)
        taken.append(opened)
        self._taker[opened.fileno()] = machine
        poll.register(opened.fileno(), select.EPOLLIN)

    _taker: dict[int, str] = field(default_factory=dict)

    def _start(self, probe: Probe, payload: bytes) -> socket.socket:
        with inside(self.full(probe.source)):
            client = _socket(probe.protocol, probe.address)
        if probe.protocol != "udp":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if probe.source_address:
            client.bind((probe.source_address, 0))
        with contextlib.suppress(OSError):  # in progress, or refused at once
            if probe.protocol == "udp":
                client.sendto(payload, (probe.address, probe.port))
            else:
                client.connect((probe.address, probe.port))
        return client


def ip(namespace: str, *lines: str) -> None:
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def host(address: str) -> str:
    return f"{address}/128" if ":" in address else f"{address}/32"


def _socket(protocol: str, address: str = "") -> socket.socket:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind, number)
    opened.setblocking(False)
    return opened


def has_sctp() -> bool:
    try:
        _socket("sctp").close()
    except OSError:
        return False
    return True
