"""Aggregated API servers: whole group versions that somebody else answers for, behind this server's front door.

An APIService with `spec.service` takes over `/apis/GROUP/VERSION`. Requests are authenticated and authorised here and
passed on (`proxying`) with the user's identity in headers that our front-proxy certificate vouches for;
`availability` asks the servers from time to time and keeps the Available condition; `discovery` and `documents` mix
what they serve into our own documents. See "Kubernetes API Aggregation Layer" in the upstream documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api.gvr import APISERVICES

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


class Remote(NamedTuple):
    """A group version that another server answers for."""

    group: str
    version: str
    spec: Json
    available: bool

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"


class Aggregation:
    """Which group versions are elsewhere, as the stored APIServices say at this moment."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._revision = -1
        self._remotes: dict[tuple[str, str], Remote] = {}
        # What each answered last: its APIResourceList, its OpenAPI v2 document with its ETag, where its v3 document is.
        self.resources: dict[tuple[str, str], Json] = {}
        self.openapi_v2: dict[tuple[str, str], tuple[str, Json]] = {}
        self.openapi_v3: dict[tuple[str, str], str] = {}
        self.openapi_due: dict[tuple[str, str], float] = {}  # when to look at them again

    @staticmethod
    def of(server: ServerContext) -> Aggregation:
        """The one of this server."""
        found: Aggregation | None = server.extensions.get("aggregation")
        if found is None:
            found = server.extensions["aggregation"] = Aggregation(server)
        return found

    def remotes(self) -> dict[tuple[str, str], Remote]:
        reader = self._server.reader
        revision = reader.revision(APISERVICES)
        if revision != self._revision:
            found = {}
            for obj in reader.list(APISERVICES):
                spec = obj.get("spec") or {}
                if spec.get("service"):
                    group, version = spec.get("group", ""), spec.get("version", "")
                    found[group, version] = Remote(group, version, spec, is_available(obj))
            if found != self._remotes:
                self._remotes = found
                self.changed()
            self._revision = revision
        return self._remotes

    def find(self, group: str, version: str) -> Remote | None:
        """Who answers for a group version; None when this server does itself."""
        return self.remotes().get((group, version)) if group else None

    def changed(self) -> None:
        """Documents that were made of the table of resources must be made anew."""
        self._server.table.generation += 1


def is_available(api_service: Json) -> bool:
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Available" and c.get("status") == "True" for c in conditions)
