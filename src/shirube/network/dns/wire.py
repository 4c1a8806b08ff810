"""The common case of DNS without objects: one plain question for an address, answered in some 20 µs. Pure.

`question` reads a packet as far as the fast path needs; what is unusual in any way (several questions, compression in
the question, odd labels, other classes) is None, and `answer` has the general, slower way for it. Both give the same
answers: a test compares them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

A, SOA, AAAA, OPT, IN = 1, 6, 28, 41, 1
UDP_LEAST, UDP_MOST = 512, 1232  # without EDNS0; what fits any link without fragments (DNS flag day 2020)
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHHIH")  # name (a pointer), type, class, TTL, length
_OPT_RECORD = struct.Struct("!BHHIH")
_QUESTION_AT = 12
_LONGEST_NAME = 255
_POINTER = 0xC000 | _QUESTION_AT
_RESPONSE, _AUTHORITATIVE, _RECURSION_WANTED, _RECURSION = 0x8000, 0x0400, 0x0100, 0x0080
_NAME_ERROR = 3


class Question(NamedTuple):
    name: str  # lower-case, without the final dot
    kind: int
    end: int  # where the question ends in the packet
    room: int  # bytes that the client takes over UDP
    edns: bool


def question(packet: bytes) -> Question | None:
    """The one question of a standard query; None when the packet is anything else."""
    if len(packet) < _QUESTION_AT + 5:
        return None
    _, flags, questions, answers, authorities, additional = _HEADER.unpack_from(packet)
    if flags & 0xF800 or questions != 1 or answers or authorities or additional > 1:
        return None
    labels, at = [], _QUESTION_AT
    while (length := packet[at]) != 0:
        if length > 63 or at + length + 1 >= len(packet):
            return None
        labels.append(packet[at + 1 : at + 1 + length])
        at += length + 1
    end = at + 5
    if end - 4 - _QUESTION_AT > _LONGEST_NAME or len(packet) < end or packet[end - 2 : end] != b"\0\1":
        return None
    name = b".".join(labels)
    if name.count(b".") != len(labels) - 1 or not name.isascii():
        return None
    room, edns = UDP_LEAST, False
    if additional:
        # An OPT record without a version to negotiate: root name, type, size, flags.
        if len(packet) < end + 11 or packet[end] != 0 or packet[end + 1 : end + 3] != b"\0\x29" or packet[end + 6]:
            return None
        room = min(max(int.from_bytes(packet[end + 3 : end + 5], "big"), UDP_LEAST), UDP_MOST)
        edns = True
    elif len(packet) != end:
        return None
    return Question(name.decode().lower(), int.from_bytes(packet[end - 4 : end - 2], "big"), end, room, edns)


def addresses(packet: bytes, asked: Question, found: Sequence[str], ttl: int, start_of_authority: bytes) -> bytes:
    """The answer for a name that exists: its addresses of the asked kind, or none and the zone's SOA."""
    records = [packed for text in found if len(packed := ip_address(text).packed) == (4 if asked.kind == A else 16)]
    if not records:
        return _reply(packet, asked, 0, b"", 0, start_of_authority)
    turn = packet[1] % len(records)  # clients take the first: let them take turns
    body = b"".join(
        _RECORD.pack(_POINTER, asked.kind, IN, ttl, len(data)) + data for data in (*records[turn:], *records[:turn])
    )
    return _reply(packet, asked, len(records), body, 0, b"")


def name_error(packet: bytes, asked: Question, start_of_authority: bytes) -> bytes:
    """The answer for a name of the zone that does not exist."""
    return _reply(packet, asked, 0, b"", _NAME_ERROR, start_of_authority)


def _reply(packet: bytes, asked: Question, count: int, body: bytes, code: int, authority: bytes) -> bytes:
    wanted = (packet[2] << 8) & _RECURSION_WANTED
    flags = _RESPONSE | _AUTHORITATIVE | _RECURSION | wanted | code
    head = struct.pack("!HHHHH", flags, 1, count, 1 if authority else 0, 1 if asked.edns else 0)
    edns = opt_record() if asked.edns else b""
    return packet[:2] + head + packet[_QUESTION_AT : asked.end] + body + authority + edns


def opt_record(code: int = 0) -> bytes:
    """Our side of EDNS0; `code` holds the upper bits of an extended answer code (1: BADVERS)."""
    return _OPT_RECORD.pack(0, OPT, UDP_MOST, code << 24, 0)


def authority(domain: str, ttl: int, times: tuple[int, int, int, int, int]) -> bytes:
    """The SOA record of the zone, without compression: it fits behind any question."""
    data = encoded(f"ns.dns.{domain}") + encoded(f"hostmaster.{domain}") + struct.pack("!IIIII", *times)
    return encoded(domain) + struct.pack("!HHIH", SOA, IN, ttl, len(data)) + data


def encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def lifetimes(packet: bytes) -> list[int]:
    """Where the TTLs of a packet's records are (OPT has none), for a cache to let them run down; [] of a bad packet."""
    try:
        _, _, questions, *counts = _HEADER.unpack_from(packet)
        at, found = _QUESTION_AT, []
        for _ in range(questions):
            at = _skip_name(packet, at) + 4
        for _ in range(sum(counts)):
            at = _skip_name(packet, at)
            kind, _, _, length = struct.unpack_from("!HHIH", packet, at)
            if kind != OPT:
                found.append(at + 4)
            at += 10 + length
        return found if at <= len(packet) else []
    except (struct.error, IndexError):
        return []


def _skip_name(packet: bytes, at: int) -> int:
    while (length := packet[at]) != 0:
        if length & 0xC0 == 0xC0:
            return at + 2
        at += length + 1
    return at + 1
