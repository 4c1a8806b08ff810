"""From types to nodes: what of a `Type` is owned as a whole, and what part by part (`nodes`). Each is made once.

Upstream compares Go structs, where fields that are structs rather than pointers (`spec`, `strategy`) exist in
an empty object already, so nobody adds *them*: `_STRUCTS` has those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.api.managed_fields.nodes import LEAF_NODE, Deduced, Listing, Node, Struct
from shirube.api.schema.types import MISSING

if TYPE_CHECKING:
    from shirube.api.schema.types import Type


# Fields that are plain structs (or lists without omitempty) in upstream's Go types, by definition.
_STRUCTS: dict[str, tuple[str, ...]] = {
    "PodTemplateSpec": ("metadata", "spec"),
    "PodSpec": ("containers",),
    "DeploymentSpec": ("strategy", "template"),
    "DaemonSetSpec": ("template", "updateStrategy"),
    "StatefulSetSpec": ("template", "updateStrategy"),
    "ReplicaSetSpec": ("template",),
    "JobSpec": ("template",),
    "CronJobSpec": ("jobTemplate",),
    "JobTemplateSpec": ("metadata", "spec"),
    "ServiceStatus": ("loadBalancer",),
    "IngressStatus": ("loadBalancer",),
    "NodeStatus": ("daemonEndpoints", "nodeInfo"),
    "NodeDaemonEndpoints": ("kubeletEndpoint",),
    "PersistentVolumeClaimSpec": ("resources",),
    "Event": ("source",),
    "CustomResourceDefinitionSpec": ("names",),
    "CustomResourceDefinitionStatus": ("acceptedNames",),
    "VolumeAttachmentSpec": ("source",),
}
_ROOT_STRUCTS = ("metadata", "spec", "status")

_nodes: dict[tuple[Type, bool], Node] = {}
_MAX_NODES = 50_000
_DEDUCED = Deduced()

# Facts of the server and the identity of the object: nobody owns them (upstream's stripMeta).
_SERVER_METADATA = frozenset(
    (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    )
)


def root_of(type: Type) -> Struct:
    """The node of a whole object's type."""
    node = _node(type, True) if type.kind in ("object", "map") else None
    return node if isinstance(node, Struct) else _ANY_ROOT


def _node(type: Type, root: bool = False) -> Node:
    known = _nodes.get((type, root))
    if known is not None:
        return known
    if len(_nodes) > _MAX_NODES:  # types of custom resources that came and went
        _nodes.clear()
    if type.kind == "list":
        return _list_node(type)
    if type.kind == "any":
        node: Node = _DEDUCED if type.preserve_unknown else LEAF_NODE
        _nodes[type, root] = node
        return node
    if type.kind not in ("object", "map") or (type.map_type == "atomic" and not root):
        _nodes[type, root] = LEAF_NODE
        return LEAF_NODE
    return _struct_node(type, root)


def _struct_node(type: Type, root: bool) -> Node:
    if type.kind == "object" and not type.properties and not root:
        node: Node = _DEDUCED if type.preserve_unknown else LEAF_NODE
        _nodes[type, root] = node
        return node
    struct = Struct()
    _nodes[type, root] = struct  # before its parts: types are cyclic
    if type.kind == "map":
        struct.element = _node(type.items) if type.items is not None else LEAF_NODE
        return struct
    if type.preserve_unknown:
        struct.element = _DEDUCED
    for key, child in type.properties.items():
        struct.names[key] = "f:" + key
        node = _node(child)
        if not node.leaf:
            struct.children[key] = node
        elif type.preserve_unknown:
            struct.children[key] = LEAF_NODE
    name = (type.name or "").removeprefix("io.k8s.")
    built_in = name != (type.name or "")
    if built_in:
        struct.structs = tuple(k for k in _STRUCTS.get(name.rpartition(".")[2], ()) if k in struct.children)
    if root:
        struct.skipped = frozenset(("apiVersion", "kind"))
        if "metadata" in struct.children:
            struct.children["metadata"] = _metadata_node(type.properties["metadata"])
        if built_in:
            struct.structs += tuple(k for k in _ROOT_STRUCTS if k in struct.children)
        else:
            struct.structs += ("metadata",)
    return struct


def _metadata_node(type: Type) -> Node:
    """An object's own metadata, unlike a template's."""
    plain = _node(type)
    own = Struct()
    if not isinstance(plain, Struct):
        plain = _DEDUCED
    own.children = {k: v for k, v in plain.children.items() if k not in _SERVER_METADATA}
    own.names, own.element, own.skipped = plain.names, plain.element, _SERVER_METADATA
    return own


def _any_root() -> Struct:
    """The root of objects of no schema at all."""
    metadata, root = Struct(), Struct()
    metadata.element = root.element = _DEDUCED
    metadata.skipped = _SERVER_METADATA
    root.children = {"metadata": metadata}
    root.skipped = frozenset(("apiVersion", "kind"))
    root.structs = ("metadata",)
    return root


_ANY_ROOT = _any_root()


def _list_node(type: Type) -> Node:
    granular = type.items is not None and (type.list_type == "set" or (type.list_type == "map" and type.list_map_keys))
    if not granular or type.items is None:
        _nodes[type, False] = LEAF_NODE
        return LEAF_NODE
    listing = Listing()
    _nodes[type, False] = listing
    if type.list_type == "map":
        listing.keys = tuple(sorted(type.list_map_keys))
        listing.item = _node(type.items)
        for key in listing.keys:
            declared = type.items.properties.get(key)
            if declared is not None and declared.default is not MISSING:
                listing.defaults[key] = declared.default
    return listing
