"""SPDY/3.1 framing as container runtimes speak it: frames to bytes, bytes to frames.

`Decoder` takes the byte stream in any splits. Data frames (up to 16 MB on the wire) are never gathered: what has
come of one is handed on at once, and its FIN with the last piece. Control frames and inflated headers are bounded.
`Session` is one end of a connection: stream ids, replies, ends, pings.

Flow control: runtimes built on moby/spdystream send no WINDOW_UPDATE and heed none, so neither do we; TCP's
back-pressure holds for all streams of a connection together.
Follows SPDY draft 3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from shirube.streaming.spdy_dictionary import DICTIONARY

VERSION = 3
MAX_CONTROL = 64 * 1024  # bytes of a control frame
MAX_HEADERS = 256 * 1024  # bytes of a header block, inflated
MAX_PIECE = 64 * 1024  # bytes that go into one data frame

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN, UNIDIRECTIONAL = 1, 2
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5

Pairs = tuple[tuple[str, str], ...]


class SpdyError(Exception):
    """The peer broke the protocol; the connection is of no more use."""


class SynStream(NamedTuple):
    stream: int
    headers: Pairs
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


class SynReply(NamedTuple):
    stream: int
    headers: Pairs = ()
    fin: bool = False


class RstStream(NamedTuple):
    stream: int
    status: int


class Settings(NamedTuple):
    values: tuple[tuple[int, int, int], ...]  # (id, flags, value)


class Ping(NamedTuple):
    id: int


class GoAway(NamedTuple):
    last_stream: int
    status: int = 0


class MoreHeaders(NamedTuple):
    stream: int
    headers: Pairs
    fin: bool = False


class WindowUpdate(NamedTuple):
    stream: int
    delta: int


class Data(NamedTuple):
    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | MoreHeaders | WindowUpdate | Data


# -- encoding


class Encoder:
    """Frames to bytes. Header blocks share one compressor, so frames must be sent in the order of encoding."""

    def __init__(self) -> None:
        self._compressor: zlib._Compress | None = None  # made on first use: it holds buffers

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream, data, fin):
                return b"".join(_data_frames(stream, data, fin))
            case SynStream():
                head = struct.pack(">IIBB", frame.stream, frame.associated, frame.priority << 5, 0)
                flags = FIN * frame.fin | UNIDIRECTIONAL * frame.unidirectional
                return _control(SYN_STREAM, flags, head + self._block(frame.headers))
            case SynReply(stream, headers, fin):
                return _control(SYN_REPLY, FIN * fin, struct.pack(">I", stream) + self._block(headers))
            case MoreHeaders(stream, headers, fin):
                return _control(HEADERS, FIN * fin, struct.pack(">I", stream) + self._block(headers))
            case RstStream(stream, status):
                return _control(RST_STREAM, 0, struct.pack(">II", stream, status))
            case Settings(values):
                rows = b"".join(struct.pack(">II", flags << 24 | id, value) for id, flags, value in values)
                return _control(SETTINGS, 0, struct.pack(">I", len(values)) + rows)
            case Ping(id):
                return _control(PING, 0, struct.pack(">I", id))
            case GoAway(last, status):
                return _control(GOAWAY, 0, struct.pack(">II", last, status))
            case WindowUpdate(stream, delta):
                return _control(WINDOW_UPDATE, 0, struct.pack(">II", stream, delta))

    def _block(self, headers: Pairs) -> bytes:
        if self._compressor is None:
            # A small window is enough for the dictionary and keeps a connection cheap.
            self._compressor = zlib.compressobj(6, zlib.DEFLATED, 12, 5, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        joined: dict[str, list[str]] = {}
        for name, value in headers:
            joined.setdefault(name.lower(), []).append(value)
        parts = [struct.pack(">I", len(joined))]
        for name, values in joined.items():
            for text in (name.encode(), "\0".join(values).encode()):
                parts += (struct.pack(">I", len(text)), text)
        return self._compressor.compress(b"".join(parts)) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(payload)) + payload


def _data_frames(stream: int, data: bytes, fin: bool) -> Iterable[bytes]:
    if not data and fin:
        yield struct.pack(">II", stream, FIN << 24)
    for start in range(0, len(data), MAX_PIECE):
        piece = data[start : start + MAX_PIECE]
        last = fin and start + MAX_PIECE >= len(data)
        yield struct.pack(">II", stream, (FIN << 24 if last else 0) | len(piece))
        yield piece


# -- decoding


class Decoder:
    """Bytes, in any splits, to frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflater: zlib._Decompress | None = None
        self._stream = 0  # of the data frame that is under way
        self._left = 0  # its bytes that have not come
        self._fin = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises SpdyError."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        while True:
            if self._left:
                if not buffer:
                    return frames
                piece = bytes(buffer[: self._left])
                del buffer[: len(piece)]
                self._left -= len(piece)
                frames.append(Data(self._stream, piece, self._fin and not self._left))
                continue
            if len(buffer) < 8:
                return frames
            first, second = struct.unpack_from(">II", buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & 0x80000000:
                del buffer[:8]
                self._begin_data(first, flags, length, frames)
                continue
            if length > MAX_CONTROL:
                raise SpdyError(f"control frame of {length} bytes is larger than {MAX_CONTROL}")
            if len(buffer) < 8 + length:
                return frames
            payload = bytes(buffer[8 : 8 + length])
            del buffer[: 8 + length]
            frame = self._read_control(first >> 16 & 0x7FFF, first & 0xFFFF, flags, payload)
            if frame is not None:
                frames.append(frame)

    def _begin_data(self, stream: int, flags: int, length: int, frames: list[Frame]) -> None:
        if stream == 0:
            raise SpdyError("data frame of stream 0")
        self._stream, self._left, self._fin = stream, length, bool(flags & FIN)
        if not length:
            frames.append(Data(stream, b"", self._fin))

    def _read_control(self, version: int, kind: int, flags: int, payload: bytes) -> Frame | None:
        if version != VERSION:
            raise SpdyError(f"frame of SPDY version {version}, not {VERSION}")
        try:
            frame = self._parse(kind, flags, payload)
        except struct.error:
            raise SpdyError(f"control frame of type {kind} is too short") from None
        if frame is not None and getattr(frame, "stream", 1) == 0 and kind != WINDOW_UPDATE:
            raise SpdyError(f"control frame of type {kind} for stream 0")
        return frame

    def _parse(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        fin = bool(flags & FIN)
        match kind:
            case 1:
                stream, associated, priority, _ = struct.unpack_from(">IIBB", payload)
                headers = self._headers(payload[10:])
                mask = 0x7FFFFFFF
                return SynStream(
                    stream & mask, headers, fin, bool(flags & UNIDIRECTIONAL), associated & mask, priority >> 5
                )
            case 2 | 8:
                stream = _word(payload) & 0x7FFFFFFF
                headers = self._headers(payload[4:])
                return (SynReply if kind == SYN_REPLY else MoreHeaders)(stream, headers, fin)
            case 3:
                stream, status = struct.unpack_from(">II", payload)
                return RstStream(stream & 0x7FFFFFFF, status)
            case 4:
                return _settings(payload)
            case 6:
                return Ping(_word(payload))
            case 7:
                last, status = struct.unpack_from(">II", payload)
                return GoAway(last & 0x7FFFFFFF, status)
            case 9:
                stream, delta = struct.unpack_from(">II", payload)
                return WindowUpdate(stream & 0x7FFFFFFF, delta & 0x7FFFFFFF)
        return None  # types that we do not know are to be ignored

    def _headers(self, block: bytes) -> Pairs:
        if self._inflater is None:
            self._inflater = zlib.decompressobj(zdict=DICTIONARY)
        try:
            plain = self._inflater.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"cannot inflate headers: {error}") from None
        if self._inflater.unconsumed_tail:
            raise SpdyError(f"headers are larger than {MAX_HEADERS} bytes")
        return _pairs(plain)


def _word(payload: bytes) -> int:
    value: int = struct.unpack_from(">I", payload)[0]
    return value


def _settings(payload: bytes) -> Settings:
    count = _word(payload)
    if 4 + 8 * count != len(payload):
        raise SpdyError(f"settings frame of {len(payload)} bytes cannot hold {count} settings")
    rows = struct.iter_unpack(">II", payload[4:])
    return Settings(tuple((first & 0xFFFFFF, first >> 24, value) for first, value in rows))


def _pairs(plain: bytes) -> Pairs:
    position = 0

    def text() -> str:
        nonlocal position
        (length,) = struct.unpack_from(">I", plain, position)
        position += 4
        if position + length > len(plain):
            raise SpdyError("header block ends inside a header")
        found = plain[position : position + length].decode("utf-8", "replace")
        position += length
        return found

    try:
        (count,) = struct.unpack_from(">I", plain)
        position = 4
        if count * 8 > len(plain):
            raise SpdyError(f"header block of {len(plain)} bytes cannot hold {count} headers")
        pairs = []
        for _ in range(count):
            name = text().lower()
            pairs += [(name, value) for value in text().split("\0")]
    except struct.error:
        raise SpdyError("header block ends inside a header") from None
    return tuple(pairs)
