"""Definitions at work: what the server keeps of a CustomResourceDefinition, one `Family`, and of each served
version of it, one `Served`, which a `Resource` carries as its `definition`.

Objects are stored in the storage version and written in the version of the request. `Served.store` makes the
stored bytes of an object; `Served.view` makes what this version shows of stored bytes. Both do what upstream's
codecs do: a stored object is pruned to and defaulted by the schema of the version that it was stored in, then
converted, then pruned to the schema of the version asked for. Bytes of this very version that were written since the
schema was last changed are shown as they are, and so are those that turned out to be in order once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

import orjson

from shirube.api.crd import defaulting, printing, pruning, structural
from shirube.api.crd.strategy import DefinedStrategy
from shirube.api.crd.structural import Node, Schema
from shirube.api.gvr import GVR
from shirube.api.printers.column import Printer
from shirube.api.resources import Resource, Subresource
from shirube.api.schema import Type

Json = dict[str, Any]

MAX_IN_ORDER = 100_000
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
TERMINATING_VERBS = ("delete", "deletecollection", "get", "list", "watch")
PART_VERBS = ("get", "patch", "update")


class Converter(Protocol):
    """Objects of one version to another."""

    async def convert(self, objects: Sequence[Json], api_version: str) -> list[Json]:
        """Raises ApiError when it cannot."""
        ...


class SameFields:
    """Strategy None: only the apiVersion changes."""

    async def convert(self, objects: Sequence[Json], api_version: str) -> list[Json]:
        return [{**obj, "apiVersion": api_version} for obj in objects]


@dataclass(eq=False)
class Family:
    """All versions of a definition."""

    group: str
    storage: str  # the version that is written
    converter: Converter
    since: int  # revision at which the schemas were last changed, or later
    indexing: DefinedStrategy  # whose selectable fields are those of all versions
    nodes: Mapping[str, Node] = field(default_factory=dict)  # by version, unserved ones too


@dataclass(eq=False)
class Served:
    """One served version."""

    family: Family
    version: str
    kind: str
    list_kind: str
    node: Node
    strategy: DefinedStrategy
    printer: Printer
    scale_paths: tuple[str, str, str | None] | None
    deprecation: str | None  # the warning that every request gets
    api_version: str = field(init=False)
    _in_order: set[tuple[int, int]] = field(default_factory=set)  # (revision, hash) of older bytes that need nothing
    type: Type = field(init=False)

    def __post_init__(self) -> None:
        self.api_version = f"{self.family.group}/{self.version}"
        self.type = structural.type_of(self.node)
        self._head = b'{"apiVersion":%b,' % orjson.dumps(self.api_version)

    @property
    def late_fields(self) -> bool:
        """Whether objects are selected by what they are here: a webhook may move the fields of what is stored."""
        return not isinstance(self.family.converter, SameFields)

    @property
    def schema(self) -> Schema:
        return self.node.schema

    def current(self, data: bytes, revision: int) -> bool:
        """Whether stored bytes are what this version shows."""
        if not data.startswith(self._head):
            return False
        return revision > self.family.since or (revision, hash(data)) in self._in_order

    def stored_here(self, data: bytes) -> bool:
        """Whether bytes are in the version that is written today."""
        return data.startswith(b'{"apiVersion":"%b/%b",' % (self.family.group.encode(), self.family.storage.encode()))

    async def view(self, data: bytes, revision: int) -> bytes:
        """What this version shows of one stored object."""
        if self.current(data, revision):
            return data
        return (await self.views([(data, revision)]))[0]

    async def views(self, stored: Sequence[tuple[bytes, int]]) -> list[bytes]:
        """`view` of many objects with one conversion."""
        out = [data for data, _ in stored]
        stale = [n for n, (data, revision) in enumerate(stored) if not self.current(data, revision)]
        for n, made in zip(stale, await self._shown([out[n] for n in stale]), strict=True):
            if made == out[n]:
                if len(self._in_order) >= MAX_IN_ORDER:
                    self._in_order.clear()
                self._in_order.add((stored[n][1], hash(made)))
            else:
                out[n] = made
        return out

    async def _shown(self, stored: Sequence[bytes]) -> list[bytes]:
        objects: list[Json] = [orjson.loads(data) for data in stored]
        for obj in objects:
            node = self.family.nodes.get(obj["apiVersion"].rpartition("/")[2])
            if node is not None:
                pruning.prune(obj, node)
                defaulting.default(obj, node)
        other = [n for n, obj in enumerate(objects) if obj["apiVersion"] != self.api_version]
        if other:
            converted = await self.family.converter.convert([objects[n] for n in other], self.api_version)
            for n, obj in zip(other, converted, strict=True):
                pruning.prune(obj, self.node)
                objects[n] = obj
        return [orjson.dumps(ordered(obj)) for obj in objects]

    def complete(self, obj: Json) -> None:
        """Prune and default an object of this version, in place."""
        pruning.prune(obj, self.node)
        defaulting.default(obj, self.node)

    async def store(self, obj: Json) -> Json:
        """The object of this version in the one that is stored."""
        if self.version == self.family.storage:
            return obj
        node = self.family.nodes[self.family.storage]
        made = (await self.family.converter.convert([obj], f"{self.family.group}/{self.family.storage}"))[0]
        pruning.prune(made, node)
        defaulting.default(made, node)
        return made


def ordered(obj: Json) -> Json:
    """apiVersion, kind and metadata first; in metadata the resourceVersion: as stored bytes have it."""
    meta = obj["metadata"]
    if "resourceVersion" in meta:
        meta = {"resourceVersion": meta["resourceVersion"], **meta}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta}
    return head | {k: v for k, v in obj.items() if k not in head}


def resources_of(definition: Json, converter: Converter | None, since: int) -> tuple[list[Resource], Resource]:
    """(the resources of the served versions, that of the stored one, served or not) under the names that were
    accepted. A converter of None: by apiVersion alone."""
    spec, names = definition["spec"], definition["status"]["acceptedNames"]
    conditions = definition["status"].get("conditions") or ()
    terminating = any(c["type"] == "Terminating" and c["status"] == "True" for c in conditions)
    versions = spec["versions"]
    nodes = {v["name"]: structural.parse(v["schema"]["openAPIV3Schema"], root=True) for v in versions}
    stored = next(v["name"] for v in versions if v.get("storage"))
    fields = dict.fromkeys(f["jsonPath"] for v in versions for f in v.get("selectableFields") or ())
    indexing = DefinedStrategy(structural.Node({}), tuple(fields), namespaced=True, has_status=False)
    family = Family(spec["group"], stored, converter or SameFields(), since, indexing, nodes)
    verbs = TERMINATING_VERBS if terminating else VERBS
    made = {version["name"]: _resource(family, spec, names, version, verbs) for version in versions}
    return [made[v["name"]] for v in versions if v.get("served")], made[stored]


def _resource(family: Family, spec: Json, names: Json, version: Json, verbs: tuple[str, ...]) -> Resource:
    name = version["name"]
    parts = version.get("subresources") or {}
    subresources = {}
    if "status" in parts:
        subresources["status"] = Subresource("status", names["kind"], PART_VERBS)
    if "scale" in parts:
        subresources["scale"] = Subresource("scale", "Scale", PART_VERBS, "autoscaling", "v1")
    namespaced = spec["scope"] == "Namespaced"
    fields = tuple(f["jsonPath"] for f in version.get("selectableFields") or ())
    node = family.nodes[name]
    scale = parts.get("scale")
    served = Served(
        family,
        name,
        names["kind"],
        names.get("listKind") or names["kind"] + "List",
        node,
        DefinedStrategy(node, fields, namespaced=namespaced, has_status="status" in parts),
        printing.printer(version.get("additionalPrinterColumns") or ()),
        (scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath")) if scale else None,
        _deprecation(family.group, name, names["kind"], version),
    )
    return Resource(
        spec["group"],
        name,
        names["plural"],
        names["kind"],
        names.get("singular") or names["kind"].lower(),
        namespaced,
        verbs,
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        MappingProxyType(subresources),
        storage=GVR(spec["group"], "", names["plural"]),  # one place for all versions, whichever is written
        definition=served,
    )


def _deprecation(group: str, version: str, kind: str, spec: Json) -> str | None:
    if not spec.get("deprecated"):
        return None
    return spec.get("deprecationWarning") or f"{group}/{version} {kind} is deprecated"
