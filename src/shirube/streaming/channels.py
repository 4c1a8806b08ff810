"""The WebSocket subprotocols of exec and attach: which byte of a message names which stream.

A binary protocol's message is the channel's number as one byte, then data; a base64 protocol's is the number as a
digit, then base64 text. From v4 on the error channel carries a `Status` as JSON; v5 adds a channel by which the
client ends one of its streams (KEP-4006).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import NamedTuple

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


class ChannelError(Exception):
    """A message that is none of the protocol's."""


class ChannelData(NamedTuple):
    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ChannelProtocol:
    name: str
    base64: bool = False
    status_json: bool = False  # the error channel carries a Status
    closes: bool = False  # the client can end its streams one by one

    def encode(self, channel: int, data: bytes) -> bytes:
        """The message that carries `data`; text of base64 protocols is ASCII."""
        if self.base64:
            return str(channel).encode() + base64.b64encode(data)
        return bytes((channel,)) + data

    def decode(self, message: bytes) -> ChannelData:
        """Raises ChannelError."""
        if not message:
            raise ChannelError("message without a channel")
        if not self.base64:
            return ChannelData(message[0], message[1:])
        digit = message[:1]
        if not digit.isdigit():
            raise ChannelError(f"{digit!r} is not a channel")
        try:
            return ChannelData(int(digit), base64.b64decode(message[1:], validate=True))
        except binascii.Error as error:
            raise ChannelError(f"cannot decode base64: {error}") from None

    def end(self, channel: int) -> bytes:
        """The message that ends a stream of the client's."""
        if not self.closes:
            raise ChannelError(f"{self.name} cannot end a stream")
        return bytes((CLOSE, channel))


V5 = ChannelProtocol("v5.channel.k8s.io", status_json=True, closes=True)
V4 = ChannelProtocol("v4.channel.k8s.io", status_json=True)
V4_BASE64 = ChannelProtocol("v4.base64.channel.k8s.io", base64=True, status_json=True)
V1 = ChannelProtocol("channel.k8s.io")
V1_BASE64 = ChannelProtocol("base64.channel.k8s.io", base64=True)

# In the order in which a server prefers them. (v2 and v3 are protocols of SPDY streams only.)
PROTOCOLS = {protocol.name: protocol for protocol in (V5, V4, V4_BASE64, V1, V1_BASE64)}
