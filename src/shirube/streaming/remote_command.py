"""Exec and attach: a client's WebSocket channels (v4, v5) to the SPDY/3.1 streams of a container runtime and back.

The runtime gets the streams error, stdin, stdout, stderr, resize (header `streamtype`), speaking
`v4.channel.k8s.io`. All are opened at once; the client is read only when the runtime has replied to each, because
it drops what comes earlier. A client's half-close of stdin becomes a FIN (containerd before 1.7 cannot be told of
it over WebSocket). The outcome on the error stream is handed on whole when that stream ends; when the runtime
vanishes before, the client is told so instead of being left to take silence for success. The session ends with a
close frame once error, stdout and stderr have ended.
Follows KEP-4006 and `k8s.io/kubelet/pkg/cri/streaming`.
"""

from __future__ import annotations

import json

from shirube.streaming import channels, websocket
from shirube.streaming.channels import ChannelError, ChannelProtocol
from shirube.streaming.spdy import SpdyError
from shirube.streaming.spdy_session import Session, StreamData, StreamEnded, StreamReplied, StreamReset
from shirube.streaming.websocket import WebSocket, WebSocketError

RUNTIME_PROTOCOL = "v4.channel.k8s.io"
MAX_STATUS = 64 * 1024
_NAMES = {
    channels.ERROR: "error",
    channels.STDIN: "stdin",
    channels.STDOUT: "stdout",
    channels.STDERR: "stderr",
    channels.RESIZE: "resize",
}
SUCCESS = b'{"metadata":{},"status":"Success"}'


def failure(message: str) -> bytes:
    """A Status for the error channel."""
    body = {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}
    return json.dumps(body, separators=(",", ":")).encode()


class RemoteCommand:
    """One session. See `translation.Translation`."""

    def __init__(self, protocol: ChannelProtocol, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> None:
        self._protocol = protocol
        self._client = WebSocket()
        self._runtime = Session(server=False)
        self._status = b""
        self.client_done = False
        self.runtime_done = False
        wanted = [channels.ERROR]
        wanted += [channels.STDIN] * stdin + [channels.STDOUT] * stdout
        # A terminal has one output, and a size.
        wanted += [channels.STDERR] * (stderr and not tty) + [channels.RESIZE] * tty
        self._stream_of = {c: self._runtime.open((("streamtype", _NAMES[c]),)) for c in wanted}
        self._channel_of = {stream: channel for channel, stream in self._stream_of.items()}
        self._unreplied = set(self._channel_of)
        self._waited_for = {c for c in wanted if c in (channels.ERROR, channels.STDOUT, channels.STDERR)}
        self._sign = min(self._waited_for - {channels.ERROR}, default=channels.ERROR)

    @property
    def accepts_client(self) -> bool:
        return not self._unreplied or self.runtime_done

    def take_for_client(self) -> bytes:
        return self._client.take()

    def take_for_runtime(self) -> bytes:
        return self._runtime.take()

    # -- from the client

    def from_client(self, data: bytes) -> None:
        if not data:
            self.client_done = True
            return
        try:
            for event in self._client.receive(data):
                match event:
                    case websocket.Message(message, _):
                        self._from_channel(self._protocol.decode(message))
                    case websocket.Closed():
                        self.client_done = True
        except WebSocketError as error:
            self._refuse(error.code, str(error))
        except ChannelError as error:
            self._refuse(websocket.POLICY, str(error))

    def _from_channel(self, message: channels.ChannelData) -> None:
        channel, data = message
        if channel == channels.CLOSE and self._protocol.closes:
            # Only stdin can be half-closed; ends of other streams mean nothing here.
            if data[:1] == bytes((channels.STDIN,)) and channels.STDIN in self._stream_of:
                self._runtime.send(self._stream_of[channels.STDIN], b"", fin=True)
        elif channel in (channels.STDIN, channels.RESIZE) and channel in self._stream_of:
            self._runtime.send(self._stream_of[channel], data)

    def _refuse(self, code: int, reason: str) -> None:
        self._client.close(code, reason)
        self.client_done = True

    # -- from the runtime

    def from_runtime(self, data: bytes) -> None:
        if self.runtime_done:
            return
        if not data:
            self._fail("container runtime closed the connection before the command's outcome was known")
            return
        try:
            events = self._runtime.receive(data)
        except SpdyError as error:
            self._fail(f"container runtime broke the SPDY protocol: {error}")
            return
        for event in events:
            match event:
                case StreamReplied(stream, _):
                    self._replied(stream)
                case StreamData(stream, piece):
                    self._from_stream(self._channel_of.get(stream), piece)
                case StreamEnded(stream) | StreamReset(stream, _):
                    self._replied(stream)
                    self._stream_ended(self._channel_of.get(stream))

    def _replied(self, stream: int) -> None:
        if stream in self._unreplied:
            self._unreplied.discard(stream)
            if not self._unreplied:
                # Clients take an empty message as the sign that the session stands. Sent together with the
                # handshake's answer it could meet a kubectl that has not made its streams yet, and complains.
                self._tell(self._sign, b"")

    def _from_stream(self, channel: int | None, data: bytes) -> None:
        if channel in (channels.STDOUT, channels.STDERR):
            self._tell(channel, data)
        elif channel == channels.ERROR:
            self._status += data[: MAX_STATUS - len(self._status)]

    def _stream_ended(self, channel: int | None) -> None:
        if channel not in self._waited_for:
            return
        self._waited_for.discard(channel)
        if not self._waited_for:
            # The outcome goes out last: clients stop reading output when they have it.
            self._finish(self._status or SUCCESS)

    def _fail(self, message: str) -> None:
        # With the outcome known, the runtime's going away is how some of them end.
        self._finish(self._status or failure(message))

    def _finish(self, status: bytes) -> None:
        self._tell(channels.ERROR, status)
        self._client.close()
        self._runtime.go_away()
        self.runtime_done = True

    def _tell(self, channel: int, data: bytes) -> None:
        self._client.send(self._protocol.encode(channel, data), text=self._protocol.base64)
