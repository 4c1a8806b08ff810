"""A small synchronous client of the API for these tests: standard library only, so nothing of the project's own client
hides what the server really answers. Connections are kept, one for each thread; a watch has one of its own.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.waiting import PATIENCE

JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

Obj = dict[str, Any]


class Refused(Exception):
    """An answer of 400 and above."""

    def __init__(self, code: int, status: Any) -> None:
        self.code = code
        self.status = status if isinstance(status, dict) else {"message": str(status)}
        super().__init__(f"{code} {self.status.get('reason')}: {self.status.get('message')}")

    @property
    def message(self) -> str:
        return str(self.status.get("message"))

    @property
    def reason(self) -> str:
        return str(self.status.get("reason"))


@dataclass(frozen=True)
class Answer:
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """The API as one user: the kubeconfig's, a bearer of `token`, or nobody (`anonymous`)."""

    def __init__(self, config: Path, *, token: str | None = None, anonymous: bool = False, headers: Any = None) -> None:
        self.config = config
        parsed = yaml.safe_load(config.read_text())
        cluster, user = parsed["clusters"][0]["cluster"], parsed["users"][0]["user"]
        server = urllib.parse.urlsplit(cluster["server"])
        self.host, self.port = server.hostname, server.port
        self.ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=self.ca)
        if token is None and not anonymous:
            with tempfile.NamedTemporaryFile() as pair:
                for name in ("client-certificate-data", "client-key-data"):
                    pair.write(base64.b64decode(user[name]) + b"\n")
                pair.flush()
                self._tls.load_cert_chain(pair.name)
        self._headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        self._local = threading.local()
        self._open: list[http.client.HTTPSConnection] = []

    def acting(self, **headers: str) -> Api:
        """The same credentials with headers of impersonation: `acting(User="jane")`."""
        return Api(self.config, headers={f"Impersonate-{name}": value for name, value in headers.items()})

    def bearing(self, token: str) -> Api:
        return Api(self.config, token=token)

    def close(self) -> None:
        for connection in self._open:
            connection.close()

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(str(self.host), self.port, context=self._tls, timeout=60)
        self._open.append(connection)
        return connection

    def call(self, method: str, path: str, body: Any = None, *, headers: Any = None, **query: Any) -> Answer:
        """One exchange, whatever the answer. A `body` that is not bytes goes as JSON."""
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        sent = {"Accept": JSON, **self._headers, **({"Content-Type": JSON} if body is not None else {})}
        sent |= headers or {}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self.connect()
            try:
                connection.request(method, target, data, sent)
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())
            except (ConnectionError, ssl.SSLEOFError, http.client.HTTPException):
                # The server may close an idle connection at any moment; a second failure is a real one.
                connection.close()
                if attempt == 2:
                    raise
            except BaseException:
                connection.close()  # half an exchange: it is made anew by the next
                raise
        raise AssertionError("unreachable")

    def ask(self, method: str, path: str, body: Any = None, *, headers: Any = None, **query: Any) -> Any:
        """The decoded answer; `Refused` when it is an error."""
        answer = self.call(method, path, body, headers=headers, **query)
        with contextlib.suppress(ValueError):
            decoded = answer.json()
            if answer.code >= 400:
                raise Refused(answer.code, decoded)
            return decoded
        if answer.code >= 400:
            raise Refused(answer.code, answer.body.decode(errors="replace"))
        return answer.body.decode()

    def get(self, path: str, **query: Any) -> Any:
        return self.ask("GET", path, **query)

    def at(self, version: str, resource: str, namespace: str | None = None) -> Collection:
        return Collection(self, version, resource, namespace)

    def pods(self, namespace: str) -> Collection:
        return self.at("v1", "pods", namespace)


