"""Fields of an applied object that its schema does not know, by the paths that upstream's merge calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shirube.api import schema

Json = dict[str, Any]


def paths(obj: Json, type_: schema.Type) -> Iterator[str]:
    """`.spec.template.spec.containers[name="c"].foo`, in the order of the text."""
    if type_.kind == "object":
        for key, value in obj.items():
            known = type_.properties.get(key)
            if known is not None:
                yield from _below(value, known, f".{key}")
            elif not type_.preserve_unknown:
                yield f".{key}"


def _below(value: Any, type_: schema.Type, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if type_.kind == "object":
            yield from (path + one for one in paths(value, type_))
        elif type_.items is not None:
            for key, inner in value.items():
                yield from _below(inner, type_.items, f"{path}.{key}")
    elif isinstance(value, list) and type_.items is not None:
        for i, inner in enumerate(value):
            yield from _below(inner, type_.items, path + _element(inner, i, type_))


def _element(item: Any, index: int, type_: schema.Type) -> str:
    """How the merge tells an item of a list: by its keys where it has them."""
    if type_.list_type != "map" or not isinstance(item, dict):
        return f"[{index}]"
    known = type_.items.properties if type_.items is not None else {}
    keys = {k: item.get(k, known[k].default if k in known else None) for k in type_.list_map_keys}
    shown = ",".join(f"{k}={orjson.dumps(v).decode()}" for k, v in sorted(keys.items()) if not _missing(v))
    return f"[{shown}]"


def _missing(value: Any) -> bool:
    return not isinstance(value, str | int | float | bool)
