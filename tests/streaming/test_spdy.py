"""SPDY framing: round trips, splits, bounds, bad input."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.streaming import spdy
from shirube.streaming.spdy import SpdyError
from shirube.streaming.spdy_dictionary import ADLER, DICTIONARY

ids = st.integers(1, 2**31 - 1)
words = st.integers(0, 2**32 - 1)
names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
headers = st.dictionaries(names, values, max_size=5).map(lambda d: tuple(d.items()))
frames = st.one_of(
    st.builds(spdy.SynStream, ids, headers, st.booleans(), st.booleans(), st.integers(0, 2**31 - 1), st.integers(0, 7)),
    st.builds(spdy.SynReply, ids, headers, st.booleans()),
    st.builds(spdy.MoreHeaders, ids, headers, st.booleans()),
    st.builds(spdy.RstStream, ids, words),
    st.builds(
        spdy.Settings,
        st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 255), words), max_size=4).map(tuple),
    ),
    st.builds(spdy.Ping, words),
    st.builds(spdy.GoAway, st.integers(0, 2**31 - 1), words),
    st.builds(spdy.WindowUpdate, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
    st.builds(spdy.Data, ids, st.binary(min_size=1, max_size=200), st.booleans()),
)


def joined(found):
    """Frames with neighbouring pieces of one data frame put together."""
    out = []
    for frame in found:
        last = out[-1] if out else None
        if isinstance(frame, spdy.Data) and isinstance(last, spdy.Data) and frame.stream == last.stream:
            out[-1] = spdy.Data(frame.stream, last.data + frame.data, last.fin or frame.fin)
        else:
            out.append(frame)
    return out


def test_dictionary_is_the_one_that_peers_have():
    assert zlib.adler32(DICTIONARY) == ADLER


@given(st.lists(frames, max_size=6), st.lists(st.integers(1, 60), max_size=30))
def test_frames_survive_the_wire_in_any_splits(sent, cuts):
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    wire = b"".join(encoder.encode(frame) for frame in sent)
    got = []
    for cut in cuts:
        got += decoder.feed(wire[:cut])
        wire = wire[cut:]
    got += decoder.feed(wire)
    assert joined(got) == joined(sent)


@given(st.binary(max_size=400))
def test_noise_is_refused_or_ignored(noise):
    decoder = spdy.Decoder()
    try:
        decoder.feed(noise)
    except SpdyError as error:
        assert str(error)


@given(st.lists(frames, min_size=1, max_size=3), st.data())
def test_damage_is_refused_or_ignored(sent, data):
    encoder = spdy.Encoder()
    wire = bytearray(b"".join(encoder.encode(frame) for frame in sent))
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= data.draw(st.integers(1, 255))
    try:
        spdy.Decoder().feed(bytes(wire))
    except SpdyError as error:
        assert str(error)


def test_large_data_is_cut_and_only_the_last_frame_ends_the_stream():
    data = bytes(200_000)
    got = spdy.Decoder().feed(spdy.Encoder().encode(spdy.Data(3, data, True)))
    assert b"".join(frame.data for frame in got) == data
    assert [frame.fin for frame in got] == [False, False, False, True]


def test_a_data_frame_is_handed_on_as_it_comes():
    decoder = spdy.Decoder()
    head = struct.pack(">II", 5, 1 << 24 | 10_000_000)
    assert decoder.feed(head + b"abc") == [spdy.Data(5, b"abc", False)]
    assert decoder.feed(b"def") == [spdy.Data(5, b"def", False)]


def test_values_of_one_header_are_kept_apart():
    sent = spdy.SynStream(1, (("a", "1"), ("a", "2"), ("B", "3")))
    (got,) = spdy.Decoder().feed(spdy.Encoder().encode(sent))
    assert got.headers == (("a", "1"), ("a", "2"), ("b", "3"))


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (struct.pack(">HHI", 0x8002, 6, 4) + bytes(4), "version 2"),
        (struct.pack(">HHI", 0x8003, 6, 2) + bytes(2), "too short"),
        (struct.pack(">HHI", 0x8003, 6, 1 << 20), "larger than"),
        (struct.pack(">HHI", 0x8003, 4, 4) + struct.pack(">I", 9), "cannot hold 9 settings"),
        (struct.pack(">II", 0, 0), "stream 0"),
        (struct.pack(">HHI", 0x8003, 3, 8) + struct.pack(">II", 0, 1), "stream 0"),
        (struct.pack(">HHI", 0x8003, 2, 8) + struct.pack(">II", 1, 0xFFFFFFFF), "cannot inflate"),
    ],
)
def test_malformed_frames_are_refused_with_a_reason(wire, why):
    with pytest.raises(SpdyError, match=why):
        spdy.Decoder().feed(wire)


def test_headers_that_inflate_without_end_are_refused():
    bomb = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
    block = bomb.compress(bytes(20_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    payload = struct.pack(">I", 1) + block
    with pytest.raises(SpdyError, match="headers are larger"):
        spdy.Decoder().feed(struct.pack(">HHI", 0x8003, 2, len(payload)) + payload)


def test_unknown_control_frames_are_passed_over():
    assert spdy.Decoder().feed(struct.pack(">HHI", 0x8003, 99, 3) + b"abc") == []
