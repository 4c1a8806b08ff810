"""The CRI client: one gRPC channel to the runtime's socket, every call of the table.

    status = await runtime.call("ContainerStatus", container_id=id)

Errors are `CriError` with the gRPC code's name and the runtime's own words. A call has a deadline (two
minutes, upstream's `--runtime-request-timeout`) unless it says otherwise; the runtime going away fails calls
with code UNAVAILABLE, and the channel connects again by itself.
Follows https://kubernetes.io/docs/concepts/architecture/cri/.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from shirube.kubelet.cri.descriptors import Call, Protocol

REQUEST_TIMEOUT = 120.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),
    # Reconnect fast: the runtime is on this machine and starts in milliseconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


Metadata = tuple[tuple[str, str], ...]


class CriError(Exception):
    """The runtime refused or could not be reached. `code` is a gRPC status code's name."""

    def __init__(self, method: str, code: str, message: str) -> None:
        super().__init__(message)
        self.method = method
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"rpc error: code = {_CODE_WORDS.get(self.code, self.code)} desc = {self.message}"

    @property
    def not_found(self) -> bool:
        return self.code == "NOT_FOUND"

    @property
    def unavailable(self) -> bool:
        return self.code in ("UNAVAILABLE", "CANCELLED")


# Go's names of the codes, which is what people search for.
_CODE_WORDS = {
    "UNKNOWN": "Unknown",
    "NOT_FOUND": "NotFound",
    "DEADLINE_EXCEEDED": "DeadlineExceeded",
    "UNAVAILABLE": "Unavailable",
    "FAILED_PRECONDITION": "FailedPrecondition",
    "INVALID_ARGUMENT": "InvalidArgument",
    "UNIMPLEMENTED": "Unimplemented",
    "ALREADY_EXISTS": "AlreadyExists",
    "RESOURCE_EXHAUSTED": "ResourceExhausted",
    "INTERNAL": "Internal",
    "CANCELLED": "Canceled",
}


class Runtime:
    """A connection to a CRI runtime, or to who speaks another `protocol`. `endpoint` is the path of its unix socket."""

    def __init__(self, endpoint: str, protocol: Protocol | None = None, metadata: Metadata = ()) -> None:
        self.endpoint = endpoint.removeprefix("unix://")
        self.protocol = protocol or Protocol("messages.json")
        self._channel = grpc.aio.insecure_channel(f"unix://{self.endpoint}", options=_OPTIONS)
        self._metadata = metadata  # sent with every call
        self._methods: dict[str, Any] = {}
        self._under_way: dict[object, tuple[str, float]] = {}

    def begun(self, method: str) -> list[float]:
        """When the calls of `method` that are under way were made, in the loop's time."""
        return [at for name, at in self._under_way.values() if name == method]

    async def call(self, method: str, *, deadline: float | None = REQUEST_TIMEOUT, **fields: Any) -> Any:
        """Call `method` with the request's fields; the response message. Raises CriError.

        `deadline` is in seconds, None for none. (Some requests have a field named `timeout`.)
        """
        spec = self.protocol.calls[method]
        send = self._methods.get(method)
        if send is None:
            send = self._methods[method] = self._channel.unary_unary(
                spec.path,
                request_serializer=spec.request.SerializeToString,
                response_deserializer=spec.response.FromString,
            )
        call = object()
        self._under_way[call] = method, asyncio.get_running_loop().time()
        try:
            return await send(spec.request(**fields), timeout=deadline, metadata=self._metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise CriError(method, error.code().name, error.details() or "") from None
        finally:
            del self._under_way[call]

    async def stream(self, spec: Call, request: Any) -> AsyncIterator[Any]:
        """The messages of a server's stream, until it ends. Raises CriError."""
        send = self._channel.unary_stream(
            spec.path,
            request_serializer=spec.request.SerializeToString,
            response_deserializer=spec.response.FromString,
        )
        stream = send(request)
        try:
            async for message in stream:
                yield message
        except grpc.aio.AioRpcError as error:
            raise CriError(spec.path, error.code().name, error.details() or "") from None
        finally:
            stream.cancel()

    async def close(self) -> None:
        await self._channel.close()
        # A cancelled stream ends a moment later, in a task of gRPC's own that nothing gives us a handle of.
        ending = [task for task in asyncio.all_tasks() if "_AioCall" in repr(task)]
        if ending:
            await asyncio.wait(ending, timeout=1)
