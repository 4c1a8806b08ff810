"""The REST client: verbs of the API over a transport, objects in, objects out.

    client = Client.from_kubeconfig(path, "kube-scheduler")
    pod = await client.get(PODS, "web", "default")

Every failure is an `ApiError`: what the server answered as a `Status`, or `Unreachable` when no answer came.
Answers 429 and 5xx that carry `Retry-After` are tried again as client-go does, at most ten times; nothing
else is retried here, callers are level-triggered and come back. There is no client-side rate limit: the
server's is fair.

A `Transport` moves bytes: `HttpTransport` below (aiohttp, one connection pool), or one that calls an API
server in this process (simulation, tests). JSON is read and written with orjson; a watch is a stream of JSON
lines.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from shirube import KUBERNETES_VERSION
from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.client.config import KubeConfig, TokenFile

Object = dict[str, Any]
Events = list[dict[str, Any]]
Params = Mapping[str, Any] | None
Headers = Mapping[str, str] | None

PATCH_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_RETRIES = 10
_REQUEST_SECONDS = 60.0
_SOCKET_OPTIONS = (
    (socket.TCP_USER_TIMEOUT, 15_000),  # ms that what was sent may stay without an answer of the other kernel
    (socket.TCP_KEEPIDLE, 20),  # s until an idle connection is asked
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
)
_WATCH_GRACE_SECONDS = 30.0


class Unreachable(ApiError):
    """No answer: the connection was refused, broken, or timed out."""


def unreachable(what: str) -> ApiError:
    return Unreachable(503, "ServiceUnavailable", f"cannot reach the API server: {what}")


class Answer(Protocol):
    """A response whose body has not been read. `close` frees the connection, and ends who reads from it with an
    ApiError; reading to the end frees it, too.
    """

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes: ...

    def chunks(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """Moves one request and its response. Raises ApiError (`unreachable`) when no answer comes."""

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer: ...

    async def close(self) -> None: ...


class _HttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        try:
            return await self._response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(str(error) or type(error).__name__) from error

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(str(error) or type(error).__name__) from error
        finally:
            self._response.close()

    def close(self) -> None:
        self._response.close()


def _socket(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """A connection whose other end is found to be gone within half a minute, as where a link was cut.

    The kernel by itself tries on for a quarter of an hour, less and less often: requests and watches would hang for
    minutes after the link is mended.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _SOCKET_OPTIONS:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


class HttpTransport:
    """HTTP/1.1 with kept connections. The session is made on first use, inside the running loop."""

    def __init__(self, server: str, tls: ssl.SSLContext | None, server_name: str = "") -> None:
        self._server = server
        self._tls = tls
        self._server_name = server_name or None
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = self._tls or False
            connector = aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=75, socket_factory=_socket)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                read_bufsize=2**18,
                trust_env=False,
            )
        return self._session

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> _HttpAnswer:
        url = URL(self._server + target, encoded=True)
        try:
            response = await self._open().request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                server_hostname=self._server_name,
            )
        except (aiohttp.ClientError, OSError) as error:
            raise unreachable(f"{self._server}: {str(error) or type(error).__name__}") from error
        return _HttpAnswer(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class Bearer(Protocol):
    """Where a token comes from that has to be asked for."""

    async def token(self) -> str: ...

    def reject(self, token: str) -> None:
        """The server did not take it: the next `token` must be another one."""
        ...


def _parameter(name: str) -> str:
    """`label_selector` and `labelSelector` both mean `labelSelector`; `continue_` is `continue`."""
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in rest)


def query(params: Mapping[str, Any] | None) -> str:
    """Parameters as a query string; None and "" are left out, booleans are lower-case."""
    pairs = []
    for name, value in (params or {}).items():
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            value = "true" if value else "false"
        for one in value if isinstance(value, (list, tuple)) else (value,):
            pairs.append((_parameter(name), str(one)))
    return urlencode(pairs)


