"""APIServices for group versions that custom resources brought, or that are served on request: made when they are
served, deleted when they are gone. So are those of built-in versions that the server was told not to serve.

They say that this server answers itself; clients read from them what there is. Those that somebody else made for the
same name are left alone. Follows upstream's crdregistration and autoregister controllers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api.errors import ApiError
from shirube.api.gvr import APISERVICES
from shirube.api.resources import BUILTIN, OPTIONAL
from shirube.apiserver.bootstrap.api_services import API_SERVICES

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
GROUP_PRIORITY = 1000
VERSION_PRIORITY = 100


def wanted(server: ServerContext) -> dict[str, Json]:
    """The specs that should be there, by name."""
    builtin = {(r.group, r.version) for r in BUILTIN}
    found = {(r.group, r.version) for r in server.table} - builtin
    on_request = {(r.group, r.version): _priorities(r.group) for r in OPTIONAL}
    specs = {}
    for group, version in found:
        of_group, of_version = on_request.get((group, version), (GROUP_PRIORITY, VERSION_PRIORITY))
        specs[f"{version}.{group}"] = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": of_group,
            "versionPriority": of_version,
        }
    return specs


def _priorities(group: str) -> tuple[int, int]:
    """That of its group, below that of the versions that are always served."""
    return max((priority for name, _, priority, _ in API_SERVICES if name == group), default=GROUP_PRIORITY), 9


async def settle(server: ServerContext) -> None:
    """Make and delete what differs. Raises ApiError."""
    want = wanted(server)
    have = {obj["metadata"]["name"]: obj for obj in server.reader.list(APISERVICES)}
    for name, spec in sorted(want.items()):
        if name not in have:
            obj: Json = {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": name, "labels": {MANAGED: "true"}},
                "spec": spec,
            }
            await _tolerating(409, server.store.create(APISERVICES, obj))
    for name, held in sorted(have.items()):
        managed = (held["metadata"].get("labels") or {}).get(MANAGED)
        if (managed == "true" and name not in want) or (managed == "onstart" and not _served(server, held)):
            await _tolerating(404, server.store.delete(APISERVICES, "", name))


def _served(server: ServerContext, api_service: Json) -> bool:
    """Whether somebody answers: this server, or the one that the object was given to meanwhile."""
    spec = api_service["spec"]
    return spec.get("service") is not None or spec["version"] in server.table.versions(spec.get("group") or "")


async def _tolerating(code: int, doing: Any) -> None:
    """Another server may have been faster."""
    try:
        await doing
    except ApiError as error:
        if error.code != code:
            raise
