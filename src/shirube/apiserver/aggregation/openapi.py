"""OpenAPI v2 documents of aggregated servers mixed into ours. Pure: from parsed documents to bytes.

Of each server's document only the paths of its group version count, with the definitions that they lead to. A name that
means something else with us gets a number, as upstream's aggregator does it (`X_v2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

Json = dict[str, Any]
_PREFIX = "#/definitions/"


def mixed(ours: bytes, theirs: Iterable[tuple[str, Json]]) -> bytes:
    """`theirs`: (path of the group version, the server's whole document) each."""
    document: Json = orjson.loads(ours)
    for prefix, other in theirs:
        _add(document, relevant(prefix, other))
    return orjson.dumps(document)


def relevant(prefix: str, document: Json) -> Json:
    """The paths below `prefix` and the definitions that they need."""
    paths = document.get("paths")
    paths = paths if isinstance(paths, dict) else {}
    kept = {path: item for path, item in paths.items() if path.rstrip("/") == prefix or path.startswith(f"{prefix}/")}
    definitions = document.get("definitions")
    definitions = definitions if isinstance(definitions, dict) else {}
    needed: dict[str, Any] = {}
    queue = list(_references(kept))
    while queue:
        name = queue.pop()
        if name in needed or name not in definitions:
            continue
        needed[name] = definitions[name]
        queue += _references(definitions[name])
    return {"paths": kept, "definitions": needed}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            if key == "$ref" and isinstance(child, str) and child.startswith(_PREFIX):
                yield child.removeprefix(_PREFIX)
            else:
                yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _add(document: Json, more: Json) -> None:
    definitions, paths = document.setdefault("definitions", {}), document.setdefault("paths", {})
    names: dict[str, str] = {}
    for name, schema in more["definitions"].items():
        if name in definitions and definitions[name] != schema:
            names[name] = _free(name, {*definitions, *more["definitions"]})
    for name, schema in more["definitions"].items():
        definitions[names.get(name, name)] = _renamed(schema, names)
    for path, item in more["paths"].items():
        paths.setdefault(path, _renamed(item, names))


def _free(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_v{number}" in taken:
        number += 1
    return f"{name}_v{number}"


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not names:
        return value
    if isinstance(value, dict):
        return {
            key: _PREFIX + names.get(child.removeprefix(_PREFIX), child.removeprefix(_PREFIX))
            if key == "$ref" and isinstance(child, str) and child.startswith(_PREFIX)
            else _renamed(child, names)
            for key, child in value.items()
        }
    if isinstance(value, list):
        return [_renamed(child, names) for child in value]
    return value
