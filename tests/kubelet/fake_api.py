"""An API server of a few lines for the node agent's tests: collections in memory, patches, watches.

It knows what the agent relies on: deletion with grace, uid preconditions, strategic merge of conditions, and
the TokenRequest subresource. It can be made unreachable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from shirube.api.errors import ApiError
from shirube.client.rest import Client

_SUBRESOURCES = ("status", "token")
_LISTED = ("/pods", "/services", "/nodes", "/leases", "/configmaps", "/secrets")


class _Answer:
    def __init__(self, status: int, body: Any, stream: AsyncIterator[bytes] | None = None) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self._body = body
        self._stream = stream

    async def read(self) -> bytes:
        return orjson.dumps(self._body)

    def chunks(self) -> AsyncIterator[bytes]:
        assert self._stream is not None
        return self._stream

    def close(self) -> None:
        pass


class FakeApi:
    """A `Transport`. Objects are kept by URL path."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.revision = 1
        self.down = False
        self.requests: list[tuple[str, str]] = []
        self.status_patches: list[dict[str, Any]] = []
        self._history: list[tuple[int, str, str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def client(self) -> Client:
        return Client(self, "kubelet-test")

    # -- for tests

    def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create or replace the object at `path`."""
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("name", path.rpartition("/")[2])
        parts = path.split("/")
        if "namespaces" in parts and parts.index("namespaces") + 2 < len(parts):
            metadata.setdefault("namespace", parts[parts.index("namespaces") + 1])
        metadata.setdefault("uid", f"uid-{self.revision}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self._store(kind, path, obj)
        return obj

    def pod(self, name: str, namespace: str = "default") -> dict[str, Any] | None:
        return self.objects.get(f"/api/v1/namespaces/{namespace}/pods/{name}")

    def delete_pod(self, name: str, grace: int | None = None, namespace: str = "default") -> None:
        """As `kubectl delete pod`: the agent is asked to end it."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = orjson.loads(orjson.dumps(self.objects[path]))
        if grace == 0:
            self._remove(path, {**pod, "metadata": {**pod["metadata"], "deletionGracePeriodSeconds": 0}})
            return
        seconds = pod["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        pod["metadata"] |= {
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": seconds,
        }
        self._store("MODIFIED", path, pod)

    def events(self, reason: str | None = None) -> list[dict[str, Any]]:
        found = [obj for path, obj in self.objects.items() if "/events/" in path]
        return [event for event in found if reason is None or event["reason"] == reason]

    # -- storage

    def _store(self, kind: str, path: str, obj: dict[str, Any]) -> None:
        self.revision += 1
        obj = orjson.loads(orjson.dumps(obj))
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[path] = obj
        self._tell(kind, path, obj)

    def _remove(self, path: str, last: dict[str, Any]) -> None:
        self.revision += 1
        self.objects.pop(path, None)
        last = {**last, "metadata": {**last["metadata"], "resourceVersion": str(self.revision)}}
        self._tell("DELETED", path, last)

    def _tell(self, kind: str, path: str, obj: dict[str, Any]) -> None:
        self._history.append((self.revision, kind, path, obj))
        self._changed.set()
        self._changed = asyncio.Event()

    # -- transport

    async def send(self, method: str, target: str, headers: Any, body: bytes | None) -> Any:
        path, _, query = target.partition("?")
        path = unquote(path)
        params = {key: values[0] for key, values in parse_qs(query).items()}
        self.requests.append((method, path))
        if self.down:
            raise ApiError(503, "ServiceUnavailable", "the test's API server is down")
        data = orjson.loads(body) if body else None
        subresource = ""
        if path.rpartition("/")[2] in _SUBRESOURCES:
            path, _, subresource = path.rpartition("/")
        try:
            return await self._handle(method, path, subresource, params, data, headers)
        except KeyError:
            return _Answer(404, _failure(404, "NotFound", f"{path} not found"))

    async def close(self) -> None:
        pass

    async def _handle(
        self, method: str, path: str, subresource: str, params: dict[str, str], data: Any, headers: Any
    ) -> _Answer:
        if method == "GET" and params.get("watch"):
            return _Answer(200, None, self._watch(path, params))
        if method == "GET" and path in self.objects:
            return _Answer(200, self.objects[path])
        if method == "GET":
            return self._list(path, params)
        if method == "POST" and subresource == "token":
            spec = data["spec"]
            token = f"token-for-{spec['boundObjectRef']['name']}-{self.revision}"
            status = {"token": token, "expirationTimestamp": "2036-01-01T00:00:00Z"}
            return _Answer(201, {**data, "status": status})
        if method == "POST":
            path = f"{path}/{data['metadata']['name']}"
            if path in self.objects:
                return _Answer(409, _failure(409, "AlreadyExists", "already exists"))
            self.put(path, data)
            return _Answer(201, self.objects[path])
        if method == "PUT":
            self._store("MODIFIED", path, {**data, "metadata": {**self.objects[path]["metadata"], **data["metadata"]}})
            return _Answer(200, self.objects[path])
        if method == "PATCH":
            return self._patch(path, subresource, data)
        return self._delete(path, data or {})

    def _patch(self, path: str, subresource: str, data: Any) -> _Answer:
        old = self.objects[path]
        wanted = (data.get("metadata") or {}).get("uid")
        if wanted and wanted != old["metadata"]["uid"]:
            return _Answer(409, _failure(409, "Conflict", "uid differs"))
        if subresource == "status" and "/pods/" in path:
            self.status_patches.append(data["status"])
        new = merge(old, data)
        if new != old:
            self._store("MODIFIED", path, new)
        return _Answer(200, self.objects[path])

    def _delete(self, path: str, options: Any) -> _Answer:
        old = self.objects[path]
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted and wanted != old["metadata"]["uid"]:
            return _Answer(409, _failure(409, "Conflict", "uid differs"))
        self._remove(path, old)
        return _Answer(200, old)

    def _list(self, path: str, params: dict[str, str]) -> _Answer:
        if "/" + path.rpartition("/")[2] not in _LISTED:
            raise KeyError(path)
        items = [obj for key, obj in self.objects.items() if self._matches(path, key, params, obj)]
        metadata = {"resourceVersion": str(self.revision)}
        return _Answer(200, {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})

    def _matches(self, path: str, key: str, params: dict[str, str], obj: dict[str, Any]) -> bool:
        plural = path.rpartition("/")[2]
        if key.split("/")[-2] != plural:
            return False
        selector = params.get("fieldSelector", "")
        if selector.startswith("metadata.name="):
            return bool(obj["metadata"]["name"] == selector.removeprefix("metadata.name="))
        node = selector.removeprefix("spec.nodeName=")
        return not node or obj.get("spec", {}).get("nodeName") == node

    async def _watch(self, path: str, params: dict[str, str]) -> AsyncIterator[bytes]:
        after = int(params["resourceVersion"])
        while not self.down:
            changed = self._changed
            for revision, kind, key, obj in list(self._history):
                if revision > after and self._matches(path, key, params, obj):
                    yield orjson.dumps({"type": kind, "object": obj}) + b"\n"
                after = max(after, revision)
            await changed.wait()


def merge(old: Any, patch: Any) -> Any:
    """Strategic merge, as far as statuses need it."""
    if isinstance(patch, dict):
        result = dict(old) if isinstance(old, dict) else {}
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merge(result.get(key), value)
        return result
    if isinstance(patch, list) and {"$patch": "replace"} in patch:
        return [merge(None, item) for item in patch if item != {"$patch": "replace"}]
    if isinstance(patch, list) and patch and isinstance(patch[0], dict) and "type" in patch[0]:
        whole = {"$patch": "replace"} in patch
        result = {} if whole else {item["type"]: item for item in old or []}
        for item in patch:
            if item == {"$patch": "replace"}:
                continue
            if item.get("$patch") == "delete":
                result.pop(item["type"], None)
                continue
            result[item["type"]] = merge(result.get(item["type"]), item)
        return list(result.values())
    if isinstance(patch, list):
        return [merge(None, item) for item in patch]
    return patch


def _failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
