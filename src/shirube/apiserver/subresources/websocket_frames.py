"""The little of WebSocket that a one-way stream needs: the handshake's answer, and frames from server to client.

Protocols as upstream's `wsstream.Reader`: `binary.k8s.io` (and none asked for) sends bytes as they are,
`base64.binary.k8s.io` as base64 text. Pure: bytes to bytes. RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _BINARY, _CLOSE = 1, 2, 8


def accept_key(key: str) -> str:
    """The value of Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def choose_protocol(asked: Sequence[str]) -> str | None:
    """The first that we speak; "" when none was asked for, None when there is no match."""
    if not asked:
        return ""
    return next((protocol for protocol in asked if protocol in PROTOCOLS), None)


def message(data: bytes, protocol: str) -> bytes:
    """One frame that carries `data`."""
    if protocol.startswith("base64."):
        return _frame(_TEXT, base64.b64encode(data))
    return _frame(_BINARY, data)


def text(data: bytes) -> bytes:
    """One text frame; `data` is UTF-8."""
    return _frame(_TEXT, data)


def close(code: int = 1000) -> bytes:
    return _frame(_CLOSE, code.to_bytes(2, "big"))


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload
