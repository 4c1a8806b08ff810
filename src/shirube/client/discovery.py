"""What the server serves: every resource once, in its group's preferred version.

Reads aggregated discovery (apidiscovery.k8s.io/v2, two requests) and falls back to the classic documents
when the server has none. A group whose own server does not answer is listed in `failed`: whoever would
delete "everything" must know that it does not see everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.client.rest import Client

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class ServedResource:
    gvr: GVR
    kind: str
    namespaced: bool
    verbs: frozenset[str]


@dataclass(slots=True)
class Served:
    resources: list[ServedResource] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # group versions

    def by_kind(self, api_version: str, kind: str) -> ServedResource | None:
        """The resource of an owner reference: of any version of its group."""
        group = api_version.rpartition("/")[0]
        for resource in self.resources:
            if resource.kind == kind and resource.gvr.group == group:
                return resource
        return None


async def discover(client: Client) -> Served:
    """All resources. Raises ApiError when the server cannot be asked at all."""
    served = Served()
    for path in ("/api", "/apis"):
        document = orjson.loads(await client.raw("GET", path, headers={"Accept": _AGGREGATED}))
        if document.get("kind") == "APIGroupDiscoveryList":
            _read_aggregated(document, served)
        else:
            await _read_classic(client, path, document, served)
    return served


def _read_aggregated(document: dict[str, Any], served: Served) -> None:
    for group in document.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        seen: set[str] = set()
        for version in group.get("versions") or ():
            if version.get("freshness") == "Stale":
                served.failed.append(f"{name}/{version['version']}" if name else version["version"])
            for resource in version.get("resources") or ():
                plural = resource["resource"]
                if plural in seen:
                    continue
                seen.add(plural)
                served.resources.append(
                    ServedResource(
                        GVR(name, version["version"], plural),
                        (resource.get("responseKind") or {}).get("kind") or "",
                        resource.get("scope") == "Namespaced",
                        frozenset(resource.get("verbs") or ()),
                    )
                )


async def _read_classic(client: Client, path: str, document: dict[str, Any], served: Served) -> None:
    if path == "/api":
        groups = [("", [("v1", "/api/v1")])]
    else:
        groups = [
            (
                group["name"],
                [
                    (version["version"], f"/apis/{version['groupVersion']}")
                    for version in sorted(
                        group["versions"],
                        key=lambda v, g=group: v != g.get("preferredVersion"),  # type: ignore[misc]
                    )
                ],
            )
            for group in document.get("groups") or ()
        ]
    for name, versions in groups:
        seen: set[str] = set()
        for version, where in versions:
            try:
                listed = orjson.loads(await client.raw("GET", where))
            except ApiError:
                served.failed.append(f"{name}/{version}" if name else version)
                continue
            for resource in listed.get("resources") or ():
                if "/" in resource["name"] or resource["name"] in seen:
                    continue
                seen.add(resource["name"])
                served.resources.append(
                    ServedResource(
                        GVR(name, version, resource["name"]),
                        resource["kind"],
                        bool(resource["namespaced"]),
                        frozenset(resource.get("verbs") or ()),
                    )
                )
