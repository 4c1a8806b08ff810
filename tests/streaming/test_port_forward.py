"""The WebSocket tunnel of port-forward."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import port_forward, websocket
from shirube.streaming.port_forward import Tunnel
from shirube.streaming.websocket import Closed, Message, WebSocket


def test_tunnels_are_recognised_among_other_protocols():
    assert port_forward.is_tunnel(["x", "SPDY/3.1+portforward.k8s.io"])
    assert not port_forward.is_tunnel(["v4.channel.k8s.io"])


@given(st.lists(st.binary(max_size=200), max_size=5), st.lists(st.integers(1, 100), max_size=20))
def test_bytes_go_through_whatever_the_messages(pieces, cuts):
    tunnel, client = Tunnel(), WebSocket(client=True)
    for piece in pieces:
        client.send(piece)
    wire, got = client.take(), b""
    for cut in [*cuts, len(wire)]:
        if wire:
            tunnel.from_client(wire[:cut])
            wire = wire[cut:]
            got += tunnel.take_for_runtime()
    assert got == b"".join(pieces)


def test_what_the_runtime_says_is_wrapped_and_its_end_is_a_close():
    tunnel, client = Tunnel(), WebSocket(client=True)
    tunnel.from_runtime(b"frames")
    tunnel.from_runtime(b"")
    assert client.receive(tunnel.take_for_client()) == [Message(b"frames"), Closed(websocket.NORMAL, "")]
    assert tunnel.runtime_done


def test_text_has_no_place_in_a_tunnel():
    tunnel, client = Tunnel(), WebSocket(client=True)
    client.send(b"text", text=True)
    tunnel.from_client(client.take())
    (event,) = client.receive(tunnel.take_for_client())
    assert event.code == websocket.UNSUPPORTED
    assert tunnel.client_done
