"""An API server in this process on real SQLite, and a small client that speaks to it without sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shirube.apiserver.handle import ApiServer
from shirube.apiserver.main import Options, in_process
from shirube.apiserver.user import User
from shirube.foundation.chance import Chance
from shirube.serving.messages import Request, Response

ADMIN = User("admin", groups=("system:masters", "system:authenticated"))


@dataclass
class Answer:
    status: int
    raw: bytes
    headers: list[tuple[str, str]]
    content_type: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)

    def header(self, name: str) -> list[str]:
        return [v for n, v in self.headers if n.lower() == name.lower()]

    @property
    def warnings(self) -> list[str]:
        return self.header("warning")

    @property
    def message(self) -> str:
        return self.json["message"]


class Admins:
    """Everybody is `user`, whatever they show."""

    def __init__(self, user: User, real: Any) -> None:
        self.user = user
        self.tokens = real.tokens
        self.audiences = real.audiences

    async def authenticate(self, headers: Any, peer: Any, remarks: Any = None) -> User:
        return self.user


class Api:
    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.context = server.context

    async def send(
        self, method: str, target: str, body: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> Response:
        names = [(name.replace("_", "-"), value) for name, value in headers.items()]
        data = raw if raw is not None else (orjson.dumps(body) if body is not None else b"")
        response = await self.server.handle(Request.of(method, target, names, data))
        assert isinstance(response, Response)
        return response

    async def call(self, method: str, target: str, body: Any = None, **more: Any) -> Answer:
        response = await self.send(method, target, body, **more)
        data = response.body
        if not isinstance(data, bytes):
            data = b"".join([chunk async for chunk in data])
        return Answer(response.status, data, response.headers, response.content_type)

    async def ok(self, method: str, target: str, body: Any = None, **more: Any) -> Any:
        answer = await self.call(method, target, body, **more)
        assert answer.status < 300, answer.raw
        return answer.json

    async def get(self, target: str, **more: Any) -> Answer:
        return await self.call("GET", target, **more)

    async def post(self, target: str, body: Any = None, **more: Any) -> Answer:
        return await self.call("POST", target, body, **more)

    async def put(self, target: str, body: Any = None, **more: Any) -> Answer:
        return await self.call("PUT", target, body, **more)

    async def delete(self, target: str, body: Any = None, **more: Any) -> Answer:
        return await self.call("DELETE", target, body, **more)

    async def patch(self, target: str, body: Any = None, *, kind: str = "merge-patch+json", **more: Any) -> Answer:
        return await self.call("PATCH", target, body, content_type=f"application/{kind}", **more)

    @contextlib.asynccontextmanager
    async def watch(self, target: str, **more: Any) -> AsyncIterator[Events]:
        joint = "&" if "?" in target else "?"
        response = await self.send("GET", f"{target}{joint}watch=true", **more)
        assert response.status == 200, response
        events = Events(response)
        try:
            yield events
        finally:
            await events.close()


class Events:
    """The events of a watch, one by one."""

    def __init__(self, response: Response) -> None:
        assert not isinstance(response.body, bytes)
        self.content_type = response.content_type
        self._chunks = response.body
        self._rest = b""

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(60):
            while b"\n" not in self._rest:
                self._rest += await anext(self._chunks)
        line, _, self._rest = self._rest.partition(b"\n")
        event = orjson.loads(line)
        return event["type"], event["object"]

    async def rest(self) -> list[tuple[str, Any]]:
        """Everything until the stream ends."""
        async with asyncio.timeout(60):
            async for chunk in self._chunks:
                self._rest += chunk
        lines = [orjson.loads(line) for line in self._rest.splitlines()]
        self._rest = b""
        return [(e["type"], e["object"]) for e in lines]

    async def close(self) -> None:
        await self._chunks.aclose()


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory) -> Path:
    """The key that signs service-account tokens, as a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path_factory.mktemp("keys") / "sa.key"
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return path


@pytest.fixture
async def api(tmp_path, signing_key) -> AsyncIterator[Api]:
    """A bootstrapped server whose every request comes from a cluster administrator."""
    options = Options(data_dir=tmp_path, service_account_key=signing_key)
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield Api(server)


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def configmap(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict:
    containers = [{"name": "app", "image": "registry.k8s.io/pause:3.10"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": containers, "automountServiceAccountToken": False, **spec},
    }


@pytest.fixture
async def pods(api: Api) -> Api:
    """A namespace in which pods can be created: its service account exists."""
    await api.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    return api
