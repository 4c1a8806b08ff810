"""Port numbers for programs that are told which to listen on.

They lie below what the kernel gives to connections of itself (`ip_local_port_range`), so none is taken by a client that
happens to connect between the choice and the use, and are chosen at random, so that two runs rarely choose the same.
"""

from __future__ import annotations

import contextlib
import random
import socket

_OWN = range(20000, 30000)
_NODE_PORTS = range(30000, 32768)


def free_port() -> int:
    return _free(_OWN)


def free_node_port() -> int:
    """A number of a Service's node port that nobody has on this machine's loopback."""
    return _free(_NODE_PORTS)


def _free(numbers: range) -> int:
    """One that nobody has on 127.0.0.1, for either protocol."""
    for number in random.SystemRandom().sample(numbers, len(numbers)):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", number))
            udp.bind(("127.0.0.1", number))
            return number
    raise RuntimeError(f"cannot find a free port: all of {numbers} are taken on 127.0.0.1")