class Collection:
    """One resource, in one namespace or in all."""

    def __init__(self, api: Api, version: str, resource: str, namespace: str | None) -> None:
        self.api, self.version, self.resource, self.namespace = api, version, resource, namespace
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        self.path = f"{root}/namespaces/{namespace}/{resource}" if namespace else f"{root}/{resource}"

    def _of(self, name: str, sub: str = "") -> str:
        return f"{self.path}/{name}" + (f"/{sub}" if sub else "")

    def everywhere(self) -> Collection:
        return Collection(self.api, self.version, self.resource, None)

    def create(self, obj: Obj, **query: Any) -> Obj:
        return self.api.ask("POST", self.path, obj, **query)

    def get(self, name: str, sub: str = "", **query: Any) -> Obj:
        return self.api.ask("GET", self._of(name, sub), **query)

    def find(self, name: str) -> Obj | None:
        """The object, or None where there is none."""
        try:
            return self.get(name)
        except Refused as error:
            if error.code != 404:
                raise
            return None

    def list(self, labels: str = "", **query: Any) -> Obj:
        return self.api.ask("GET", self.path, **({"labelSelector": labels} if labels else {}), **query)

    def items(self, labels: str = "", **query: Any) -> list[Obj]:
        return list(self.list(labels, **query)["items"])

    def update(self, obj: Obj, sub: str = "", **query: Any) -> Obj:
        return self.api.ask("PUT", self._of(obj["metadata"]["name"], sub), obj, **query)

    def edit(self, name: str, change: Callable[[Obj], Any], sub: str = "") -> Obj:
        """Read, change, update; again on a conflict, as clients do."""
        for _ in range(20):
            obj = self.get(name, "" if sub == "finalize" else sub)  # that one is only written
            change(obj)
            try:
                return self.update(obj, sub)
            except Refused as error:
                if error.reason != "Conflict":
                    raise
        raise AssertionError(f"cannot update {self._of(name)}: twenty conflicts in a row")

    def patch(self, name: str, patch: Any, kind: str = MERGE, sub: str = "", **query: Any) -> Obj:
        return self.api.ask("PATCH", self._of(name, sub), patch, headers={"Content-Type": kind}, **query)

    def apply(self, obj: Obj, manager: str = "tests", sub: str = "", **query: Any) -> Obj:
        return self.patch(obj["metadata"]["name"], obj, APPLY, sub, fieldManager=manager, **query)

    def delete(self, name: str, sub: str = "", **options: Any) -> Obj:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return self.api.ask("DELETE", self._of(name, sub), body)

    def delete_all(self, labels: str, **options: Any) -> Obj:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return self.api.ask("DELETE", self.path, body, labelSelector=labels)

    def watch(self, labels: str = "", **query: Any) -> Watch:
        if labels:
            query["labelSelector"] = labels
        return Watch(self.api, self.path, {"watch": "true", "timeoutSeconds": 300, **query})


class Watch:
    """A watch whose events are collected by a thread of its own, from the moment it is open."""

    def __init__(self, api: Api, path: str, query: Obj) -> None:
        self.events: list[Obj] = []
        self._taken = 0
        self._news = threading.Condition()
        self._ended = False
        self._connection = api.connect()
        headers = {"Accept": JSON, **api._headers}
        self._connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}", headers=headers)
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            body = json.loads(self._answer.read())
            self._connection.close()
            raise Refused(self._answer.status, body)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self._answer.readline():
                with self._news:
                    self.events.append(json.loads(line))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def next(self, seconds: float = PATIENCE) -> Obj:
        """The next event that was not taken yet."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.events) > self._taken or self._ended, seconds):
                raise AssertionError(f"no event within {seconds:.0f} s; so far: {brief(self.events)}")
            if len(self.events) <= self._taken:
                raise AssertionError(f"the watch ended; so far: {brief(self.events)}")
            self._taken += 1
            return self.events[self._taken - 1]

    def until(self, kind: str, condition: Callable[[Obj], Any] = lambda _: True, seconds: float = PATIENCE) -> Obj:
        """The object of the next event of this kind for which the condition holds; others are passed over."""
        deadline = time.monotonic() + max(seconds, PATIENCE)
        while True:
            event = self.next(max(deadline - time.monotonic(), 0.01))
            if event["type"] == kind and condition(event["object"]):
                return dict(event["object"])

    def close(self) -> None:
        # Closing the socket under a reader that waits would not wake it: shut it down first.
        with contextlib.suppress(OSError, AttributeError):
            self._connection.sock.shutdown(2)  # type: ignore[union-attr]
        self._thread.join(5)
        self._answer.close()
        self._connection.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def brief(events: list[Obj]) -> list[tuple[str, str]]:
    return [(e["type"], e["object"].get("metadata", {}).get("name", e["object"].get("message", ""))) for e in events]


@contextlib.contextmanager
def refused(code: int, reason: str = "", *parts: str) -> Iterator[None]:
    """What is inside must be refused with this code and reason, and a message that has these parts."""
    try:
        yield
    except Refused as error:
        assert error.code == code, error
        assert not reason or error.reason == reason, error
        for part in parts:
            assert part in error.message, f"{part!r} is not in: {error.message}"
    else:
        raise AssertionError(f"accepted, though it must be refused with {code} {reason}")
