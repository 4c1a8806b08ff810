"""Defaulting: what an object leaves out is filled in from its schema, in place.

A null where null is not allowed is the same as nothing: it takes the default, or goes when there is none. Happens
when a request is decoded (defaults of the version asked for) and when an object is read from storage (those of
the version stored). Follows apiextensions-apiserver ``pkg/apiserver/schema/defaulting``.
"""

from __future__ import annotations

import marshal
from typing import Any

from shirube.api.crd.structural import Node
from shirube.api.schema import MISSING


def default(value: Any, node: Node) -> None:
    """Fill in defaults at and below `value`."""
    if isinstance(value, dict):
        for name, child in node.properties.items():
            if name in value:
                if value[name] is None and not child.nullable:
                    if child.default is MISSING:
                        if not (node.resource and name == "metadata"):
                            del value[name]
                        continue
                    value[name] = fresh(child.default)
            elif child.default is not MISSING:
                value[name] = fresh(child.default)
            else:
                continue
            default(value[name], child)
        if isinstance(node.additional, Node):
            _default_map(value, node, node.additional)
    elif isinstance(value, list) and node.items is not None:
        items = node.items
        for index, item in enumerate(value):
            if item is None and not items.nullable and items.default is not MISSING:
                value[index] = fresh(items.default)
            default(value[index], items)


def _default_map(value: dict[str, Any], node: Node, items: Node) -> None:
    for key in [k for k in value if k not in node.properties]:
        if value[key] is None and not items.nullable:
            if items.default is MISSING:
                del value[key]
                continue
            value[key] = fresh(items.default)
        default(value[key], items)


def fresh(value: Any) -> Any:
    """A copy that its receiver may change."""
    return marshal.loads(marshal.dumps(value)) if isinstance(value, dict | list) else value  # noqa: S302 - our own
