"""Channel protocols of exec and attach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import channels
from shirube.streaming.channels import ChannelData, ChannelError


@given(st.sampled_from(list(channels.PROTOCOLS.values())), st.integers(0, 4), st.binary(max_size=50))
def test_what_is_encoded_is_decoded(protocol, channel, data):
    assert protocol.decode(protocol.encode(channel, data)) == ChannelData(channel, data)


@given(st.sampled_from(list(channels.PROTOCOLS.values())), st.binary(max_size=20))
def test_noise_is_refused_or_decoded(protocol, message):
    try:
        protocol.decode(message)
    except ChannelError as error:
        assert str(error)


def test_forms_on_the_wire():
    assert channels.V4.encode(channels.STDOUT, b"hi") == b"\x01hi"
    assert channels.V4_BASE64.encode(channels.STDOUT, b"hi") == b"1aGk="
    assert channels.V5.end(channels.STDIN) == b"\xff\x00"


def test_only_v5_can_end_a_stream():
    with pytest.raises(ChannelError, match=r"v4\.channel\.k8s\.io cannot end a stream"):
        channels.V4.end(channels.STDIN)
