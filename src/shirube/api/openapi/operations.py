"""What can be done with a resource, as OpenAPI tells it: paths, methods, parameters, bodies and answers.

Derived from a `Resource` alone, for built-in and custom resources alike, and free of a version of OpenAPI:
`version2` and `version3` write the same operations in their two ways. Names of operations, tags and
descriptions are upstream's: generated clients take their method names from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from shirube.api.openapi import parameters
from shirube.api.resources import Resource, Subresource

GVK = tuple[str, str, str]

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
CBOR: Final = "application/cbor"
MEDIA: Final = (JSON, YAML, PROTOBUF, CBOR)
WATCH_MEDIA: Final = (*MEDIA, f"{JSON};stream=watch", f"{PROTOBUF};stream=watch", "application/cbor-seq")
CUSTOM_MEDIA: Final = (JSON, YAML)
CUSTOM_WATCH_MEDIA: Final = (JSON, YAML)
PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
)
CUSTOM_PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)

STATUS: Final[GVK] = ("", "v1", "Status")
DELETE_OPTIONS: Final[GVK] = ("", "v1", "DeleteOptions")
WATCH_EVENT: Final[GVK] = ("", "v1", "WatchEvent")
PATCH: Final[GVK] = ("meta.k8s.io", "v1", "Patch")
TEXT: Final[GVK] = ("", "", "")  # an answer without a schema

RETURNS_DELETED: Final = frozenset(
    {
        "persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "resourcequotas",
        "serviceaccounts", "services",
        "deviceclasses.resource.k8s.io", "resourceclaims.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io", "resourceslices.resource.k8s.io",
        "csidrivers.storage.k8s.io", "csinodes.storage.k8s.io", "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io", "volumeattributesclasses.storage.k8s.io",
    }
)  # fmt: skip
"""Resources whose DELETE answers with the object instead of a Status."""


@dataclass(slots=True)
class Operation:
    """One method of one path. `answers` maps status codes to the kind of the answer."""

    id: str
    action: str
    description: str
    gvk: GVK
    tag: str
    answers: Mapping[str, GVK]
    parameters: tuple[str, ...] = ()
    body: GVK | None = None
    body_required: bool = True
    consumes: tuple[str, ...] = ("*/*",)
    produces: tuple[str, ...] = MEDIA


@dataclass(slots=True)
class PathItem:
    """The operations of a path, and the parameters that all of them have because they are in the path."""

    path: str
    parameters: tuple[str, ...]
    operations: dict[str, Operation] = field(default_factory=dict)


def camel_group(group: str) -> str:
    """The group in names of operations: "" is Core, "rbac.authorization.k8s.io" RbacAuthorization."""
    words = group.removesuffix(".k8s.io").split(".") if group else ["core"]
    return "".join(word[:1].upper() + word[1:] for word in words)


def tag(group: str, version: str = "") -> str:
    name = camel_group(group)
    name = name[:1].lower() + name[1:]
    return f"{name}_{version}" if version else name


def path_items(resource: Resource, *, custom: bool = False) -> Iterator[PathItem]:
    """All paths of a resource and its subresources that lead anywhere."""
    writer = _Writer(resource, custom)
    yield from writer.collection()
    yield from writer.item()
    for sub in resource.subresources.values():
        yield from writer.subresource(sub)
    if "watch" in resource.verbs and not custom:
        yield from writer.watches()


class _Writer:
    def __init__(self, resource: Resource, custom: bool) -> None:
        self.resource = resource
        self.custom = custom
        self.gvk: GVK = (resource.group, resource.version, resource.kind)
        self.tag = tag(resource.group, resource.version)
        self.prefix = ("/apis/" if resource.group else "/api/") + resource.group_version
        self.scope = ("/namespaces/{namespace}",) if resource.namespaced else ("",)
        self.group = camel_group(resource.group) + resource.version[:1].upper() + resource.version[1:]
        self.namespaced = "Namespaced" if resource.namespaced else ""
        self.in_path = (parameters.NAMESPACE,) if resource.namespaced else ()
        self.media = CUSTOM_MEDIA if custom else MEDIA
        self.watch_media = CUSTOM_WATCH_MEDIA if custom else WATCH_MEDIA

    def operation(
        self, id_: str, action: str, description: str, answers: Mapping[str, GVK], **rest: object
    ) -> Operation:
        options: dict = {"gvk": self.gvk, "produces": self.media, **rest}
        return Operation(id_, action, description, tag=self.tag, answers=answers, **options)

    @property
    def path(self) -> str:
        return f"{self.prefix}{self.scope[0]}/{self.resource.name}"

    def collection(self) -> Iterator[PathItem]:
        kind, verbs = self.resource.kind, self.resource.verbs
        item = PathItem(self.path, (*self.in_path, parameters.PRETTY))
        if "list" in verbs:
            item.operations["get"] = self._list(f"list{self.group}{self.namespaced}{kind}")
        if "create" in verbs:
            item.operations["post"] = self._create(
                f"create{self.group}{self.namespaced}{kind}", f"create {_a(kind)}", self.gvk
            )
        if "deletecollection" in verbs:
            item.operations["delete"] = self.operation(
                f"delete{self.group}Collection{self.namespaced}{kind}",
                "deletecollection",
                f"delete collection of {kind}",
                {"200": STATUS},
                parameters=parameters.DELETE_COLLECTION,
                body=DELETE_OPTIONS,
                body_required=False,
            )
        if item.operations:
            yield item
        if self.resource.namespaced and "list" in verbs:
            everywhere = PathItem(f"{self.prefix}/{self.resource.name}", (parameters.PRETTY,))
            everywhere.operations["get"] = self._list(f"list{self.group}{kind}ForAllNamespaces")
            yield everywhere

    def _list(self, id_: str) -> Operation:
        group, version, kind = self.gvk
        watched = "list or watch" if "watch" in self.resource.verbs else "list"
        return self.operation(
            id_,
            "list",
            f"{watched} objects of kind {kind}",
            {"200": (group, version, self.resource.list_kind)},
            parameters=parameters.LIST,
            produces=self.watch_media,
        )

    def _create(self, id_: str, description: str, gvk: GVK) -> Operation:
        return self.operation(
            id_,
            "post",
            description,
            {"200": gvk, "201": gvk, "202": gvk},
            gvk=gvk,
            parameters=parameters.WRITE,
            body=gvk,
        )

    def _read(self, id_: str, description: str, gvk: GVK) -> Operation:
        return self.operation(id_, "get", description, {"200": gvk}, gvk=gvk)

    def _replace(self, id_: str, description: str, gvk: GVK) -> Operation:
        answers = {"200": gvk, "201": gvk}
        return self.operation(id_, "put", description, answers, gvk=gvk, parameters=parameters.WRITE, body=gvk)

    def _patch(self, id_: str, description: str, gvk: GVK) -> Operation:
        return self.operation(
            id_,
            "patch",
            description,
            {"200": gvk, "201": gvk},
            gvk=gvk,
            parameters=parameters.PATCH,
            body=PATCH,
            consumes=CUSTOM_PATCHES if self.custom else PATCHES,
        )

    def _of_object(self, verbs: tuple[str, ...], gvk: GVK, name: str, part: str) -> dict[str, Operation]:
        """Get, put and patch of an object, or of a part of it ("status of ")."""
        kind = self.resource.kind
        made = {}
        if "get" in verbs:
            made["get"] = self._read(f"read{self.group}{name}", f"read {part}the specified {kind}", gvk)
        if "update" in verbs:
            made["put"] = self._replace(f"replace{self.group}{name}", f"replace {part}the specified {kind}", gvk)
        if "patch" in verbs:
            made["patch"] = self._patch(f"patch{self.group}{name}", f"partially update {part}the specified {kind}", gvk)
        return made

    def item(self) -> Iterator[PathItem]:
        kind = self.resource.kind
        name = f"{self.namespaced}{kind}"
        item = PathItem(f"{self.path}/{{name}}", (f"name:{kind}", *self.in_path, parameters.PRETTY))
        item.operations = self._of_object(self.resource.verbs, self.gvk, name, "")
        if "delete" in self.resource.verbs:
            answer = self.gvk if self.resource.group_resource in RETURNS_DELETED else STATUS
            item.operations["delete"] = self.operation(
                f"delete{self.group}{name}",
                "delete",
                f"delete {_a(kind)}",
                {"200": answer, "202": answer},
                parameters=parameters.DELETE,
                body=DELETE_OPTIONS,
                body_required=False,
            )
        if item.operations:
            yield item

    def subresource(self, sub: Subresource) -> Iterator[PathItem]:
        if sub.kind in parameters.CONNECT:
            yield from self._connect(sub)
            return
        kind = self.resource.kind
        gvk = (sub.group or self.resource.group, sub.version or self.resource.version, sub.kind)
        name = f"{self.namespaced}{kind}{_capital(sub.name)}"
        shared = (f"name:{sub.kind if sub.kind != kind else kind}", *self.in_path, parameters.PRETTY)
        item = PathItem(f"{self.path}/{{name}}/{sub.name}", shared)
        item.operations = self._of_object(sub.verbs, gvk, name, f"{sub.name} of ")
        if "create" in sub.verbs:
            item.operations["post"] = self._create(f"create{self.group}{name}", f"create {sub.name} of {_a(kind)}", gvk)
        if sub.name == "log":
            log = item.operations["get"]
            log.answers = {"200": TEXT}
            log.parameters = parameters.LOG
            log.produces = ("text/plain", *self.media)
        yield item

    def _connect(self, sub: Subresource) -> Iterator[PathItem]:
        """Upgrades and proxies: any method that the verbs stand for, nothing but the path and the options."""
        methods = ["get", "post"]
        if "delete" in sub.verbs:
            methods = ["get", "put", "post", "patch", "delete", "head", "options"]
        kind, options = self.resource.kind, parameters.CONNECT[sub.kind]
        variants = [("", "")]
        if sub.name == "proxy":
            variants.append(("/{path}", "WithPath"))
        for suffix, with_path in variants:
            shared = (f"name:{sub.kind}", *self.in_path, *options)
            if suffix:
                shared += (parameters.REST_OF_PATH,)
            item = PathItem(f"{self.path}/{{name}}/{sub.name}{suffix}", shared)
            for method in methods:
                name = f"{_capital(method)}{self.namespaced}{kind}{_capital(sub.name)}{with_path}"
                item.operations[method] = self.operation(
                    f"connect{self.group}{name}",
                    "connect",
                    f"connect {method.upper()} requests to {sub.name} of {kind}",
                    {"200": TEXT},
                    gvk=(self.resource.group, self.resource.version, sub.kind),
                    produces=("*/*",),
                )
            yield item

    def watches(self) -> Iterator[PathItem]:
        """The watch paths of old, which upstream still serves and still calls deprecated."""
        kind, name = self.resource.kind, self.resource.name
        shared = (parameters.PRETTY, *parameters.LIST)
        many = (
            f"watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list "
            "operation instead."
        )
        one = (
            f"watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list "
            "operation instead, filtered to a single item with the 'fieldSelector' parameter."
        )
        base = f"{self.prefix}/watch{self.scope[0]}/{name}"
        rows = [
            (base, self.in_path, "watchlist", f"watch{self.group}{self.namespaced}{kind}List", many),
            (
                base + "/{name}",
                (f"name:{kind}", *self.in_path),
                "watch",
                f"watch{self.group}{self.namespaced}{kind}",
                one,
            ),
        ]
        if self.resource.namespaced:
            everywhere = f"watch{self.group}{kind}ListForAllNamespaces"
            rows.append((f"{self.prefix}/watch/{name}", (), "watchlist", everywhere, many))
        for path, extra, action, id_, description in rows:
            item = PathItem(path, (*extra, *shared))
            item.operations["get"] = self.operation(
                id_, action, description, {"200": WATCH_EVENT}, produces=self.watch_media
            )
            yield item


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _a(kind: str) -> str:
    """The kind with its article; a plural kind (Endpoints) has none."""
    if kind.endswith("s") and not kind.endswith(("ss", "us")):
        return kind
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"
