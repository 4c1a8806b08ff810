"""An aggregated API server on a real socket: TLS, client certificates, discovery, one resource."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from shirube.apiserver.main import Options, in_process
from shirube.cluster.certificates import ensure_pki
from shirube.foundation.chance import Chance
from shirube.serving import tls
from shirube.serving.http import Server
from shirube.serving.messages import Request, Response, Upgrade

from ..conftest import ADMIN, Admins, Api  # noqa: TID252 - the fixtures' own house

GROUP, VERSION = "wardle.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get", "list"],
        },
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}
OPENAPI = {
    "openapi": "3.0.0",
    "info": {"title": "wardle", "version": "v1"},
    "paths": {},
    "components": {"schemas": {"Flunder": {"type": "object"}}},
}


@dataclass
class Wardle:
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    healthy: bool = True
    openapi_v2: dict[str, Any] = field(default_factory=dict)
    speak: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self):
        """A watch that says nothing before it is told to."""
        yield b""
        await self.speak.wait()
        yield b"{}\n"

    async def handle(self, request: Request) -> Response | Upgrade:
        self.requests.append(request)
        if not self.healthy:
            return Response(500, b"no", [], "text/plain")
        if request.headers.get("upgrade"):
            return Upgrade([("Connection", "Upgrade"), ("Upgrade", request.headers.get("upgrade") or "")], _echo)
        if request.path == ROOT:
            return Response(200, orjson.dumps(RESOURCES))
        if request.path == "/openapi/v2":
            if request.headers.get("if-none-match") == '"1"':
                return Response(304, b"")
            return Response(200, orjson.dumps(self.openapi_v2), [("ETag", '"1"')])
        if request.path == "/openapi/v3":
            paths = {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": f"/openapi/v3{ROOT}?hash=1"}}
            return Response(200, orjson.dumps({"paths": paths}))
        if request.path == f"/openapi/v3{ROOT}":
            return Response(200, orjson.dumps(OPENAPI))
        if request.query == "watch=true":
            return Response(200, self.events(), [])
        body = await request.read(1 << 20)
        answer = {"kind": "Flunder", "path": request.path, "body": body.decode()}
        return Response(200, orjson.dumps(answer), [("X-Mark", "1")])


async def _echo(connection: Any) -> None:
    while data := await connection.read():
        await connection.write(data.upper())
    await connection.close()


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), cluster_name="t", api_names=[], api_addresses=[])


@pytest.fixture
async def wardle(pki):
    found = Wardle()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    context = tls.server_context(pki.apiserver.cert, pki.apiserver.key, pki.front_proxy_ca.cert, "required")
    server = Server(found.handle, tls=context)
    await server.start([sock])
    found.port = sock.getsockname()[1]
    yield found
    await server.drain(0.1)


@pytest.fixture
async def front(tmp_path, signing_key, pki):
    """An API server that has a front-proxy certificate."""
    options = Options(
        data_dir=tmp_path,
        service_account_key=signing_key,
        front_proxy_ca=pki.front_proxy_ca.cert,
        front_proxy_cert=pki.front_proxy_client.cert,
        front_proxy_key=pki.front_proxy_client.key,
    )
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield Api(server)


async def register(api: Any, wardle: Wardle) -> None:
    service = {"metadata": {"name": "wardle"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    await api.ok("POST", "/api/v1/namespaces/default/services", service)
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 2000,
        "versionPriority": 200,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "default", "name": "wardle", "port": wardle.port},
    }
    body = {"metadata": {"name": f"{VERSION}.{GROUP}"}, "spec": spec}
    await api.ok("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body)


@contextlib.asynccontextmanager
async def served(handle):
    """A handler on a socket; its port."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(handle)
    await server.start([sock])
    try:
        yield sock.getsockname()[1]
    finally:
        await server.drain(0.1)
