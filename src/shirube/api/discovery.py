"""Discovery: what a server serves, in the two forms in which clients ask for it.

The classic documents are one per group version (`/api`, `/apis`, `/apis/G`, `/apis/G/V`). The aggregated document
(apidiscovery.k8s.io/v2, KEP-3352) has all of it; `/api` and `/apis` answer with it when the Accept header says
`as=APIGroupDiscoveryList`. Both are functions of a `ResourceTable`; callers keep the documents as long as its
`generation` stays the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from shirube.api.resources import Resource, ResourceTable, Subresource

Document = dict[str, Any]


def api_versions(server_address: str = "") -> Document:
    """The document at `/api`; `server_address` ("host:port") is where all clients can reach the server."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def api_group_list(table: ResourceTable) -> Document:
    """The document at `/apis`: every named group."""
    groups = [_group(table, group) for group in table.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(table: ResourceTable, group: str) -> Document:
    """The document at `/apis/<group>`. KeyError when the group is not served."""
    if not group or not table.versions(group):
        raise KeyError(group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(table, group)}


def _group(table: ResourceTable, group: str) -> Document:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in table.versions(group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def api_resource_list(table: ResourceTable, group: str, version: str) -> Document:
    """The document at `/api/v1` and `/apis/<group>/<version>`. KeyError when it is not served."""
    if version not in table.versions(group):
        raise KeyError((group, version))
    entries = []
    for resource in sorted(table.resources(group, version), key=lambda r: r.name):
        entries.append(_resource(resource))
        entries += [_subresource(resource, sub) for _, sub in sorted(resource.subresources.items())]
    document: Document = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"  # upstream leaves it out for the core group
    group_version = f"{group}/{version}" if group else version
    return document | {"groupVersion": group_version, "resources": entries}


def _resource(resource: Resource) -> Document:
    entry: Document = {
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if not resource.virtual:
        entry["storageVersionHash"] = storage_version_hash(resource)
    return entry


def _subresource(resource: Resource, sub: Subresource) -> Document:
    entry: Document = {
        "name": f"{resource.name}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": list(sub.verbs),
    }
    if sub.version:
        entry |= {"group": sub.group, "version": sub.version}
    return entry


def storage_version_hash(resource: Resource) -> str:
    """An opaque name of the stored version: clients that see it change know that objects were converted."""
    text = f"{resource.storage.group}/{resource.storage.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def aggregated(table: ResourceTable, *, core: bool | None = None, version: str = "v2") -> Document:
    """The aggregated document: of the core group (`/api`, core=True), the named groups (`/apis`, False) or both.

    The version is "v2" or "v2beta1", which have the same fields.
    """
    groups = [g for g in table.groups() if core is None or core is (g == "")]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_discovered_group(table, group) for group in groups],
    }


def _discovered_group(table: ResourceTable, group: str) -> Document:
    return {
        "metadata": {"name": group} if group else {},
        "versions": [
            {
                "version": version,
                "resources": _discovered(table.resources(group, version)),
                "freshness": "Current",
            }
            for version in table.versions(group)
        ],
    }


def _discovered(resources: Iterable[Resource]) -> list[Document]:
    entries = []
    for resource in sorted(resources, key=lambda r: r.name):
        entry: Document = {
            "resource": resource.name,
            "responseKind": _kind(resource.group, resource.version, resource.kind),
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        if resource.subresources:
            entry["subresources"] = [
                {
                    "subresource": name,
                    "responseKind": _kind(sub.group or resource.group, sub.version or resource.version, sub.kind),
                    "verbs": list(sub.verbs),
                }
                for name, sub in sorted(resource.subresources.items())
            ]
        entries.append(entry)
    return entries


def _kind(group: str, version: str, kind: str) -> Document:
    return {"group": group, "version": version, "kind": kind}
