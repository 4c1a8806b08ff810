"""The objects and documents of metrics.k8s.io/v1beta1: discovery, OpenAPI, NodeMetrics, PodMetrics, tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shirube.foundation.clock import rfc3339
from shirube.metrics_server.usage import Usage

Json = dict[str, Any]

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
_PACKAGE = "io.k8s.metrics.pkg.apis.metrics.v1beta1"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_VERSIONS = [{"groupVersion": GROUP_VERSION, "version": VERSION}]


def group() -> Json:
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": _VERSIONS,
        "preferredVersion": _VERSIONS[0],
    }


def groups() -> Json:
    one = {key: value for key, value in group().items() if key not in ("kind", "apiVersion")}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [one]}


def resources() -> Json:
    def row(name: str, kind: str, namespaced: bool) -> Json:
        return {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}

    rows = [row("nodes", "NodeMetrics", False), row("pods", "PodMetrics", True)]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": rows}


def amounts(usage: Usage) -> Json:
    return {"cpu": f"{round(usage.cpu * 1e9)}n", "memory": f"{-(-usage.memory // 1024)}Ki"}


def duration(seconds: float) -> str:
    """As Go writes a duration, to the millisecond: `15.012s`, `1m0s`."""
    total = round(seconds, 3)
    minutes, rest = divmod(total, 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{text}" if minutes else text


def _metadata(metadata: Mapping[str, Any], now: float) -> Json:
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if metadata.get(key)}
    return {**kept, "creationTimestamp": rfc3339(now)}


def node_metrics(metadata: Mapping[str, Any], usage: Usage, now: float) -> Json:
    return {
        "kind": "NodeMetrics",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(metadata, now),
        "timestamp": rfc3339(usage.at),
        "window": duration(usage.window),
        "usage": amounts(usage),
    }


def pod_metrics(metadata: Mapping[str, Any], containers: Mapping[str, Usage], now: float) -> Json:
    """The pod's moment and window are those of the container read first."""
    first = min(containers.values(), key=lambda usage: usage.at)
    return {
        "kind": "PodMetrics",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(metadata, now),
        "timestamp": rfc3339(first.at),
        "window": duration(first.window),
        "containers": [{"name": name, "usage": amounts(usage)} for name, usage in sorted(containers.items())],
    }


def listed(kind: str, items: Sequence[Json]) -> Json:
    return {"kind": f"{kind}List", "apiVersion": GROUP_VERSION, "metadata": {}, "items": list(items)}


def table(items: Iterable[Json]) -> Json:
    """What `kubectl get` prints: sums over the containers."""
    columns = [("Name", "name"), ("cpu", ""), ("memory", ""), ("Window", "duration")]
    rows = []
    for item in items:
        parts = item.get("containers") or [item]
        nanos = sum(int(p["usage"]["cpu"].removesuffix("n")) for p in parts)
        kibi = sum(int(p["usage"]["memory"].removesuffix("Ki")) for p in parts)
        meta = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
        cells = [item["metadata"]["name"], f"{nanos}n", f"{kibi}Ki", item["window"]]
        rows.append({"cells": cells, "object": meta})
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [
            {"name": name, "type": "string", "format": form, "description": "", "priority": 0} for name, form in columns
        ],
        "rows": rows,
    }


# -- OpenAPI ------------------------------------------------------------------------------------------------


def _schemas(prefix: str) -> Json:
    def ref(name: str) -> Json:
        return {"$ref": prefix + name}

    usage = {
        "type": "object",
        "description": "What was used, by resource: cpu in cores over the window, memory as the working set.",
        "additionalProperties": ref(_QUANTITY),
    }
    about: Json = {
        "apiVersion": {"type": "string", "description": "The version of this object's schema."},
        "kind": {"type": "string", "description": "The kind of this object."},
        "metadata": ref(f"{_META}.ObjectMeta"),
        "timestamp": {**ref(f"{_META}.Time")},
        "window": {**ref(f"{_META}.Duration")},
    }
    own: Json = {}
    for kind, what in (("NodeMetrics", {"usage": usage}), ("PodMetrics", _containers(ref))):
        gvk = [{"group": GROUP, "kind": kind, "version": VERSION}]
        own[f"{_PACKAGE}.{kind}"] = {
            "type": "object",
            "description": f"{kind} says what was used in the window that ended at the timestamp.",
            "required": ["timestamp", "window", *what],
            "properties": {**about, **what},
            "x-kubernetes-group-version-kind": gvk,
        }
        own[f"{_PACKAGE}.{kind}List"] = {
            "type": "object",
            "description": f"A list of {kind}.",
            "required": ["items"],
            "properties": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "metadata": ref(f"{_META}.ListMeta"),
                "items": {"type": "array", "items": ref(f"{_PACKAGE}.{kind}")},
            },
            "x-kubernetes-group-version-kind": [{"group": GROUP, "kind": f"{kind}List", "version": VERSION}],
        }
    own[f"{_PACKAGE}.ContainerMetrics"] = {
        "type": "object",
        "required": ["name", "usage"],
        "properties": {"name": {"type": "string", "description": "The container."}, "usage": usage},
    }
    return own | _foreign()


def _containers(ref: Any) -> Json:
    return {"containers": {"type": "array", "items": ref(f"{_PACKAGE}.ContainerMetrics")}}


def _foreign() -> Json:
    """What the documents refer to and the API server has in full."""
    plain = {"type": "object"}
    return {
        _QUANTITY: {"type": "string"},
        f"{_META}.Time": {"type": "string", "format": "date-time"},
        f"{_META}.Duration": {"type": "string"},
        f"{_META}.ObjectMeta": plain,
        f"{_META}.ListMeta": plain,
    }


_PATHS = (
    ("nodes", "NodeMetricsList", "list"),
    ("nodes/{name}", "NodeMetrics", "get"),
    ("pods", "PodMetricsList", "list"),
    ("namespaces/{namespace}/pods", "PodMetricsList", "list"),
    ("namespaces/{namespace}/pods/{name}", "PodMetrics", "get"),
)


def _operations(prefix: str, answer: Any) -> Json:
    out: Json = {}
    for path, kind, verb in _PATHS:
        single = kind.removesuffix("List")
        out[f"/apis/{GROUP_VERSION}/{path}"] = {
            "get": {
                "operationId": f"{verb}MetricsV1beta1{'Namespaced' if '{namespace}' in path else ''}{kind}",
                "tags": ["metrics_v1beta1"],
                "x-kubernetes-action": verb,
                "x-kubernetes-group-version-kind": {"group": GROUP, "kind": single, "version": VERSION},
                "responses": {"200": {"description": "OK", **answer({"$ref": f"{prefix}{_PACKAGE}.{kind}"})}},
            }
        }
    return out


def openapi_v3() -> Json:
    prefix = "#/components/schemas/"
    paths = _operations(prefix, lambda ref: {"content": {"application/json": {"schema": ref}}})
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes metrics-server", "version": VERSION},
        "paths": paths,
        "components": {"schemas": _schemas(prefix)},
    }


def openapi_v2() -> Json:
    prefix = "#/definitions/"
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes metrics-server", "version": VERSION},
        "paths": _operations(prefix, lambda ref: {"schema": ref}),
        "definitions": _schemas(prefix),
    }
