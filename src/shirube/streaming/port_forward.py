"""Port-forward through a WebSocket tunnel: binary messages that carry a SPDY/3.1 connection, unwrapped and wrapped.

kubectl asks for it with the subprotocol `SPDY/3.1+portforward.k8s.io`; the runtime then speaks the SPDY protocol
`portforward.k8s.io` with the client itself, one pair of streams a connection. Message borders mean nothing.
Follows KEP-4006.
"""

from __future__ import annotations

from collections.abc import Sequence

from shirube.streaming import websocket
from shirube.streaming.websocket import WebSocket, WebSocketError

TUNNEL_PREFIX = "SPDY/3.1+"
RUNTIME_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = TUNNEL_PREFIX + RUNTIME_PROTOCOL


def is_tunnel(offered: Sequence[str]) -> bool:
    """Whether a client's WebSocket subprotocols ask for a tunnel."""
    return TUNNEL_PROTOCOL in offered


class Tunnel:
    """One tunnel. See `translation.Translation`."""

    accepts_client = True

    def __init__(self) -> None:
        self._client = WebSocket()
        self._for_runtime: list[bytes] = []
        self.client_done = False
        self.runtime_done = False

    def take_for_client(self) -> bytes:
        return self._client.take()

    def take_for_runtime(self) -> bytes:
        data = b"".join(self._for_runtime)
        self._for_runtime.clear()
        return data

    def from_client(self, data: bytes) -> None:
        if not data:
            self.client_done = True
            return
        try:
            for event in self._client.receive(data):
                match event:
                    case websocket.Message(_, True):
                        raise WebSocketError(websocket.UNSUPPORTED, "a tunnel carries binary messages only")
                    case websocket.Message(message, False):
                        self._for_runtime.append(message)
                    case websocket.Closed():
                        self.client_done = True
        except WebSocketError as error:
            self._client.close(error.code, str(error))
            self.client_done = True

    def from_runtime(self, data: bytes) -> None:
        if data:
            self._client.send(data)
        else:
            self._client.close()
            self.runtime_done = True
