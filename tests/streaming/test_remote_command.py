"""Exec's translation between a WebSocket client and a SPDY runtime, both played by codecs here."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import channels, websocket
from shirube.streaming.remote_command import RemoteCommand
from shirube.streaming.spdy_session import Session, StreamData, StreamEnded, StreamOpened
from shirube.streaming.websocket import Closed, Message, WebSocket


class Play:
    """A translation with a client and a runtime on its two sides."""

    def __init__(self, protocol=channels.V5, stdin=True, stdout=True, stderr=True, tty=False):
        self.protocol = protocol
        self.translation = RemoteCommand(protocol, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        self.client = WebSocket(client=True)
        self.runtime = Session(server=True)
        self.streams = {}  # name -> id
        self.heard = []  # by the runtime: (name, data | None)
        self.told = []  # to the client: (channel, data) | Closed
        self.exchange()

    def exchange(self):
        translation = self.translation
        while True:
            to_runtime, to_client = translation.take_for_runtime(), translation.take_for_client()
            from_runtime, from_client = self.runtime.take(), self.client.take()
            if not (to_runtime or to_client or from_runtime or from_client):
                return
            for event in self.runtime.receive(to_runtime):
                self.runtime_event(event)
            for event in self.client.receive(to_client):
                match event:
                    case Message(data, _):
                        self.told.append(tuple(self.protocol.decode(data)))
                    case Closed():
                        self.told.append(event)
            if from_runtime:
                translation.from_runtime(from_runtime)
            if from_client:
                translation.from_client(from_client)

    def runtime_event(self, event):
        match event:
            case StreamOpened(stream, headers):
                self.streams[dict(headers)["streamtype"]] = stream
                self.runtime.reply(stream)
            case StreamData(stream, data):
                self.heard.append((self.name(stream), data))
            case StreamEnded(stream):
                self.heard.append((self.name(stream), None))

    def name(self, stream):
        return next(name for name, found in self.streams.items() if found == stream)

    def say(self, channel, data):
        self.client.send(self.protocol.encode(channel, data), text=self.protocol.base64)
        self.exchange()

    def run(self, name, data, fin=False):
        self.runtime.send(self.streams[name], data, fin=fin)
        self.exchange()


def test_streams_are_opened_as_asked_for():
    assert list(Play().streams) == ["error", "stdin", "stdout", "stderr"]
    assert list(Play(tty=True).streams) == ["error", "stdin", "stdout", "resize"]
    assert list(Play(stdin=False, stderr=False).streams) == ["error", "stdout"]


def test_the_client_is_neither_read_nor_told_anything_before_the_runtime_is_ready():
    translation = RemoteCommand(channels.V5, stdin=True, stdout=True, stderr=False, tty=False)
    assert not translation.accepts_client
    runtime = Session(server=True)
    for event in runtime.receive(translation.take_for_runtime()):
        assert translation.take_for_client() == b""
        runtime.reply(event.stream)
        translation.from_runtime(runtime.take())
    assert translation.accepts_client
    assert translation.take_for_client()


def test_the_first_message_says_that_the_session_stands():
    assert Play().told == [(channels.STDOUT, b"")]


@pytest.mark.parametrize("protocol", [channels.V5, channels.V4, channels.V4_BASE64])
def test_data_goes_both_ways_and_the_outcome_comes_last(protocol):
    play = Play(protocol)
    play.say(channels.STDIN, b"in")
    assert play.heard == [("stdin", b"in")]
    play.run("stderr", b"err", fin=True)
    play.run("error", b'{"status":"Failure"}', fin=True)
    assert (channels.ERROR, b'{"status":"Failure"}') not in play.told
    play.run("stdout", b"out", fin=True)
    assert play.told[1:] == [
        (channels.STDERR, b"err"),
        (channels.STDOUT, b"out"),
        (channels.ERROR, b'{"status":"Failure"}'),
        Closed(websocket.NORMAL, ""),
    ]
    assert play.translation.client_done
    assert play.translation.runtime_done


def test_the_client_ends_stdin_and_goes_on_listening():
    play = Play()
    play.say(channels.STDIN, b"last words")
    play.client.send(channels.V5.end(channels.STDIN))
    play.exchange()
    play.say(channels.STDIN, b"too late")
    assert play.heard == [("stdin", b"last words"), ("stdin", None)]
    play.run("stdout", b"answer")
    assert play.told[-1] == (channels.STDOUT, b"answer")


def test_v4_cannot_end_stdin():
    play = Play(channels.V4)
    play.client.send(b"\xff\x00")
    play.exchange()
    assert play.heard == []


def test_sizes_of_the_terminal_go_to_the_resize_stream():
    play = Play(tty=True)
    play.say(channels.RESIZE, b'{"Width":80,"Height":24}')
    assert play.heard == [("resize", b'{"Width":80,"Height":24}')]


def test_an_outcome_that_was_left_out_is_success():
    play = Play(stdin=False, stderr=False)
    play.run("stdout", b"", fin=True)
    play.runtime.reset(play.streams["error"])
    play.exchange()
    assert json.loads(play.told[-2][1])["status"] == "Success"


def test_a_runtime_that_vanishes_is_not_taken_for_success():
    play = Play()
    play.translation.from_runtime(b"")
    play.exchange()
    status = json.loads(play.told[-2][1])
    assert status["status"] == "Failure"
    assert "before the command's outcome was known" in status["message"]
    assert isinstance(play.told[-1], Closed)


def test_a_runtime_that_speaks_nonsense_is_told_of():
    play = Play()
    play.translation.from_runtime(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)
    play.translation.from_runtime(b"")
    play.exchange()
    assert json.loads(play.told[-2][1])["status"] == "Failure"


def test_a_client_that_breaks_the_protocol_is_closed():
    translation = RemoteCommand(channels.V5, stdin=True, stdout=True, stderr=False, tty=False)
    translation.take_for_client()
    translation.from_client(websocket.encode_frame(websocket.BINARY, b"unmasked"))
    (event,) = WebSocket(client=True).receive(translation.take_for_client())
    assert event.code == websocket.PROTOCOL_ERROR
    assert translation.client_done


@given(st.lists(st.binary(max_size=60), max_size=6), st.lists(st.binary(max_size=60), max_size=6))
def test_noise_from_either_side_never_crashes(from_client, from_runtime):
    translation = RemoteCommand(channels.V5, stdin=True, stdout=True, stderr=True, tty=True)
    for data in from_runtime:
        translation.from_runtime(data)
    for data in from_client:
        if not translation.client_done:
            translation.from_client(data)
