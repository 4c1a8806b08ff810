"""The kernel's connection table (ctnetlink), as far as we need it: list flows of a protocol, forget some, forget all.

A UDP "connection" keeps its translation for as long as packets come: after a Service's endpoint is gone it must be
forgotten here, or its clients talk to nobody for ever. Plain netlink messages, as linux/netfilter/nfnetlink_conntrack.h
lays them out; blocking calls (a dump of 10,000 flows takes some 30 ms), for this process's network namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NETLINK_NETFILTER = 12
_GET, _DELETE = 0x101, 0x102
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_TUPLE_ORIG, _TUPLE_REPLY = 1, 2
_IP, _PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_NUMBER, _SRC_PORT, _DST_PORT = 1, 2, 3
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry: where the first packet went, and who answers it."""

    protocol: int  # IPPROTO_…
    source: str
    destination: str
    source_port: int
    destination_port: int
    answers_from: str
    answers_from_port: int
    _original: bytes  # the original tuple as the kernel wrote it: names the entry when it is to be forgotten
    _family: int


def flows(protocol: int, family: int = socket.AF_INET) -> list[Flow]:
    """Every flow of `protocol`."""
    with _open() as channel:
        channel.send(_message(_GET, _REQUEST | _DUMP, family))
        return [flow for body in _bodies(channel) if (flow := _flow(body)) is not None and flow.protocol == protocol]


def forget(some: Iterable[Flow]) -> int:
    """Delete flows; how many were still there."""
    deleted = 0
    with _open() as channel:
        for flow in some:
            attribute = _attribute(_TUPLE_ORIG | 0x8000, flow._original)
            channel.send(_message(_DELETE, _REQUEST | _ACK, flow._family, attribute))
            deleted += _acknowledged(channel)
    return deleted


def flush(family: int = socket.AF_INET) -> None:
    """Forget every flow."""
    with _open() as channel:
        channel.send(_message(_DELETE, _REQUEST | _ACK, family))
        _acknowledged(channel)


def _open() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    channel.bind((0, 0))
    channel.settimeout(5.0)
    return channel


def _message(kind: int, flags: int, family: int, attributes: bytes = b"") -> bytes:
    body = struct.pack("=BBH", family, 0, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def _bodies(channel: socket.socket) -> Iterator[bytes]:
    while True:
        data = channel.recv(_BUFFER)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                _raise_for(data)
                return
            yield data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _acknowledged(channel: socket.socket) -> bool:
    return _raise_for(channel.recv(_BUFFER))


def _raise_for(data: bytes) -> bool:
    number = -struct.unpack_from("=i", data, _HEADER.size)[0]
    if number == errno.ENOENT:
        return False
    if number:
        raise OSError(number, f"cannot change the connection table: {os.strerror(number)}")
    return True


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _flow(body: bytes) -> Flow | None:
    family = body[0]
    attributes = _attributes(body[4:])
    original, reply = attributes.get(_TUPLE_ORIG), attributes.get(_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    there, back = _tuple(original), _tuple(reply)
    if there is None or back is None:
        return None
    protocol, source, destination, source_port, destination_port = there
    return Flow(protocol, source, destination, source_port, destination_port, back[1], back[3], original, family)


def _tuple(data: bytes) -> tuple[int, str, str, int, int] | None:
    nested = _attributes(data)
    addresses, protocol = _attributes(nested.get(_IP, b"")), _attributes(nested.get(_PROTO, b""))
    source, destination = addresses.get(_V4_SRC), addresses.get(_V4_DST)
    family = socket.AF_INET
    if source is None or destination is None:
        source, destination, family = addresses.get(_V6_SRC), addresses.get(_V6_DST), socket.AF_INET6
    if source is None or destination is None or _NUMBER not in protocol:
        return None
    return (
        protocol[_NUMBER][0],
        socket.inet_ntop(family, source),
        socket.inet_ntop(family, destination),
        int.from_bytes(protocol.get(_SRC_PORT, b"\0\0")[:2], "big"),
        int.from_bytes(protocol.get(_DST_PORT, b"\0\0")[:2], "big"),
    )
