"""WebSocket: handshake, framing in any splits, fragments, limits, closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import websocket as ws
from shirube.streaming.websocket import Closed, HandshakeError, Message, Pinged, Ponged, WebSocket, WebSocketError


def masked(opcode, payload, fin=True):
    return ws.encode_frame(opcode, payload, fin=fin, key=b"\x01\x02\x03\x04")


# -- handshake


def test_accept_key_of_the_rfc():
    assert ws.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_handshake_answers_with_the_chosen_protocol():
    request = ws.request_headers(["v5.channel.k8s.io", "v4.channel.k8s.io"], "dGhlIHNhbXBsZSBub25jZQ==")
    offered = ws.offered_protocols(request)
    chosen = ws.choose_protocol(offered, ["v4.channel.k8s.io"])
    assert chosen == "v4.channel.k8s.io"
    answer = dict(ws.accept_headers(request, chosen))
    assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer["Sec-WebSocket-Protocol"] == "v4.channel.k8s.io"


def test_no_protocol_in_common_is_none():
    assert ws.choose_protocol(["x"], ["y"]) is None


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Upgrade", "spdy/3.1", "not a WebSocket request"),
        ("Sec-WebSocket-Version", "8", "version must be 13"),
        ("Sec-WebSocket-Key", "short", "not 16 bytes"),
        ("Sec-WebSocket-Key", "!!!", "not 16 bytes"),
    ],
)
def test_bad_handshakes_are_refused(name, value, why):
    request = [(key, value if key == name else old) for key, old in ws.request_headers([])]
    with pytest.raises(HandshakeError, match=why):
        ws.accept_headers(request, None)


# -- frames

sizes = st.one_of(st.integers(0, 130), st.sampled_from([65535, 65536, 70000]))


@given(
    st.lists(st.tuples(sizes, st.booleans()), max_size=4), st.lists(st.integers(1, 5000), max_size=20), st.booleans()
)
def test_messages_survive_the_wire_in_any_splits(messages, cuts, from_client):
    sender, receiver = WebSocket(client=from_client), WebSocket(client=not from_client)
    sent = [Message(b"a" * size, text) for size, text in messages]
    for message in sent:
        sender.send(message.data, text=message.text)
    wire = sender.take()
    got = []
    for cut in cuts:
        got += receiver.receive(wire[:cut])
        wire = wire[cut:]
    got += receiver.receive(wire)
    assert got == sent


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(data, key):
    assert ws.mask(ws.mask(data, key), key) == data
    assert ws.mask(data, key) == bytes(byte ^ key[i % 4] for i, byte in enumerate(data))


@given(st.binary(max_size=200))
def test_noise_never_crashes(noise):
    for client in (False, True):
        try:
            WebSocket(client=client).receive(noise)
        except WebSocketError as error:
            assert str(error)
            assert error.code >= 1000


def test_fragments_are_joined_around_a_ping():
    server = WebSocket()
    wire = masked(ws.BINARY, b"one", fin=False) + masked(ws.PING, b"p") + masked(ws.CONTINUATION, b"two")
    assert server.receive(wire) == [Pinged(b"p"), Message(b"onetwo")]
    assert server.take() == ws.encode_frame(ws.PONG, b"p")


def test_pong_is_an_event():
    assert WebSocket().receive(masked(ws.PONG, b"x")) == [Ponged(b"x")]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (ws.encode_frame(ws.BINARY, b"x"), ws.PROTOCOL_ERROR),  # a client's frames are masked
        (masked(0x3, b""), ws.PROTOCOL_ERROR),
        (b"\xf2\x80", ws.PROTOCOL_ERROR),
        (masked(ws.CONTINUATION, b"x"), ws.PROTOCOL_ERROR),
        (masked(ws.BINARY, b"x", fin=False) + masked(ws.BINARY, b"y"), ws.PROTOCOL_ERROR),
        (masked(ws.PING, b"x", fin=False), ws.PROTOCOL_ERROR),
        (masked(ws.PING, b"x" * 126), ws.PROTOCOL_ERROR),
        (masked(ws.CLOSE, b"x"), ws.PROTOCOL_ERROR),
        (masked(ws.CLOSE, b"\x03\xed"), ws.PROTOCOL_ERROR),  # 1005 is never sent
        (masked(ws.TEXT, b"\xff"), ws.INVALID_DATA),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", ws.TOO_BIG),
    ],
)
def test_what_breaks_the_protocol_has_a_close_code(wire, code):
    with pytest.raises(WebSocketError) as caught:
        WebSocket().receive(wire)
    assert caught.value.code == code


def test_a_message_in_fragments_is_bounded_as_a_whole():
    server = WebSocket(max_message=10)
    server.receive(masked(ws.BINARY, b"123456", fin=False))
    with pytest.raises(WebSocketError, match="larger than 10 bytes"):
        server.receive(masked(ws.CONTINUATION, b"78901"))


def test_empty_fragments_do_not_go_on_for_ever():
    server = WebSocket(max_message=10)
    with pytest.raises(WebSocketError):
        server.receive(masked(ws.BINARY, b"", fin=False) + masked(ws.CONTINUATION, b"", fin=False) * 11)


def test_a_close_is_answered_with_its_code_and_ends_everything():
    client, server = WebSocket(client=True), WebSocket()
    client.close(ws.GOING_AWAY, "bye")
    assert server.receive(client.take() + b"rest") == [Closed(ws.GOING_AWAY, "bye")]
    server.send(b"late")
    assert client.receive(server.take()) == [Closed(ws.GOING_AWAY, "")]
    assert client.take() == b""
    assert server.receive(b"more") == []


def test_a_close_without_code():
    server = WebSocket()
    assert server.receive(masked(ws.CLOSE, b"")) == [Closed(ws.NO_STATUS, "")]
    assert server.take() == ws.encode_frame(ws.CLOSE, b"")
