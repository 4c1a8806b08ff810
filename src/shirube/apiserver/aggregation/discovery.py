"""`/apis` and `/apis/GROUP` with the aggregated groups among our own.

The lists name only servers that are available. The aggregated document describes their resources as they answered
last, or none when they never did, and marks the versions as stale while a server does not answer: who empties a
namespace must know that there may be more in it than it can see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import discovery
from shirube.api.resources import version_priority
from shirube.apiserver import discovery_cache, encoding
from shirube.apiserver.aggregation import Aggregation, Remote, proxying
from shirube.apiserver.negotiation import accepted, discovery_clause
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
_VARY = [("Vary", "Accept")]
_UNKNOWN: Json = {"resources": []}


def _by_group(server: ServerContext) -> dict[str, list[Remote]]:
    """Aggregated group versions, groups in the order of their priority, versions preferred first."""
    groups: dict[str, list[Remote]] = {}
    for remote in Aggregation.of(server).remotes().values():
        groups.setdefault(remote.group, []).append(remote)
    for remotes in groups.values():
        remotes.sort(key=lambda r: (r.spec.get("versionPriority", 0), version_priority(r.version)), reverse=True)
    return dict(sorted(groups.items(), key=lambda g: (-max(r.spec.get("groupPriorityMinimum", 0) for r in g[1]), g[0])))


def _group(server: ServerContext, group: str, remotes: list[Remote]) -> Json | None:
    """The APIGroup, ours and theirs; None when nothing of it is available."""
    names = [r.version for r in remotes if r.available]
    names += [v for v in server.table.versions(group) if v not in {r.version for r in remotes}]
    if not names:
        return None
    versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in names]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


async def apis(server: ServerContext, rc: RequestContext) -> Response:
    groups = _by_group(server)
    if not groups:
        return await discovery_cache.apis(server, rc)
    version = discovery_clause(rc.request.headers.get("accept"))
    if version:
        name = f"with aggregated {version}"
        document = server.documents.get(name, lambda: _aggregated(server, groups, version))
        content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        headers = [("ETag", f'"{document.etag}"'), *_VARY]
        if (rc.request.headers.get("if-none-match") or "").strip('W/"') == document.etag:
            return encoding.respond_raw(rc, b"", content_type, 304, headers)
        return encoding.respond_raw(rc, document.data, content_type, 200, headers)
    accepted(rc.request.headers.get("accept"), transforms=False)
    listed = discovery.api_group_list(server.table)
    own = [g for g in listed["groups"] if g["name"] not in groups]
    theirs = [g for name, remotes in groups.items() if (g := _group(server, name, remotes)) is not None]
    response = encoding.respond(rc, {**listed, "groups": own + theirs})
    response.headers += _VARY
    return response


async def group(server: ServerContext, rc: RequestContext) -> Response:
    """`/apis/GROUP`"""
    name = rc.info.path.rstrip("/").rpartition("/")[2]
    remotes = _by_group(server).get(name)
    found = _group(server, name, remotes) if remotes else None
    if found is None:
        return await discovery_cache.group(server, rc)
    accepted(rc.request.headers.get("accept"), transforms=False)
    return encoding.respond(rc, {"kind": "APIGroup", "apiVersion": "v1", **found})


def _aggregated(server: ServerContext, groups: dict[str, list[Remote]], version: str) -> bytes:
    document = discovery.aggregated(server.table, core=False, version=version)
    known = Aggregation.of(server).resources
    items = {item["metadata"].get("name", ""): item for item in document["items"]}
    for name, remotes in groups.items():
        item = items.setdefault(name, {"metadata": {"name": name}, "versions": []})
        theirs = {r.version for r in remotes}
        versions = [
            {
                "version": r.version,
                "resources": described(known.get((name, r.version), _UNKNOWN)),
                "freshness": "Current" if r.available and (name, r.version) in known else "Stale",
            }
            for r in remotes
        ]
        item["versions"] = versions + [v for v in item["versions"] if v["version"] not in theirs]
    document["items"] = [item for item in items.values() if item["versions"]]
    return orjson.dumps(document)


def described(resources: Json) -> list[Json]:
    """The entries of an APIResourceList as the aggregated document has them."""
    group, _, version = str(resources.get("groupVersion", "")).rpartition("/")
    out: dict[str, Json] = {}
    subresources = []
    for entry in resources["resources"]:
        name, _, part = str(entry.get("name", "")).partition("/")
        kind = {
            "group": entry.get("group") or group,
            "version": entry.get("version") or version,
            "kind": entry.get("kind", ""),
        }
        if part:
            subresources.append((name, {"subresource": part, "responseKind": kind, "verbs": entry.get("verbs") or []}))
            continue
        made = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName", ""),
            "verbs": entry.get("verbs") or [],
        }
        for field in ("shortNames", "categories"):
            if entry.get(field):
                made[field] = entry[field]
        out[name] = made
    for name, made in subresources:
        if name in out:
            out[name].setdefault("subresources", []).append(made)
    return list(out.values())


async def resources(server: ServerContext, rc: RequestContext) -> Response | Upgrade:
    """`/apis/GROUP/VERSION`: its server answers."""
    remote = proxying.handler(server, rc)
    if remote is not None:
        return await remote(server, rc)
    return await discovery_cache.resources(server, rc)
