"""Pruning: fields that no schema knows are dropped, and named for `fieldValidation`.

`x-kubernetes-preserve-unknown-fields` keeps what is below a value, except where properties of it are specified
again. Objects that are resources (the root, embedded resources) always keep apiVersion, kind and metadata; the
metadata is that of every Kubernetes object, so its types are checked as the decoder does.
Follows apiextensions-apiserver ``pkg/apiserver/schema/pruning`` and ``objectmeta``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shirube.api import schema as schemas
from shirube.api.crd.structural import IDENTITY, OBJECT_META, Node


class Pruned(NamedTuple):
    """Paths of the fields that went, and what is wrong with metadata, in the decoder's words."""

    unknown: list[str]
    wrong: list[str]


def prune(obj: Any, node: Node) -> Pruned:
    """Drop unknown fields in place."""
    found = Pruned([], [])
    _prune(obj, node, "", found)
    return found


def _prune(value: Any, node: Node, path: str, found: Pruned) -> None:
    if isinstance(value, dict):
        _prune_object(value, node, path, found)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            _prune(item, node.items, f"{path}[{index}]", found)
    elif isinstance(value, list) and not node.preserve:
        for index, item in enumerate(value):
            _prune(item, _NOTHING, f"{path}[{index}]", found)


_NOTHING = Node({})


def _prune_object(value: dict[str, Any], node: Node, path: str, found: Pruned) -> None:
    for key in list(value):
        below = f"{path}.{key}" if path else key
        if node.resource and key in IDENTITY:
            if key == "metadata" and isinstance(value[key], dict):
                _prune_metadata(value, below, found)
            continue
        child = node.child(key)
        if child is not None:
            _prune(value[key], child, below, found)
        elif node.additional is not True and not node.preserve:
            found.unknown.append(below)
            del value[key]


def _prune_metadata(holder: dict[str, Any], path: str, found: Pruned) -> None:
    checked, unknown, wrong, _ = schemas.check_value(schemas.definition(OBJECT_META), holder["metadata"])
    holder["metadata"] = checked
    found.unknown.extend(f"{path}.{field}" for field in unknown)
    found.wrong.extend(error.message for error in wrong)
