"""The resources that a server serves, as data: for discovery, routing and storage keys.

`BUILTIN` is made from the tables in `shirube.api.groups`. A server copies it and adds the resources of its
custom resource definitions. Whoever derives something from a table (discovery documents, OpenAPI) keeps it
together with the table's `generation` and derives it again when that has changed.

No schema is imported here: routing, controllers and clients need names and scopes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from shirube.api.groups import OPTIONAL as OPTIONAL_TABLES
from shirube.api.groups import TABLES
from shirube.api.groups.row import GroupTable, Row
from shirube.api.gvr import GVR

REGISTRY = "/registry/"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource as discovery prints it. Group and version are empty when they are those of the parent."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in one served version. `storage` names the version that is kept."""

    group: str
    version: str
    name: str
    kind: str
    singular: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: Mapping[str, Subresource] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    storage: GVR = field(kw_only=True)
    definition: Any = field(default=None, kw_only=True)  # of a custom resource: `api.crd.served.Served`

    # Asked for several times by every request, so made once.
    gvr: GVR = field(init=False, compare=False, repr=False)
    direct: bool = field(init=False, compare=False, repr=False)
    """Whether stored bytes, as read, are in the served version. Custom resources are converted on reading."""
    _base: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        gvr, storage = GVR(self.group, self.version, self.name), self.storage
        object.__setattr__(self, "gvr", gvr)
        object.__setattr__(self, "direct", self.definition is not None or storage == gvr)
        object.__setattr__(self, "_base", f"{REGISTRY}{storage.group or 'core'}/{storage.resource}/")

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects served here; the same text as `group_version`."""
        return self.group_version

    @property
    def list_kind(self) -> str:
        return self.kind + "List" if self.definition is None else str(self.definition.list_kind)

    @property
    def group_resource(self) -> str:
        """What upstream's messages call it: "deployments.apps", "pods"."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def virtual(self) -> bool:
        """Nothing is stored: reviews, bindings, component statuses."""
        return "watch" not in self.verbs

    def key(self, namespace: str | None, name: str) -> str:
        """The storage key of an object; the namespace is ignored for cluster-scoped resources."""
        return f"{self._base}{namespace}/{name}" if namespace and self.namespaced else self._base + name

    def prefix(self, namespace: str | None = None) -> str:
        """The storage prefix of all objects, or of those in a namespace; ends in a slash.

        All served versions share the keys of the stored one.
        """
        return f"{self._base}{namespace}/" if namespace and self.namespaced else self._base


class ResourceTable:
    """Resources by path and by kind, in upstream's order of groups and versions.

    The groups that a table was made with keep their order (upstream's priority for the built-in ones); those
    of custom resources, added later, follow by name. Versions of a group are ordered as upstream orders them:
    stable before beta before alpha, higher before lower.
    """

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self.generation = 0
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        self._groups: dict[str, list[str]] = {}
        self._fixed_groups: tuple[str, ...] = ()
        for resource in resources:
            self.add(resource)
        self._fixed_groups = tuple(self._groups)

    def copy(self) -> ResourceTable:
        """A table of its own with the same resources; a server adds to a copy of BUILTIN."""
        table = ResourceTable(self)
        table._fixed_groups = self._fixed_groups
        return table

    def add(self, resource: Resource) -> None:
        """Add a resource, or replace the one with the same path."""
        path = (resource.group, resource.version, resource.name)
        if old := self._by_path.get(path):
            self._by_kind.pop((old.group, old.version, old.kind), None)
        self._by_path[path] = resource
        self._by_kind[resource.group, resource.version, resource.kind] = resource
        versions = self._groups.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
            versions.sort(key=version_priority, reverse=True)
        self.generation += 1

    def remove(self, resource: Resource) -> None:
        """Remove a resource; its version and group go with their last resource."""
        self._by_path.pop((resource.group, resource.version, resource.name))
        self._by_kind.pop((resource.group, resource.version, resource.kind), None)
        if not any(True for _ in self.resources(resource.group, resource.version)):
            versions = self._groups[resource.group]
            versions.remove(resource.version)
            if not versions:
                del self._groups[resource.group]
        self.generation += 1

    def by_path(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def by_gvr(self, gvr: GVR) -> Resource | None:
        return self._by_path.get(gvr)

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        return self._by_kind.get((group, version, kind))

    def groups(self) -> list[str]:
        """Group names, the core group ("") first, in the order of `/apis`."""
        fixed = [g for g in self._fixed_groups if g in self._groups]
        return fixed + sorted(g for g in self._groups if g not in self._fixed_groups)

    def versions(self, group: str) -> list[str]:
        """Served versions of a group, the preferred one first; empty when there is no such group."""
        return list(self._groups.get(group, ()))

    def resources(self, group: str, version: str) -> Iterator[Resource]:
        """The resources of one group version, in the order in which they were added."""
        return (r for r in self._by_path.values() if r.group == group and r.version == version)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def __len__(self) -> int:
        return len(self._by_path)


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def version_priority(version: str) -> tuple[int, int, int, str]:
    """A key that sorts versions of a group as upstream does, the preferred one highest.

    See "Version priority" in the reference of CustomResourceDefinition versioning: v10, v2, v1, v11beta2,
    v3beta1, v12alpha1, and then names that are no Kubernetes version, in alphabetical order.
    """
    match = _VERSION.fullmatch(version)
    if not match:
        return (-1, 0, 0, "".join(chr(0x10FFFF - ord(c)) for c in version) + chr(0x10FFFF))
    stage = {None: 2, "beta": 1, "alpha": 0}[match[2]]
    return (stage, int(match[1]), int(match[3] or 0), "")


def _resource(table: GroupTable, row: Row) -> Resource:
    group, version = table.group, table.version
    if row.stored_in:
        stored_group, _, stored_version = row.stored_in.rpartition("/")
    else:
        stored_group, stored_version = group, version
    return Resource(
        group=group,
        version=version,
        name=row.name,
        kind=row.kind,
        singular=row.kind.lower(),
        namespaced=row.namespaced,
        verbs=row.verbs,
        short_names=tuple(row.short.split()),
        categories=tuple(row.categories.split()),
        subresources=MappingProxyType(
            {s.name: Subresource(s.name, s.kind or row.kind, s.verbs, s.group, s.version) for s in row.sub}
        ),
        storage=GVR(stored_group, stored_version, row.name),
    )


BUILTIN = ResourceTable(_resource(table, row) for table in TABLES for row in table.rows)
"""What an API server serves with upstream's default flags. Never changed: servers work on a `copy()`."""

OPTIONAL = ResourceTable(_resource(table, row) for table in OPTIONAL_TABLES for row in table.rows)
"""What it serves when it is asked to. Never changed either."""


def built_in(resource: Resource) -> bool:
    """Whether a resource is one of ours, served by default or not, rather than somebody's definition."""
    return resource in (BUILTIN.by_gvr(resource.gvr), OPTIONAL.by_gvr(resource.gvr))
