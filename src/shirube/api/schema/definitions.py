"""Upstream's published definitions, read for compiling. Never imported by a server process.

`kubernetes-validate` ships the OpenAPI definitions of each release as JSON schema. This module takes those that
the built-in resources reach and undoes what the package did to them (every type nullable, `oneOf` for the types
with a JSON form of their own, `enum` on `apiVersion` and `kind`), which gives upstream's OpenAPI v2
definitions back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shirube.api.groups import OPTIONAL, TABLES
from shirube.api.groups.row import GroupTable
from shirube.api.schema.cache import source_file
from shirube.api.schema.supplement import INT_OR_STRING, MESSAGES, QUANTITY

Definitions = dict[str, dict[str, Any]]
_REF = "#/$defs/"


def load() -> Definitions:
    """Definitions in OpenAPI v2 form, names to schemas with references by bare name in `$ref`."""
    raw = json.loads(source_file().read_bytes())["$defs"]
    restored = {name: _restore(schema) for name, schema in raw.items()}
    restored.update(_OWN_JSON)
    return reachable(restored, (*TABLES, *OPTIONAL))


_OWN_JSON: Definitions = {
    QUANTITY: {
        "description": "An exact amount: a decimal number, as a JSON string or number, with a suffix of powers of "
        "1024 (Ki, Mi, Gi, Ti, Pi, Ei), of powers of 1000 (n, u, m, k, M, G, T, P, E) or an exponent (e3, E3). "
        "Answers have no fraction and the largest suffix that loses nothing: 1.5Gi is 1536Mi, 0.5 is 500m.",
        "type": "string",
    },
    INT_OR_STRING: {
        "description": "A number of 32 bits or a string: a port by number or name, an amount or a percentage.",
        "type": "string",
        "format": "int-or-string",
    },
}


def kinds(definitions: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[tuple[str, str, str], str]]:
    """(group, version, kind) and the name of its definition."""
    for name, schema in definitions.items():
        for gvk in schema.get("x-kubernetes-group-version-kind", ()):
            yield (gvk["group"], gvk["version"], gvk["kind"]), name


def _restore(schema: dict[str, Any]) -> dict[str, Any]:
    """One schema without nullability and without enums on the identity of kinds."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, list):
            out[key] = next(t for t in value if t != "null")
        elif key == "$ref":
            out[key] = value.removeprefix(_REF)
        elif key == "enum":
            continue
        elif key == "properties":
            out[key] = {name: _restore(prop) for name, prop in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            out[key] = _restore(value)
        else:
            out[key] = value
    return out


def reachable(definitions: Definitions, tables: Iterable[GroupTable]) -> Definitions:
    """What the resources of some tables, and the messages about them, refer to."""
    served = {(table.group, table.version) for table in tables}
    queue = [name for (group, version, _), name in kinds(definitions) if (group, version) in served]
    queue += MESSAGES
    found: set[str] = set()
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += references(definitions[name])
    return {name: definitions[name] for name in sorted(found)}


def references(schema: Mapping[str, Any]) -> Iterator[str]:
    """The definitions that a schema refers to directly."""
    if ref := schema.get("$ref"):
        yield ref
    for prop in schema.get("properties", {}).values():
        yield from references(prop)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from references(schema[key])
