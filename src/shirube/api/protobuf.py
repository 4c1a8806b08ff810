"""The Kubernetes protobuf encoding: `application/vnd.kubernetes.protobuf`, what Go clients speak by default.

An object is `k8s\\0` followed by a `runtime.Unknown`: its apiVersion and kind, and the message of its kind as raw
bytes. One generic codec, driven by tables of field numbers (`protobuf_tables`), serves every built-in kind; custom
resources and tables have no messages, and are refused with 406 or 415 as upstream does.

A watch (`;stream=watch`) is a sequence of frames, a four-byte big-endian length and a bare `WatchEvent`, whose
object is enveloped. https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

from typing import Any

import orjson

from shirube.api import errors
from shirube.api.protobuf_decode import MAGIC, decoder
from shirube.api.protobuf_encode import encoder
from shirube.api.protobuf_forms import Malformed, delimited, entries, varint
from shirube.api.protobuf_tables import message_of

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
STREAM_MEDIA_TYPE = "application/vnd.kubernetes.protobuf;stream=watch"

Json = dict[str, Any]

_OTHER_MEDIA_TYPES = ("application/json", "application/yaml")
_BROKEN = (ValueError, IndexError, OverflowError, RecursionError)  # what malformed bytes lead to


def knows(api_version: str, kind: str) -> bool:
    """Whether objects of this kind can be encoded."""
    return message_of(api_version, kind) is not None


def encode(obj: Json) -> bytes:
    """The enveloped object. Raises ApiError 406 for kinds without a message, 500 for values of wrong types."""
    return envelope(obj.get("apiVersion", ""), obj.get("kind", ""), encode_body(obj))


def encode_body(obj: Json) -> bytes:
    """The message alone, without the envelope: an item of a list. Raises as `encode`."""
    api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    message = message_of(api_version, kind)
    if message is None:
        raise errors.not_acceptable(_OTHER_MEDIA_TYPES)
    try:
        return encoder(message).body(obj)
    except (TypeError, ValueError, AttributeError, orjson.JSONEncodeError) as error:
        raise errors.internal_error(f"cannot encode {kind} as protobuf: {error}") from error


def envelope(api_version: str, kind: str, body: bytes) -> bytes:
    return b"".join((_opening(api_version, kind, len(body)), body, _UNKNOWN_END))


def _opening(api_version: str, kind: str, size: int) -> bytes:
    meta = delimited(1, api_version.encode()) + delimited(2, kind.encode())
    return b"".join((MAGIC, delimited(1, meta), b"\x12", varint(size)))


# contentEncoding and contentType, empty, as Go writes them.
_UNKNOWN_END = b"\x1a\x00\x22\x00"
LIST_END = _UNKNOWN_END


def open_list(api_version: str, kind: str, metadata: Json, size: int) -> bytes:
    """What comes before the items of a list, so that a long one is never one buffer: then for each item its `list_item`
    and its body (`encode_body`, or `body_of` an enveloped item), at last LIST_END. `kind` is the list's, `size` that of
    all items with their `list_item`. Raises as `encode`."""
    if message_of(api_version, kind) is None:
        raise errors.not_acceptable(_OTHER_MEDIA_TYPES)
    head = delimited(1, encoder("meta.v1.ListMeta").body(metadata))
    return _opening(api_version, kind, len(head) + size) + head


def list_item(body: bytes) -> bytes:
    """What comes before the body of each item of a list."""
    return b"\x12" + varint(len(body))


def decode(data: bytes, default: tuple[str, str] | None = None) -> Json:
    """The object in enveloped bytes; `default` is the (apiVersion, kind) of one that does not tell its own.

    Raises ApiError 400 for malformed bytes, 415 for kinds without a message.
    """
    try:
        api_version, kind, message, body = open_envelope(data, default)
        obj: Json = {"apiVersion": api_version, "kind": kind}
        decoder(message).into(obj, body, 0, len(body), 0)
    except _BROKEN as error:
        raise errors.bad_request(f"cannot decode protobuf: {_why(error)}") from error
    return obj


def open_envelope(data: bytes, default: tuple[str, str] | None = None) -> tuple[str, str, str, bytes]:
    """(apiVersion, kind, message name, body). Raises ApiError 415, Malformed and other ValueErrors."""
    api_version, kind, body = _unknown(data)
    if default is not None:
        api_version, kind = api_version or default[0], kind or default[1]
    message = message_of(api_version, kind)
    if message is None:
        raise errors.unsupported_media_type(_OTHER_MEDIA_TYPES)
    return api_version, kind, message, body


def body_of(data: bytes) -> bytes:
    """The message within enveloped bytes that we encoded."""
    return _unknown(data)[2]


def _unknown(data: bytes) -> tuple[str, str, bytes]:
    if not data.startswith(MAGIC):
        raise Malformed("the data does not begin with the prefix of Kubernetes objects")
    api_version = kind = body = b""
    for number, value in entries(data[len(MAGIC) :]):
        if not isinstance(value, bytes):
            continue
        if number == 1:
            for part, text in entries(value):
                if isinstance(text, bytes):
                    api_version = text if part == 1 else api_version
                    kind = text if part == 2 else kind
        elif number == 2:
            body = value
        elif number == 3 and value:
            raise Malformed(f"content encoding {value!r} is not supported")
    return api_version.decode(), kind.decode(), body


def _why(error: Exception) -> str:
    if isinstance(error, (IndexError, RecursionError)):
        return "the message is truncated" if isinstance(error, IndexError) else "messages are nested too deep"
    return str(error)


def encode_watch_event(type: str, obj: Json | bytes) -> bytes:
    """One event of a watch, not yet framed; `obj` is an object, or what `encode` made of it. Raises as `encode`."""
    enveloped = obj if isinstance(obj, bytes) else encode(obj)
    return delimited(1, type.encode()) + delimited(2, delimited(1, enveloped))


def frame(message: bytes) -> bytes:
    """A message of a stream: its length in four bytes, big-endian, before it."""
    return len(message).to_bytes(4, "big") + message


def decode_watch_event(message: bytes) -> tuple[str, Json]:
    """(type, object) of one event without its length. Raises ApiError as `decode`."""
    type, enveloped = b"", b""
    try:
        for number, value in entries(message):
            if number == 1 and isinstance(value, bytes):
                type = value
            elif number == 2 and isinstance(value, bytes):
                enveloped = next((v for n, v in entries(value) if n == 1 and isinstance(v, bytes)), b"")
        name = type.decode()
    except _BROKEN as error:
        raise errors.bad_request(f"cannot decode watch event: {_why(error)}") from error
    return name, decode(enveloped)
