"""The calls to etcd v3 that the store makes: one gRPC channel, messages from a table, errors as the store's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import grpc.aio

from shirube.foundation.grpc_messages import Protocol
from shirube.storage.types import StorageError, StorageUnavailable

_DEADLINE = 10.0
_AGAIN_SECONDS = 0.05
_OPTIONS = (
    # A page of a few hundred objects of 1.5 MB each: the asker bounds it, not the wire.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A member that vanishes without a word is noticed in ten seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
_UNAVAILABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


class RevisionCompacted(Exception):
    """etcd's `mvcc: required revision has been compacted`; it does not say up to where."""


class NoSpace(StorageError):
    """etcd has reached its quota and accepts nothing but what makes room."""


class RevisionInFuture(Exception):
    """etcd's `mvcc: required revision is a future revision`."""


class _Member:
    """One member of the etcd: a channel, its calls. It connects when it is first used."""

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, protocol: Protocol) -> None:
        self.channel = (
            grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
            if credentials is not None
            else grpc.aio.insecure_channel(target, options=_OPTIONS)
        )
        self.calls: dict[str, Any] = {}
        for name, call in protocol.calls.items():
            kind = self.channel.stream_stream if call.streaming else self.channel.unary_unary
            self.calls[name] = kind(
                call.path,
                request_serializer=call.request.SerializeToString,
                response_deserializer=call.response.FromString,
            )


class EtcdClient:
    """`url`: `etcd://HOST:PORT[,HOST:PORT…]`, or `etcds://…?ca=FILE&cert=FILE&key=FILE` for TLS.

    One member is used at a time, each under its own name (which its certificate must carry); when it fails, the next.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        credentials = _credentials(parts.query) if parts.scheme == "etcds" else None
        self._protocol = Protocol("shirube.storage", "etcd_messages.json")
        targets = [target for target in parts.netloc.split(",") if target]
        self._members = [_Member(target, credentials, self._protocol) for target in targets]
        self._at = 0

    def _leave(self, member: _Member) -> None:
        """The next one, unless somebody has turned away from this one already."""
        if self._members[self._at] is member:
            self._at = (self._at + 1) % len(self._members)

    async def call(self, method: str, *, writes: bool = False, within: float = 0, **fields: Any) -> Any:
        """One request, one response. A read that finds no answer is asked again, of the next member, while its time
        lasts; a write is sent once. Raises StorageError, StorageUnavailable, RevisionCompacted, RevisionInFuture."""
        request = self._protocol.calls[method].request(**fields)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (within or _DEADLINE)
        unsent = len(self._members) - 1  # members that a write may be brought to when one before was not there
        while True:
            member = self._members[self._at]
            try:
                return await member.calls[method](request, timeout=deadline - loop.time())
            except grpc.aio.AioRpcError as error:
                if error.code().name in _UNAVAILABLE:
                    self._leave(member)
                again = error.code() is grpc.StatusCode.UNAVAILABLE
                if writes:
                    again = again and unsent > 0 and not _was_sent(error)
                    unsent -= 1
                if not again or loop.time() + _AGAIN_SECONDS >= deadline:
                    raise _translated(method, error, writes) from None
            await asyncio.sleep(_AGAIN_SECONDS)

    async def watch(self, **create: Any) -> AsyncIterator[Any]:
        """The responses of one watch until it is cancelled or the connection breaks (StorageUnavailable)."""
        member = self._members[self._at]
        # A member that has lost the others would be silent for ever: it is to end the stream.
        stream = member.calls["Watch"](metadata=(("hasleader", "true"),))
        try:
            await stream.write(self._protocol["WatchRequest"](create_request=create))
            while (response := await stream.read()) is not grpc.aio.EOF:
                yield response
        except grpc.aio.AioRpcError as error:
            if error.code().name in _UNAVAILABLE:
                self._leave(member)
            raise _translated("Watch", error, writes=False) from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        for member in self._members:
            await member.channel.close()


def _was_sent(error: grpc.aio.AioRpcError) -> bool:
    """Whether the request may have reached a member."""
    return "failed to connect to all addresses" not in (error.details() or "")


def _credentials(query: str) -> grpc.ChannelCredentials:
    files = {name: Path(values[-1]) for name, values in parse_qs(query).items()}
    if unknown := sorted(files.keys() - {"ca", "cert", "key"}):
        raise StorageError(f"cannot use the store's URL: {unknown[0]!r} is none of ca, cert and key")
    if ("cert" in files) != ("key" in files):  # gRPC ends the process
        raise StorageError("cannot use the store's URL: cert and key belong together; give both or none")
    try:
        content = {name: path.read_bytes() for name, path in files.items()}
    except OSError as error:
        raise StorageError(f"cannot read a certificate of the store's URL: {error}") from error
    for name, text in content.items():
        if b"-----BEGIN " not in text:
            raise StorageError(f"cannot use {files[name]} of the store's URL: it is no PEM file")
    return grpc.ssl_channel_credentials(content.get("ca"), content.get("key"), content.get("cert"))


def _translated(method: str, error: grpc.aio.AioRpcError, writes: bool) -> Exception:
    said = error.details() or ""
    if re.search(r"has been compacted", said):
        return RevisionCompacted(said)
    if re.search(r"is a future revision", said):
        return RevisionInFuture(said)
    if "database space exceeded" in said:
        return NoSpace(
            "cannot write to etcd: it has reached its quota (--quota-backend-bytes); old history is being forgotten to "
            "make room; if it stays full, delete objects or raise the quota, nothing that was acknowledged is lost"
        )
    unknown = "; whether it was written is unknown" if writes and _was_sent(error) else ""
    if error.code().name in _UNAVAILABLE:
        return StorageUnavailable(f"cannot reach etcd for {method}: {said}{unknown}")
    return StorageError(f"etcd refused {method}: {said}{unknown if 'timed out' in said else ''}")
