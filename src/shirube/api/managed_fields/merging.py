"""Server-side apply on values: merging a configuration into an object, and taking out what it gave up.

`merge` lays an applied configuration over a live object by its type: maps by key, granular lists by item,
everything else replaced. `prune` removes fields that the applier owned before and no longer names, unless
somebody owns them. Both change their first argument in place. Follows sigs.k8s.io/structured-merge-diff
(`typed/merge.go`, `merge/update.go`).
"""

from __future__ import annotations

from typing import Any

from shirube.api.managed_fields.nodes import Listing, Node, Struct
from shirube.api.managed_fields.sets import EMPTY, FieldSet

_REMOVED = object()


# ---------------------------------------------------------------------------------- merge


def merge(live: Any, applied: Any, node: Node) -> Any:
    """`live` under `applied`; nulls remove."""
    if isinstance(node, Struct) and type(applied) is dict:
        return _merge_map(live if type(live) is dict else {}, applied, node)
    if isinstance(node, Listing) and type(applied) is list:
        return _merge_list(live if type(live) is list else [], applied, node)
    return applied


def _merge_map(live: dict[str, Any], applied: dict[str, Any], node: Struct) -> dict[str, Any]:
    for key, value in applied.items():
        if value is None:
            live.pop(key, None)
        else:
            live[key] = merge(live.get(key), value, node.child(key))
    return live


def _merge_list(live: list[Any], applied: list[Any], node: Listing) -> list[Any]:
    """The configuration's items in its order; the object's other items keep their place before the next."""
    wanted = {node.element(item): item for item in applied}
    held: dict[str, Any] = {}
    for item in live:
        held.setdefault(node.element(item), item)
    merged: list[Any] = []
    done: set[str] = set()
    rest = iter(live)
    pending = next(rest, None)
    for element, item in wanted.items():
        while pending is not None and (known := node.element(pending)) != element:
            if known not in wanted:
                merged.append(pending)
            elif known not in done:
                break
            pending = next(rest, None)
        if pending is not None and node.element(pending) == element:
            pending = next(rest, None)
        merged.append(
            merge(held[element], item, node.item) if element in held and node.keys else merge(None, item, node.item)
        )
        done.add(element)
    while pending is not None:
        if node.element(pending) not in wanted:
            merged.append(pending)
        pending = next(rest, None)
    return merged


# ---------------------------------------------------------------------------------- prune


def prune(value: dict[str, Any], gave_up: FieldSet, owned: FieldSet, node: Node) -> None:
    """Take the members of `gave_up` out of an object, except what is in `owned`, others' sets included."""
    _prune(value, gave_up, owned, node)


def _prune(value: Any, gave_up: FieldSet, owned: FieldSet, node: Node) -> bool:
    """Whether anything was removed."""
    if isinstance(node, Struct) and type(value) is dict:
        return _prune_map(value, gave_up, owned, node)
    if isinstance(node, Listing) and type(value) is list:
        return _prune_list(value, gave_up, owned, node)
    return False


def _prune_map(
    value: dict[str, Any], gave_up: FieldSet, owned: FieldSet, node: Struct, keep: tuple[str, ...] = ()
) -> bool:
    removed = False
    for element, below in gave_up.items():
        if element[:2] != "f:":
            continue
        key = element[2:]
        if key not in value or key in keep:
            continue
        child = value[key]
        if _goes(child, below, owned.get(element), node.child(key)):
            del value[key]
            removed = True
    return removed


def _prune_list(value: list[Any], gave_up: FieldSet, owned: FieldSet, node: Listing) -> bool:
    kept = []
    for item in value:
        element = node.element(item)
        below = gave_up.get(element)
        if below is None:
            kept.append(item)
            continue
        others = owned.get(element)
        if others is None and _is_member(below):
            continue
        if below and type(item) is dict and isinstance(node.item, Struct):
            # The keys stay as long as the item does: it would be another one without them.
            _prune_map(item, below, others or EMPTY, node.item, keep=node.keys)
        kept.append(item)
    removed = len(kept) < len(value)
    value[:] = kept
    return removed


def _goes(child: Any, below: FieldSet, others: FieldSet | None, node: Node) -> bool:
    """Whether a field goes altogether; prunes what is inside it otherwise."""
    if others is None and _is_member(below):
        return True
    if node.leaf or not below:
        return False
    removed = _prune(child, below, others or EMPTY, node)
    return removed and others is None and not child


def _is_member(node: FieldSet) -> bool:
    return not node or "." in node
