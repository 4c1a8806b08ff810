"""One end of a SPDY connection: streams with their ids, replies, half-closes and resets, over `spdy` frames.

`receive` turns bytes into events; what is to be sent gathers in `output` and is taken with `take`. Pings are
answered, streams beyond `max_streams` refused, frames of streams that are gone dropped (the peer may not know yet).
Nothing is buffered but output: whoever moves the bytes reads no more while it cannot write.
"""

from __future__ import annotations

from typing import NamedTuple

from shirube.streaming import spdy
from shirube.streaming.spdy import Pairs, SpdyError


class StreamOpened(NamedTuple):
    stream: int
    headers: Pairs


class StreamReplied(NamedTuple):
    stream: int
    headers: Pairs


class StreamData(NamedTuple):
    stream: int
    data: bytes


class StreamEnded(NamedTuple):
    """The peer sends no more on this stream."""

    stream: int


class StreamReset(NamedTuple):
    """The stream is gone in both directions."""

    stream: int
    status: int


class GoneAway(NamedTuple):
    """The peer opens and takes no more streams; open ones go on."""

    last_stream: int


Event = StreamOpened | StreamReplied | StreamData | StreamEnded | StreamReset | GoneAway


class _Stream:
    __slots__ = ("ended_here", "ended_there")

    def __init__(self) -> None:
        self.ended_here = False
        self.ended_there = False


class Session:
    def __init__(self, *, server: bool, max_streams: int = 1000) -> None:
        self._encoder = spdy.Encoder()
        self._decoder = spdy.Decoder()
        self._next = 2 if server else 1
        self._server = server
        self._last_of_peer = 0
        self._max_streams = max_streams
        self._streams: dict[int, _Stream] = {}
        self._output: list[bytes] = []

    def __len__(self) -> int:
        return len(self._streams)

    def take(self) -> bytes:
        """What is to be sent now."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def _send(self, frame: spdy.Frame) -> None:
        self._output.append(self._encoder.encode(frame))

    # -- what this end does

    def open(self, headers: Pairs, *, fin: bool = False) -> int:
        """Open a stream; its id. Runtimes drop data that comes before their reply."""
        stream = self._next
        self._next += 2
        opened = self._streams[stream] = _Stream()
        opened.ended_here = fin
        self._send(spdy.SynStream(stream, headers, fin))
        return stream

    def reply(self, stream: int, headers: Pairs = ()) -> None:
        """Accept a stream that the peer opened."""
        if stream in self._streams:
            self._send(spdy.SynReply(stream, headers))

    def send(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Data for a stream; dropped when the stream is gone or ended here."""
        found = self._streams.get(stream)
        if found is None or found.ended_here or not (data or fin):
            return
        self._send(spdy.Data(stream, data, fin))
        if fin:
            found.ended_here = True
            self._forget_if_over(stream, found)

    def reset(self, stream: int, status: int = spdy.CANCEL) -> None:
        if self._streams.pop(stream, None) is not None:
            self._send(spdy.RstStream(stream, status))

    def ping(self, id: int) -> None:
        self._send(spdy.Ping(id))

    def go_away(self) -> None:
        self._send(spdy.GoAway(self._last_of_peer))

    # -- what the peer does

    def receive(self, data: bytes) -> list[Event]:
        """Events of what came. Raises SpdyError."""
        events: list[Event] = []
        for frame in self._decoder.feed(data):
            self._frame(frame, events)
        return events

    def _frame(self, frame: spdy.Frame, events: list[Event]) -> None:
        match frame:
            case spdy.Data(stream, data, fin):
                found = self._streams.get(stream)
                if found is None or found.ended_there:
                    return
                if data:
                    events.append(StreamData(stream, data))
                if fin:
                    self._ended(stream, events)
            case spdy.SynStream():
                self._opened(frame, events)
            case spdy.SynReply(stream, headers, fin) if stream in self._streams:
                events.append(StreamReplied(stream, headers))
                if fin:
                    self._ended(stream, events)
            case spdy.MoreHeaders(stream, _, True):
                self._ended(stream, events)
            case spdy.RstStream(stream, status):
                if self._streams.pop(stream, None) is not None:
                    events.append(StreamReset(stream, status))
            case spdy.Ping(id):
                # Servers' pings are even, clients' odd: an answer to ours has our parity.
                if (id % 2 == 0) != self._server:
                    self._send(frame)
            case spdy.GoAway(last, _):
                events.append(GoneAway(last))

    def _opened(self, frame: spdy.SynStream, events: list[Event]) -> None:
        stream = frame.stream
        if (stream % 2 == 1) != self._server or stream <= self._last_of_peer:
            raise SpdyError(f"stream id {stream} after {self._last_of_peer} is not the peer's to open")
        self._last_of_peer = stream
        if len(self._streams) >= self._max_streams:
            self._send(spdy.RstStream(stream, spdy.REFUSED_STREAM))
            return
        opened = self._streams[stream] = _Stream()
        opened.ended_here = frame.unidirectional
        events.append(StreamOpened(stream, frame.headers))
        if frame.fin:
            self._ended(stream, events)

    def _ended(self, stream: int, events: list[Event]) -> None:
        found = self._streams.get(stream)
        if found is not None and not found.ended_there:
            found.ended_there = True
            events.append(StreamEnded(stream))
            self._forget_if_over(stream, found)

    def _forget_if_over(self, stream: int, found: _Stream) -> None:
        if found.ended_here and found.ended_there:
            self._streams.pop(stream, None)
