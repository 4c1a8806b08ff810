"""RFC 6455 WebSocket: handshake and framing, either role, from bytes to messages and back.

`WebSocket.receive` gives whole messages (fragments joined, at most `max_message` bytes), pings and closes; pings
and closes are answered by themselves. What breaks the protocol raises `WebSocketError` with the close code to send.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, NO_STATUS = 1000, 1001, 1002, 1003, 1005
INVALID_DATA, POLICY, TOO_BIG, INTERNAL_ERROR = 1007, 1008, 1009, 1011
MAX_MESSAGE = 4 * 1024 * 1024

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CODES_ON_THE_WIRE = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))

HeaderItems = Iterable[tuple[str, str]]


class HandshakeError(Exception):
    """The request cannot become a WebSocket; the text says why (400)."""


class WebSocketError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# -- handshake


def accept_key(key: str) -> str:
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def _values(headers: HeaderItems, name: str) -> list[str]:
    """Comma-separated values of a header, in order."""
    found = []
    for key, value in headers:
        if key.lower() == name:
            found += [part.strip() for part in value.split(",") if part.strip()]
    return found


def is_upgrade(headers: Sequence[tuple[str, str]]) -> bool:
    """Whether a request asks for a WebSocket."""
    asks = any(value.lower() == "upgrade" for value in _values(headers, "connection"))
    return asks and any(value.lower() == "websocket" for value in _values(headers, "upgrade"))


def offered_protocols(headers: HeaderItems) -> list[str]:
    """Subprotocols that the client speaks, its favourite first."""
    return _values(headers, "sec-websocket-protocol")


def choose_protocol(offered: Sequence[str], supported: Iterable[str]) -> str | None:
    """The client's first choice that we have; None when there is none in common."""
    known = set(supported)
    return next((name for name in offered if name in known), None)


def accept_headers(headers: Sequence[tuple[str, str]], protocol: str | None) -> list[tuple[str, str]]:
    """Headers of the 101 answer. Raises HandshakeError."""
    if not is_upgrade(headers):
        raise HandshakeError("not a WebSocket request")
    versions = _values(headers, "sec-websocket-version")
    if versions != ["13"]:
        raise HandshakeError("WebSocket version must be 13")
    keys = _values(headers, "sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except ValueError:
        valid = False
    if not valid:
        raise HandshakeError("Sec-WebSocket-Key is not 16 bytes in base64")
    answer = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(keys[0]))]
    if protocol:
        answer.append(("Sec-WebSocket-Protocol", protocol))
    return answer


def request_headers(protocols: Sequence[str], key: str | None = None) -> list[tuple[str, str]]:
    """Headers of a client's request."""
    key = key or base64.b64encode(secrets.token_bytes(16)).decode()
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]
    if protocols:
        headers.append(("Sec-WebSocket-Protocol", ", ".join(protocols)))
    return headers


# -- frames


class Message(NamedTuple):
    data: bytes
    text: bool = False


class Pinged(NamedTuple):
    data: bytes


class Ponged(NamedTuple):
    data: bytes


class Closed(NamedTuple):
    code: int
    reason: str


Event = Message | Pinged | Ponged | Closed


def mask(data: bytes, key: bytes) -> bytes:
    """XOR with the repeated key, as one long integer: no loop over bytes."""
    size = len(data)
    if not size:
        return b""
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def encode_frame(opcode: int, payload: bytes, *, fin: bool = True, key: bytes | None = None) -> bytes:
    """One frame; masked when `key` (4 bytes) is given."""
    size = len(payload)
    masked = 0x80 if key is not None else 0
    first = (0x80 if fin else 0) | opcode
    if size < 126:
        head = struct.pack(">BB", first, masked | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, masked | 126, size)
    else:
        head = struct.pack(">BBQ", first, masked | 127, size)
    if key is None:
        return head + payload
    return head + key + mask(payload, key)


