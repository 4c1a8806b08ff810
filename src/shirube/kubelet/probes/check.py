"""One look at a container: exec, httpGet, tcpSocket or grpc.

The agent shares the node's network namespace, so pod addresses are reached as the node reaches them.
Failures read as upstream's do, for people search for them.
"""

from __future__ import annotations

import asyncio
import shlex
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from shirube import KUBERNETES_VERSION
from shirube.kubelet.cri.client import CriError, Runtime

_MAX_OUTPUT = 10 * 1024
_MAX_REDIRECTS = 10


class Outcome(NamedTuple):
    success: bool
    output: str
    # The probe itself could not be run: nothing is learnt of the container.
    errored: bool = False


class Target(NamedTuple):
    container_id: str
    host: str
    ports: Mapping[str, int]  # named container ports


async def check(runtime: Runtime, action: Mapping[str, Any], target: Target, timeout: float) -> Outcome:
    """Carry out a probe's action within `timeout` seconds."""
    try:
        if (spec := action.get("exec")) is not None:
            return await _exec(runtime, spec.get("command") or [], target, timeout)
        async with asyncio.timeout(timeout):
            if (spec := action.get("httpGet")) is not None:
                return await _http(spec, target)
            if (spec := action.get("tcpSocket")) is not None:
                return await _tcp(spec, target)
            if (spec := action.get("grpc")) is not None:
                return await _grpc(spec, target, timeout)
    except TimeoutError:
        return Outcome(False, _timed_out(action, target))
    except PortError as error:
        return Outcome(False, str(error), errored=True)
    return Outcome(False, f"missing probe handler, got {', '.join(sorted(action))}", errored=True)


class PortError(ValueError):
    """A probe or hook names a port that its container does not have."""


def port_of(value: Any, target: Target) -> int:
    """The number of a port given by number or name. Raises PortError."""
    if isinstance(value, str) and not value.isdigit():
        if value not in target.ports:
            raise PortError(f'couldn\'t find port "{value}" in container')
        return target.ports[value]
    return int(value)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _timed_out(action: Mapping[str, Any], target: Target) -> str:
    if (spec := action.get("tcpSocket")) is not None:
        address = _address(spec.get("host") or target.host, port_of(spec["port"], target))
        return f"dial tcp {address}: i/o timeout"
    if (spec := action.get("httpGet")) is not None:
        url = http_url(spec, target)
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    return "context deadline exceeded"


# -- exec


async def _exec(runtime: Runtime, command: list[str], target: Target, timeout: float) -> Outcome:
    try:
        answer = await runtime.call(
            "ExecSync",
            # The runtime ends the command at its timeout; ours is only for a runtime that does not answer.
            deadline=timeout + 10,
            container_id=target.container_id,
            cmd=command,
            timeout=max(int(timeout), 1),
        )
    except CriError as error:
        if error.code == "DEADLINE_EXCEEDED":
            return Outcome(False, f'command timed out: "{shlex.join(command)}" timed out after {timeout:g}s')
        return Outcome(False, str(error), errored=True)
    output = (answer.stdout + answer.stderr)[:_MAX_OUTPUT].decode("utf-8", "replace")
    return Outcome(answer.exit_code == 0, output)


# -- HTTP


def http_url(spec: Mapping[str, Any], target: Target) -> str:
    scheme = (spec.get("scheme") or "HTTP").lower()
    path = spec.get("path") or "/"
    path = path if path.startswith("/") else "/" + path
    return f"{scheme}://{_address(spec.get('host') or target.host, port_of(spec['port'], target))}{path}"


async def _http(spec: Mapping[str, Any], target: Target) -> Outcome:
    url = http_url(spec, target)
    headers = {"User-Agent": f"kube-probe/{KUBERNETES_VERSION[1:5]}", "Accept": "*/*"}
    for header in spec.get("httpHeaders") or ():
        if not header.get("value") and header["name"].lower() in ("user-agent", "accept"):
            headers = {k: v for k, v in headers.items() if k.lower() != header["name"].lower()}
        else:
            headers = {k: v for k, v in headers.items() if k.lower() != header["name"].lower()}
            headers[header["name"]] = header.get("value") or ""
    first_host = urlsplit(url).hostname
    for _ in range(_MAX_REDIRECTS):
        try:
            status, location = await http_get(url, headers)
        except (OSError, ssl.SSLError, ValueError, EOFError) as error:
            return Outcome(False, f'Get "{url}": {dial_error(url, error)}')
        if 300 <= status < 400 and location:
            url = urljoin(url, location)
            if urlsplit(url).hostname != first_host:
                # Another host's health says nothing about the container; that it answered does.
                return Outcome(True, f"Probe terminated redirects, Response body: {location}")
            continue
        if 200 <= status < 400:
            return Outcome(True, "")
        return Outcome(False, f"HTTP probe failed with statuscode: {status}")
    return Outcome(False, f'Get "{url}": stopped after {_MAX_REDIRECTS} redirects')


def dial_error(url: str, error: Exception) -> str:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"dial tcp {_address(parts.hostname or '', port)}: {_words(error)}"


def _words(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connect: connection refused"
        case ConnectionResetError():
            return "read: connection reset by peer"
        case OSError() if error.strerror:
            return f"connect: {error.strerror.lower()}"
    return str(error) or type(error).__name__


def _insecure_tls() -> ssl.SSLContext:
    # A probe asks whether the container answers, not who it is; upstream does not verify either.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def http_get(url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Status and Location of one GET. The body is not read. Raises OSError, ValueError, EOFError."""
    parts = urlsplit(url)
    tls = _insecure_tls() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {target} HTTP/1.1"]
        if not any(name.lower() == "host" for name in headers):
            lines.append(f"Host: {parts.netloc}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join([*lines, "Connection: close", "", ""])).encode())
        await writer.drain()
        head = await _head(reader)
    finally:
        writer.transport.abort()
    status_line, *fields = head.split("\r\n")
    words = status_line.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f"malformed HTTP response {status_line[:60]!r}")
    location = ""
    for line in fields:
        name, _, value = line.partition(":")
        if name.lower() == "location":
            location = value.strip()
    return int(words[1]), location


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        # A server that closes right after a bare status line has answered.
        if not error.partial:
            raise EOFError("EOF") from None
        head = error.partial
    except asyncio.LimitOverrunError:
        head = await reader.read(65536)
    return head.decode("latin-1").strip("\r\n")


# -- TCP and gRPC


async def _tcp(spec: Mapping[str, Any], target: Target) -> Outcome:
    host, port = spec.get("host") or target.host, port_of(spec["port"], target)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Outcome(False, f"dial tcp {_address(host, port)}: {_words(error)}")
    writer.transport.abort()
    return Outcome(True, "")


async def _grpc(spec: Mapping[str, Any], target: Target, timeout: float) -> Outcome:
    """grpc.health.v1.Health/Check; its two messages are small enough to write by hand."""
    import grpc
    import grpc.aio

    address = _address(target.host, port_of(spec["port"], target))
    service = (spec.get("service") or "").encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    async with grpc.aio.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        method = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            match error.code().name:
                case "UNIMPLEMENTED":
                    return Outcome(False, "error: this server does not implement the grpc health protocol")
                case "DEADLINE_EXCEEDED" | "UNAVAILABLE":
                    return Outcome(False, f'timeout: failed to connect service "{address}" within {timeout:g}s')
            return Outcome(False, f"error: health rpc probe failed: {error.details()}")
    status = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    if status == 1:
        return Outcome(True, "service healthy")
    name = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}.get(status, str(status))
    return Outcome(False, f'service unhealthy (responded with "{name}")')