class Client:
    """One identity's view of the API. Safe to share between tasks."""

    def __init__(
        self,
        transport: Transport,
        user_agent: str,
        *,
        bearer: Bearer | None = None,
        authorization: Callable[[], str] | None = None,
        config: KubeConfig | None = None,
    ) -> None:
        """`bearer` gives a token when one is needed; `authorization` the whole header at once."""
        self._transport = transport
        self.user_agent = user_agent if "/" in user_agent else f"{user_agent}/{KUBERNETES_VERSION}"
        self._bearer = bearer
        self._authorization = authorization
        self.config = config

    @classmethod
    def from_kubeconfig(cls, path: Any, user_agent: str) -> Client:
        return cls.from_config(KubeConfig.load(path), user_agent)

    @classmethod
    def from_config(cls, config: KubeConfig, user_agent: str) -> Client:
        transport = HttpTransport(config.server, config.tls, config.tls_server_name)
        return cls(transport, user_agent, authorization=_authorization(config), config=config)

    def acting_as(self, bearer: Bearer, user_agent: str, transport: Transport | None = None) -> Client:
        """Another identity on this (or the given) transport, by token."""
        return Client(transport or self._transport, user_agent, bearer=bearer, config=self.config)

    async def close(self) -> None:
        await self._transport.close()

    # -- verbs ---------------------------------------------------------------------------------------------

    async def get(
        self,
        gvr: GVR,
        name: str,
        namespace: str | None = None,
        subresource: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        return await self._json("GET", gvr.path(namespace, name, subresource), params)

    async def list(
        self, gvr: GVR, namespace: str | None = None, *, metadata_only: bool = False, **params: Any
    ) -> Object:
        """The whole list, or a page of `limit`. Options in either spelling (`label_selector=`)."""
        accept = METADATA_ONLY_LIST if metadata_only else None
        return await self._json("GET", gvr.path(namespace), params, accept=accept)

    async def create(
        self,
        gvr: GVR,
        obj: Object,
        namespace: str | None = None,
        subresource: str | None = None,
        name: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        """POST to the collection (namespace from the object if not given), or to `name`'s subresource."""
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        return await self._json("POST", gvr.path(namespace, name, subresource), params, orjson.dumps(obj))

    async def update(
        self,
        gvr: GVR,
        obj: Object,
        subresource: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        metadata = obj["metadata"]
        path = gvr.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._json("PUT", path, params, orjson.dumps(obj))

    async def update_status(self, gvr: GVR, obj: Object) -> Object:
        return await self.update(gvr, obj, "status")

    async def patch(
        self,
        gvr: GVR,
        name: str,
        patch: Any,
        namespace: str | None = None,
        type: str = "merge",
        subresource: str | None = None,
        field_manager: str | None = None,
        force: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        """`type`: merge, strategic, json or apply (which needs `field_manager`)."""
        options = {**(params or {}), "fieldManager": field_manager}
        if force:
            options["force"] = True
        path = gvr.path(namespace, name, subresource)
        return await self._json("PATCH", path, options, orjson.dumps(patch), content_type=PATCH_TYPES[type])

    async def delete(
        self,
        gvr: GVR,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        preconditions: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Object:
        body = _delete_options(grace_period_seconds, propagation_policy, preconditions)
        return await self._json("DELETE", gvr.path(namespace, name), params, body)

    async def delete_collection(
        self,
        gvr: GVR,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        **params: Any,
    ) -> Object:
        body = _delete_options(grace_period_seconds, propagation_policy, None)
        return await self._json("DELETE", gvr.path(namespace), params, body)

    async def watch(
        self,
        gvr: GVR,
        namespace: str | None = None,
        *,
        metadata_only: bool = False,
        timeout_seconds: int = 300,
        **params: Any,
    ) -> AsyncIterator[Object]:
        """Events as they come, ERROR events included; ends when the server ends the watch."""
        batches = self.watch_batches(
            gvr, namespace, metadata_only=metadata_only, timeout_seconds=timeout_seconds, **params
        )
        try:
            async for batch in batches:
                for event in batch:
                    yield event
        finally:
            await batches.aclose()

    async def watch_batches(
        self,
        gvr: GVR,
        namespace: str | None = None,
        *,
        metadata_only: bool = False,
        timeout_seconds: int = 300,
        **params: Any,
    ) -> AsyncGenerator[Events, None]:
        """As `watch`, the events that arrived together as one list."""
        options = {**params, "watch": True, "timeoutSeconds": timeout_seconds}
        headers = {"Accept": METADATA_ONLY if metadata_only else "application/json"}
        answer = await self.send("GET", gvr.path(namespace), options, headers=headers)
        # A server that has vanished without a word must not hold us for ever. One timer for the whole watch: a time
        # limit for each chunk costs as much as decoding it.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds + _WATCH_GRACE_SECONDS
        timer = loop.call_at(deadline, answer.close)
        buffer = b""
        try:
            async for chunk in answer.chunks():
                buffer += chunk
                if b"\n" not in chunk:
                    continue
                *lines, buffer = buffer.split(b"\n")
                yield [orjson.loads(line) for line in lines if line]
        except ApiError:
            if loop.time() < deadline - 0.01:  # loops' timers are rounded
                raise
        finally:
            timer.cancel()
            answer.close()

    async def raw(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Any path; the body as it came."""
        answer = await self.send(method, path, params, body, headers)
        async with asyncio.timeout(_REQUEST_SECONDS):
            return await answer.read()

    # -- one request ---------------------------------------------------------------------------------------

    async def send(
        self, method: str, path: str, params: Params = None, body: bytes | None = None, headers: Headers = None
    ) -> Answer:
        """One request, retried while the server asks for it. The answer is a success, its body unread."""
        return (await self._exchange(method, path, params, body, headers, read=False))[0]

    async def _exchange(
        self, method: str, path: str, params: Params, body: bytes | None, headers: Headers, *, read: bool
    ) -> tuple[Answer, bytes]:
        """As `send`; `read`: with the body, for which the same time limit holds."""
        target = path + "?" + text if (text := query(params)) else path
        sent = {"User-Agent": self.user_agent, "Accept": "application/json", **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        for attempt in range(_RETRIES + 1):
            token, answer = "", None
            if self._bearer is not None:
                token = await self._bearer.token()
                sent["Authorization"] = "Bearer " + token
            elif self._authorization is not None:
                sent["Authorization"] = self._authorization()
            try:
                async with asyncio.timeout(_REQUEST_SECONDS):
                    answer = await self._transport.send(method, target, sent, body)
                    if answer.status < 400:
                        return answer, await answer.read() if read else b""
            except TimeoutError:
                if answer is None:
                    raise unreachable(f"no answer to {method} {path} in {_REQUEST_SECONDS:.0f} s") from None
                answer.close()
                raise unreachable(f"the answer to {method} {path} did not end") from None
            pause = _retry_after(answer)
            if answer.status == 401 and self._bearer is not None and attempt == 0:
                self._bearer.reject(token)
                pause = 0.0
            if pause is None or attempt == _RETRIES:
                raise _error(answer, await answer.read())
            await answer.read()
            await asyncio.sleep(pause)
        raise AssertionError("the loop above ends with an answer or an error")

    async def _json(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> Object:
        headers = {"Accept": accept or "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        _, data = await self._exchange(method, path, params, body, headers, read=True)
        return orjson.loads(data)


def _authorization(config: KubeConfig) -> Callable[[], str] | None:
    if config.token_file:
        file = TokenFile(config.token_file)
        return lambda: "Bearer " + file.current()
    if config.token:
        return lambda: "Bearer " + config.token
    if config.basic:
        pair = base64.b64encode(":".join(config.basic).encode()).decode()
        return lambda: "Basic " + pair
    return None


def _delete_options(grace: int | None, policy: str | None, preconditions: Mapping[str, str] | None) -> bytes | None:
    options: Object = {}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if policy:
        options["propagationPolicy"] = policy
    if preconditions:
        options["preconditions"] = dict(preconditions)
    if not options:
        return None
    return orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options})


def _retry_after(answer: Answer) -> float | None:
    """Seconds to wait, when the server asks to be asked again."""
    if answer.status != 429 and answer.status < 500:
        return None
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _error(answer: Answer, data: bytes) -> ApiError:
    try:
        status = orjson.loads(data)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = data[:500].decode(errors="replace").strip()
        status = {"code": answer.status, "reason": "", "message": text or f"HTTP status {answer.status}"}
    status.setdefault("code", answer.status)
    return ApiError.from_status(status)