class WebSocket:
    def __init__(self, *, client: bool = False, max_message: int = MAX_MESSAGE) -> None:
        self._client = client
        self._max_message = max_message
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._opcode = CONTINUATION  # of the message under way; none when CONTINUATION
        self._output: list[bytes] = []
        self.close_sent = False
        self.close_received = False

    def take(self) -> bytes:
        """What is to be sent now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    # -- sending

    def _frame(self, opcode: int, payload: bytes, fin: bool = True) -> None:
        if not self.close_sent:
            key = secrets.token_bytes(4) if self._client else None
            self._output.append(encode_frame(opcode, payload, fin=fin, key=key))

    def send(self, data: bytes, *, text: bool = False) -> None:
        """One message. Dropped once a close has been sent."""
        self._frame(TEXT if text else BINARY, data)

    def ping(self, data: bytes = b"") -> None:
        self._frame(PING, data[:125])

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        if code == NO_STATUS:
            payload = b""
        else:
            text = reason.encode()[:123].decode(errors="ignore").encode()
            payload = struct.pack(">H", code) + text
        self._frame(CLOSE, payload)
        self.close_sent = True

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        """Events of what came; what comes after a close is dropped. Raises WebSocketError."""
        events: list[Event] = []
        if self.close_received:
            return events
        self._buffer += data
        while not self.close_received and (frame := self._next_frame()) is not None:
            fin, opcode, payload = frame
            if opcode >= CLOSE:
                events.append(self._control(opcode, payload))
            elif (message := self._piece(fin, opcode, payload)) is not None:
                events.append(message)
        return events

    def _next_frame(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        fin, opcode = bool(first & 0x80), first & 0x0F
        self._check_head(first, second)
        size, at = second & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < 2 + width:
                return None
            size, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        if size + self._size > self._max_message:
            raise WebSocketError(TOO_BIG, f"message is larger than {self._max_message} bytes")
        masked = bool(second & 0x80)
        end = at + 4 * masked + size
        if len(buffer) < end:
            return None
        payload = bytes(buffer[end - size : end])
        if masked:
            payload = mask(payload, bytes(buffer[at : at + 4]))
        del buffer[:end]
        return fin, opcode, payload

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise WebSocketError(PROTOCOL_ERROR, "reserved bits are set")
        if bool(second & 0x80) == self._client:
            wrong = "masked" if self._client else "unmasked"
            raise WebSocketError(PROTOCOL_ERROR, f"{wrong} frame")
        if opcode in (CLOSE, PING, PONG):
            if not first & 0x80 or second & 0x7F > 125:
                raise WebSocketError(PROTOCOL_ERROR, "control frame is fragmented or too large")
        elif opcode not in (CONTINUATION, TEXT, BINARY):
            raise WebSocketError(PROTOCOL_ERROR, f"unknown opcode {opcode}")

    def _piece(self, fin: bool, opcode: int, payload: bytes) -> Message | None:
        if (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            raise WebSocketError(PROTOCOL_ERROR, "fragments are out of order")
        if opcode != CONTINUATION:
            self._opcode = opcode
        self._parts.append(payload)
        # An empty fragment costs memory too: they must not come without end.
        self._size += max(len(payload), 1)
        if not fin:
            return None
        message = Message(b"".join(self._parts), self._opcode == TEXT)
        self._parts, self._size, self._opcode = [], 0, CONTINUATION
        if message.text:
            try:
                message.data.decode()
            except UnicodeDecodeError:
                raise WebSocketError(INVALID_DATA, "text message is not UTF-8") from None
        return message

    def _control(self, opcode: int, payload: bytes) -> Event:
        if opcode == PING:
            self._frame(PONG, payload)
            return Pinged(payload)
        if opcode == PONG:
            return Ponged(payload)
        code, reason = _close_payload(payload)
        self.close_received = True
        self.close(code)
        return Closed(code, reason)


def _close_payload(payload: bytes) -> tuple[int, str]:
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise WebSocketError(PROTOCOL_ERROR, "close frame of one byte")
    (code,) = struct.unpack_from(">H", payload)
    if code not in _CODES_ON_THE_WIRE and not 3000 <= code <= 4999:
        raise WebSocketError(PROTOCOL_ERROR, f"close code {code} may not be sent")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise WebSocketError(INVALID_DATA, "close reason is not UTF-8") from None
