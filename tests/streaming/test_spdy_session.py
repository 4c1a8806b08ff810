"""SPDY sessions: two ends that talk to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import spdy
from shirube.streaming.spdy import SpdyError
from shirube.streaming.spdy_session import (
    GoneAway,
    Session,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamReplied,
    StreamReset,
)


def pair():
    return Session(server=False), Session(server=True)


def test_a_stream_opens_half_closes_and_is_forgotten():
    client, server = pair()
    stream = client.open((("streamtype", "stdin"),))
    assert server.receive(client.take()) == [StreamOpened(1, (("streamtype", "stdin"),))]
    server.reply(1)
    assert client.receive(server.take()) == [StreamReplied(1, ())]
    client.send(stream, b"hello", fin=True)
    assert server.receive(client.take()) == [StreamData(1, b"hello"), StreamEnded(1)]
    client.send(stream, b"late")
    assert client.take() == b""
    server.send(1, b"bye", fin=True)
    assert client.receive(server.take()) == [StreamData(1, b"bye"), StreamEnded(1)]
    assert len(client) == len(server) == 0


def test_ids_are_odd_for_clients_even_for_servers():
    client, server = pair()
    assert [client.open(()) for _ in range(3)] == [1, 3, 5]
    assert [server.open(()) for _ in range(2)] == [2, 4]


def test_reset_goes_both_ways_and_what_comes_after_is_dropped():
    client, server = pair()
    stream = client.open(())
    server.receive(client.take())
    client.send(stream, b"x")
    late = client.take()
    server.reset(stream)
    assert client.receive(server.take()) == [StreamReset(1, spdy.CANCEL)]
    assert server.receive(late) == []


def test_pings_are_answered_once():
    client, server = pair()
    client.ping(1)
    assert server.receive(client.take()) == []
    assert client.receive(server.take()) == []
    assert client.take() == b""


def test_streams_beyond_the_bound_are_refused():
    client, server = Session(server=False), Session(server=True, max_streams=2)
    for _ in range(3):
        client.open(())
    assert len(server.receive(client.take())) == 2
    assert client.receive(server.take()) == [StreamReset(5, spdy.REFUSED_STREAM)]


def test_going_away_is_told():
    client, server = pair()
    client.open(())
    server.receive(client.take())
    server.go_away()
    assert client.receive(server.take()) == [GoneAway(1)]


@pytest.mark.parametrize("stream", [2, 0x7FFFFFFE])
def test_streams_of_the_wrong_side_end_the_session(stream):
    encoder = spdy.Encoder()
    with pytest.raises(SpdyError, match="not the peer's to open"):
        Session(server=True).receive(encoder.encode(spdy.SynStream(stream, ())))


@given(st.binary(max_size=300))
def test_noise_never_crashes_a_session(noise):
    for server in (False, True):
        try:
            Session(server=server).receive(noise)
        except SpdyError as error:
            assert str(error)
