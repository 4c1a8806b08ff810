"""DNS packets to DNS packets. A malformed packet gets FORMERR or no answer, never an exception."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Awaitable, Callable

from dnslib import (
    AAAA,
    CNAME,
    EDNS0,
    NS,
    PTR,
    QTYPE,
    RCODE,
    RR,
    SOA,
    SRV,
    TXT,
    A,
    DNSError,
    DNSHeader,
    DNSLabel,
    DNSRecord,
)
from dnslib.buffer import BufferError
from dnslib.label import DNSLabelError

from shirube.network.dns import wire
from shirube.network.dns.records import Found, Zone

TTL = 5  # seconds; upstream's CoreDNS default for cluster records is the same
_NEGATIVE_TTL = 5
_SOA_TIMES = (1, 7200, 1800, 86400, _NEGATIVE_TTL)
_CNAME_STEPS = 8

_LONGEST_NAME = 255  # bytes on the wire
# What the parser raises, for want of one exception of its own.
_MALFORMED = (DNSError, DNSLabelError, BufferError, ValueError, IndexError, KeyError, UnicodeError, struct.error)

Forwarder = Callable[[bytes, bool], Awaitable[bytes | None]]


class Responder:
    """Answers from the zone; what is outside it goes to `forward(packet, over_tcp)`."""

    def __init__(self, zone: Zone, forward: Forwarder) -> None:
        self._zone = zone
        self._forward = forward
        self._start_of_authority = wire.authority(zone.domain, TTL, _SOA_TIMES)

    def at_once(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer where it is known and plain; None where `respond` must have a look."""
        asked = wire.question(packet)
        if asked is None or asked.kind not in (wire.A, wire.AAAA) or not self._zone.contains(asked.name):
            return None
        found = self._zone.lookup(asked.name)
        if found.cname:
            return None
        if not found.exists:
            return wire.name_error(packet, asked, self._start_of_authority)
        reply = wire.addresses(packet, asked, found.addresses, TTL, self._start_of_authority)
        return reply if tcp or len(reply) <= asked.room else None

    async def respond(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer to one packet; None when there is nothing to say to it."""
        try:
            query = DNSRecord.parse(packet)
        except _MALFORMED:
            return _format_error(packet)
        if any(_length(q.qname) > _LONGEST_NAME for q in query.questions):
            return _format_error(packet)  # no answer could repeat the question
        if query.header.qr:
            return None
        if query.header.opcode != 0 or len(query.questions) != 1:
            reply = query.reply()
            reply.header.rcode = RCODE.NOTIMP if query.header.opcode else RCODE.FORMERR
            return bytes(reply.pack())
        if any(r.rtype == QTYPE.OPT and (r.ttl >> 16) & 0xFF for r in query.ar):
            return _bad_version(query)
        name = str(query.q.qname).rstrip(".").lower()
        found = self._find(name)
        if found is None:
            return await self._outside(query, packet, tcp)
        reply = query.reply(ra=1, aa=1)
        await self._fill(reply, name, found, tcp)
        return _fit(query, reply, tcp)

    def _find(self, name: str) -> Found | None:
        """What the zone says; None when it is somebody else's name."""
        if self._zone.contains(name):
            return self._zone.lookup(name)
        if (address := _reverse_address(name)) is not None:
            found = self._zone.reverse(address)
            return found if found.exists else None
        return None

    async def _fill(self, reply: DNSRecord, name: str, found: Found, tcp: bool) -> None:
        kind = QTYPE[reply.q.qtype]
        owner = str(reply.q.qname)
        if found.cname:
            await self._follow(reply, owner, found.cname, tcp)
            return
        answers = _answers(owner, kind, found)
        if kind in ("SOA", "NS") and name == self._zone.domain:
            answers = [self._authority(owner) if kind == "SOA" else RR(owner, QTYPE.NS, ttl=TTL, rdata=NS(owner))]
        reply.add_answer(*answers)
        if kind in ("SRV", "ANY"):
            reply.add_ar(*[_address_record(n, a) for n, a in found.glue])
        if not answers:
            reply.header.rcode = RCODE.NOERROR if found.exists else RCODE.NXDOMAIN
            reply.add_auth(self._authority(self._zone.domain))

    async def _follow(self, reply: DNSRecord, owner: str, target: str, tcp: bool) -> None:
        """An ExternalName: the alias, and what it points to as far as we can say."""
        kind = reply.q.qtype
        for _ in range(_CNAME_STEPS):
            reply.add_answer(RR(owner, QTYPE.CNAME, ttl=TTL, rdata=CNAME(target)))
            if QTYPE[kind] == "CNAME":
                return
            found = self._find(target)
            if found is None:
                question = DNSRecord.question(target, QTYPE[kind])
                answer = await self._forward(bytes(question.pack()), tcp)
                if answer is not None:
                    reply.add_answer(*_parsed_answers(answer))
                return
            if not found.cname:
                reply.add_answer(*_answers(target + ".", QTYPE[kind], found))
                return
            owner, target = target + ".", found.cname

    async def _outside(self, query: DNSRecord, packet: bytes, tcp: bool) -> bytes:
        answer = await self._forward(packet, tcp)
        if answer is not None:
            return answer
        reply = query.reply(ra=1, aa=0)
        reply.header.rcode = RCODE.SERVFAIL
        return bytes(reply.pack())

    def _authority(self, owner: str) -> RR:
        domain = self._zone.domain
        return RR(owner, QTYPE.SOA, ttl=TTL, rdata=SOA(f"ns.dns.{domain}", f"hostmaster.{domain}", _SOA_TIMES))


def _answers(owner: str, kind: str, found: Found) -> list[RR]:
    records = []
    if kind in ("A", "AAAA", "ANY"):
        records += [r for a in found.addresses if kind in ("ANY", QTYPE[(r := _address_record(owner, a)).rtype])]
    if kind in ("SRV", "ANY") and found.srv:
        weight = max(1, 100 // len(found.srv))
        records += [RR(owner, QTYPE.SRV, ttl=TTL, rdata=SRV(0, weight, s.port, s.target)) for s in found.srv]
    if kind in ("TXT", "ANY") and found.text:
        records.append(RR(owner, QTYPE.TXT, ttl=TTL, rdata=TXT(found.text)))
    if kind in ("PTR", "ANY") and found.pointer:
        records.append(RR(owner, QTYPE.PTR, ttl=TTL, rdata=PTR(found.pointer)))
    return records


def _address_record(owner: str, address: str) -> RR:
    if ":" in address:
        return RR(owner, QTYPE.AAAA, ttl=TTL, rdata=AAAA(address))
    return RR(owner, QTYPE.A, ttl=TTL, rdata=A(address))


def _parsed_answers(packet: bytes) -> list[RR]:
    try:
        answers = list(DNSRecord.parse(packet).rr)
        DNSRecord(rr=answers).pack()  # what cannot be said again is no answer
        return answers
    except _MALFORMED:
        return []


def _fit(query: DNSRecord, reply: DNSRecord, tcp: bool) -> bytes:
    room = wire.UDP_LEAST
    for record in query.ar:
        if record.rtype == QTYPE.OPT:
            room = min(max(record.rclass, wire.UDP_LEAST), wire.UDP_MOST)
            reply.add_ar(EDNS0(udp_len=wire.UDP_MOST))
            break
    packed = bytes(reply.pack())
    if tcp or len(packed) <= room:
        return packed
    cut = reply.truncate()
    cut.ar = [r for r in reply.ar if r.rtype == QTYPE.OPT]
    cut.set_header_qa()
    return bytes(cut.pack())


def _bad_version(query: DNSRecord) -> bytes:
    """BADVERS: an EDNS version that nobody has defined yet."""
    reply = query.reply(ra=1)
    reply.add_ar(EDNS0(udp_len=wire.UDP_MOST, ext_rcode=1))
    return bytes(reply.pack())


def _format_error(packet: bytes) -> bytes | None:
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    header = DNSHeader(id=int.from_bytes(packet[:2], "big"), qr=1, rcode=RCODE.FORMERR)
    return bytes(DNSRecord(header).pack())


def _length(name: DNSLabel) -> int:
    return sum(len(label) + 1 for label in name.label) + 1


def _reverse_address(name: str) -> str | None:
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            return str(ipaddress.ip_address(".".join(reversed(labels[:4]))))
        if name.endswith(".ip6.arpa") and len(labels) == 34:
            digits = "".join(reversed(labels[:32]))
            return str(ipaddress.ip_address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None
    return None
