"""An API in memory, spoken to through the client's `Transport`: for tests that need faults or a bare store.

Kinds have no rules here: nothing is defaulted or validated. What it keeps of the real server:
resourceVersions of one line, uids, generation on spec changes, conflicts, finalizers and deletionTimestamp,
status as a subresource,
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from shirube.api import errors
from shirube.api.gvr import GVR
from shirube.api.selectors import parse_field_selector, parse_label_selector
from shirube.client.rest import unreachable
from shirube.foundation.clock import SYSTEM, rfc3339


def kind_of(resource: str) -> str:
    """Good enough for tests: the kind by its plural."""
    known = {
        "endpoints": "Endpoints",
        "endpointslices": "EndpointSlice",
        "replicasets": "ReplicaSet",
        "configmaps": "ConfigMap",
        "serviceaccounts": "ServiceAccount",
        "controllerrevisions": "ControllerRevision",
        "poddisruptionbudgets": "PodDisruptionBudget",
    }
    return known.get(resource, resource.rstrip("s").capitalize())


class MemoryAnswer:
    def __init__(self, status: int, body: bytes = b"", stream: AsyncIterator[bytes] | None = None) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self._body, self._stream = body, stream

    async def read(self) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        if self._stream is None:
            yield self._body
            return
        async for chunk in self._stream:
            yield chunk

    def close(self) -> None:
        self._stream = None


class MemoryApi:
    """Implements `Transport`. `requests` lists (method, path) of everything that was asked.

    `fault` may raise an ApiError before a request is served; `drop_watches` ends every watch.
    """

    def __init__(self, window: int = 10_000) -> None:
        self.revision = 0
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, str, dict[str, Any], dict[str, Any] | None]] = []
        self.compacted = 0
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], None] | None = None
        self.down = False
        self.served: list[tuple[GVR, str, bool]] = []  # what discovery tells
        self.watches = 0  # that have begun, ever
        self._window = window
        self._changed = asyncio.Event()
        self._epoch = 0

    async def close(self) -> None:
        self.drop_watches()

    def drop_watches(self) -> None:
        self._epoch += 1
        self._notify()

    def compact(self) -> None:
        self.compacted = self.revision

    def writes(self) -> list[tuple[str, str]]:
        return [r for r in self.requests if r[0] != "GET"]

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> MemoryAnswer:
        await asyncio.sleep(0)
        if self.down:
            raise unreachable("down")
        url = urlsplit(target)
        params = {k: v[0] for k, v in parse_qs(url.query).items()}
        self.requests.append((method, url.path))
        try:
            if self.fault is not None:
                self.fault(method, url.path)
            strategic = "strategic" in headers.get("Content-Type", "")
            return self._serve(method, url.path, params, orjson.loads(body) if body else None, strategic)
        except errors.ApiError as error:
            return MemoryAnswer(error.code, orjson.dumps(error.status()))

    # -- requests ------------------------------------------------------------------------------------------

    def _serve(self, method: str, path: str, params: dict[str, str], body: Any, strategic: bool) -> MemoryAnswer:
        if path in ("/api", "/apis"):
            return MemoryAnswer(200, orjson.dumps(self._discovery(path)))
        parts = [unquote(p) for p in path.strip("/").split("/")]
        group_version = parts[1] if parts[0] == "api" else "/".join(parts[1:3])
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        resource, name = parts[0], parts[1] if len(parts) > 1 else ""
        subresource = "/".join(parts[2:])
        prefix = f"{group_version}/{resource}/" + (f"{namespace}/" if namespace else "")
        if method == "GET" and not name:
            if params.get("watch") == "true":
                return MemoryAnswer(200, stream=self._watch(prefix, params))
            return self._list(prefix, group_version, resource, params)
        key = prefix + name
        if method == "POST" and not subresource:
            return self._create(prefix, group_version, resource, namespace, body)
        if method == "DELETE" and not name:
            for one in [k for k in self.objects if k.startswith(prefix)]:
                self._delete(one, resource, one.rsplit("/", 1)[1], body)
            return MemoryAnswer(200, b"{}")
        if key not in self.objects:
            raise errors.not_found(resource, name)
        if method == "GET":
            return MemoryAnswer(200, orjson.dumps(self.objects[key]))
        if method == "DELETE":
            return self._delete(key, resource, name, body)
        if method == "POST":
            return self._subresource(key, subresource, body)
        old = self.objects[key]
        new = body if method == "PUT" else _merge(_copy(old), body, strategic)
        return self._update(key, resource, old, new, subresource)

    def _discovery(self, path: str) -> dict[str, Any]:
        groups: dict[str, list[dict[str, Any]]] = {}
        for gvr, kind, namespaced in self.served:
            if (gvr.group == "") == (path == "/api"):
                groups.setdefault(gvr.group, []).append(
                    {
                        "resource": gvr.resource,
                        "responseKind": {"kind": kind},
                        "scope": "Namespaced" if namespaced else "Cluster",
                        "verbs": ["list", "watch", "delete", "deletecollection"],
                    }
                )
        return {
            "kind": "APIGroupDiscoveryList",
            "items": [
                {"metadata": {"name": group}, "versions": [{"version": "v1", "resources": resources}]}
                for group, resources in groups.items()
            ],
        }

    def _create(
        self, prefix: str, group_version: str, resource: str, namespace: str, obj: dict[str, Any]
    ) -> MemoryAnswer:
        metadata = obj.setdefault("metadata", {})
        if not metadata.get("name"):
            metadata["name"] = f"{metadata.get('generateName', '')}{self.revision + 1:05d}"
        key = prefix + metadata["name"]
        if key in self.objects:
            raise errors.already_exists(resource, metadata["name"])
        obj.setdefault("apiVersion", group_version)
        obj.setdefault("kind", kind_of(resource))
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = f"uid-{self.revision + 1}"
        metadata["creationTimestamp"] = rfc3339(SYSTEM.now())
        if "spec" in obj:
            metadata["generation"] = 1
        self._write(key, "ADDED", obj, None)
        return MemoryAnswer(201, orjson.dumps(obj))

    def _update(
        self, key: str, resource: str, old: dict[str, Any], new: dict[str, Any], subresource: str
    ) -> MemoryAnswer:
        version = new["metadata"].get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, old["metadata"]["name"])
        result = _copy(new)
        if subresource == "status":
            annotations = result["metadata"].get("annotations")
            result = {**_copy(old), "status": result.get("status")}
            if annotations is not None:  # upstream, too, keeps all of the metadata but for a few fields
                result["metadata"]["annotations"] = annotations
            if result["status"] is None:
                del result["status"]
        elif "status" in old:
            result["status"] = old["status"]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "generation"):
            if field in old["metadata"]:
                result["metadata"][field] = old["metadata"][field]
        if result.get("spec") != old.get("spec") and "generation" in old["metadata"]:
            result["metadata"]["generation"] += 1
        result["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        finalizers = (
            result.get("spec", {}).get("finalizers")
            if resource == "namespaces"
            else result["metadata"].get("finalizers")
        )
        if result["metadata"].get("deletionTimestamp") and not finalizers:
            self._remove(key, result)
        elif result != old:
            self._write(key, "MODIFIED", result, old)
        return MemoryAnswer(200, orjson.dumps(result))

    def _delete(self, key: str, resource: str, name: str, options: Any) -> MemoryAnswer:
        options = options or {}
        old = self.objects[key]
        for field, wanted in (options.get("preconditions") or {}).items():
            if old["metadata"].get(field) != wanted:
                raise errors.conflict(resource, name, "the precondition failed")
        policy = options.get("propagationPolicy")
        finalizers = list(old["metadata"].get("finalizers") or ())
        wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy or "")
        if wanted and wanted not in finalizers:
            finalizers.append(wanted)
        if finalizers or (resource == "namespaces" and (old.get("spec") or {}).get("finalizers")):
            new = _copy(old)
            new["metadata"]["deletionTimestamp"] = rfc3339(SYSTEM.now())
            new["metadata"]["finalizers"] = finalizers
            if resource == "namespaces":
                new["status"] = {**new.get("status", {}), "phase": "Terminating"}
            self._write(key, "MODIFIED", new, old)
            return MemoryAnswer(200, orjson.dumps(new))
        self._remove(key, old)
        return MemoryAnswer(200, b'{"kind":"Status","apiVersion":"v1","status":"Success"}')

    def _subresource(self, key: str, subresource: str, body: dict[str, Any]) -> MemoryAnswer:
        if subresource == "binding":
            old = self.objects[key]
            new = _copy(old)
            new["spec"]["nodeName"] = body["target"]["name"]
            self._write(key, "MODIFIED", new, old)
            return MemoryAnswer(201, orjson.dumps(body))
        if subresource == "token":
            return MemoryAnswer(201, orjson.dumps({"status": {"token": "t-" + key}}))
        raise errors.method_not_allowed(subresource, "create")

    def _list(self, prefix: str, group_version: str, resource: str, params: dict[str, str]) -> MemoryAnswer:
        keys = sorted(k for k in self.objects if k.startswith(prefix))
        keys = [k for k in keys if _selected(self.objects[k], params)]
        after = params.get("continue", "")
        keys = [k for k in keys if k > after]
        metadata: dict[str, Any] = {"resourceVersion": str(self.revision)}
        limit = int(params.get("limit", 0))
        if limit and len(keys) > limit:
            keys = keys[:limit]
            metadata["continue"] = keys[-1]
        items = [{k: v for k, v in self.objects[key].items() if k not in ("apiVersion", "kind")} for key in keys]
        page = {
            "kind": kind_of(resource) + "List",
            "apiVersion": group_version,
            "metadata": metadata,
            "items": items,
        }
        return MemoryAnswer(200, orjson.dumps(page))

    async def _watch(self, prefix: str, params: dict[str, str]) -> AsyncIterator[bytes]:
        seen = int(params.get("resourceVersion") or self.revision)
        if seen < self.compacted:
            yield _line("ERROR", errors.expired("too old resource version").status())
            return
        epoch = self._epoch
        self.watches += 1
        while epoch == self._epoch and not self.down:
            lines = [
                _line(kind, obj)
                for revision, key, kind, obj in self._events_after(seen, params)
                if key.startswith(prefix)
            ]
            seen = self.revision
            if lines:
                yield b"".join(lines)
                continue
            await self._changed.wait()

    def _events_after(self, seen: int, params: dict[str, str]) -> list[tuple[int, str, str, dict[str, Any]]]:
        out = []
        for revision, key, kind, obj, old in self.history:
            if revision <= seen:
                continue
            now = kind != "DELETED" and _selected(obj, params)
            before = old is not None and _selected(old, params)
            if now or before:
                seen_as = ("MODIFIED" if before else "ADDED") if now else "DELETED"
                out.append((revision, key, seen_as, obj))
        return out

    def _write(self, key: str, kind: str, obj: dict[str, Any], old: dict[str, Any] | None) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[key] = obj
        self._record(key, kind, obj, old)

    def _remove(self, key: str, obj: dict[str, Any]) -> None:
        old = self.objects.pop(key)
        self.revision += 1
        last = _copy(obj)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._record(key, "DELETED", last, old)

    def _record(self, key: str, kind: str, obj: dict[str, Any], old: dict[str, Any] | None) -> None:
        self.history.append((self.revision, key, kind, _copy(obj), old))
        del self.history[: -self._window]
        self._notify()


def _line(kind: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


def _copy(obj: Any) -> Any:
    return orjson.loads(orjson.dumps(obj))


_MERGE_KEYS = {"ownerReferences": "uid", "conditions": "type"}


def _merge_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    out = list(target)
    for one in patch:
        there = next((o for o in out if o.get(key) == one[key]), None)
        if one.get("$patch") == "delete":
            out = [o for o in out if o is not there]
        elif there is not None:
            there.update(one)
        else:
            out.append(one)
    return out


def _merge(target: Any, patch: Any, strategic: bool) -> Any:
    if not isinstance(patch, dict):
        return patch
    target = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            if strategic and key in _MERGE_KEYS:
                target[key] = _merge_list(target.get(key) or [], value, _MERGE_KEYS[key])
            else:
                target[key] = _merge(target.get(key), value, strategic)
    return target


def _fields(obj: dict[str, Any]) -> dict[str, str]:
    out = {"metadata.name": obj["metadata"]["name"], "metadata.namespace": obj["metadata"].get("namespace", "")}
    if obj.get("kind") == "Pod":
        out["spec.nodeName"] = (obj.get("spec") or {}).get("nodeName", "")
        out["status.phase"] = (obj.get("status") or {}).get("phase", "")
    return out


def _selected(obj: dict[str, Any], params: dict[str, str]) -> bool:
    labels, fields = params.get("labelSelector"), params.get("fieldSelector")
    if labels and not parse_label_selector(labels).matches(obj["metadata"].get("labels") or {}):
        return False
    return not fields or parse_field_selector(fields).matches(_fields(obj))
