"""`kubectl get` of custom resources: the name, then `additionalPrinterColumns`, or the age when there are none.

Follows apiextensions-apiserver ``pkg/registry/customresource/tableconvertor``: a path that is not there, or whose
value is not of the column's type, is an empty cell; dates are shown as ages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from shirube.api.crd import json_path
from shirube.api.crd.json_path import Step
from shirube.api.printers import CUSTOM
from shirube.api.printers.column import NAME, Column, Obj, Printer
from shirube.api.printers.duration import since

Json = dict[str, Any]

_NO_DATE = "<unknown>"
_DESCRIBED = "Custom resource definition column (in JSONPath format): "


def printer(columns: Sequence[Json]) -> Printer:
    """How the objects of a version are printed."""
    if not columns:
        return CUSTOM
    heads = [NAME]
    paths: list[tuple[str, tuple[Step, ...]]] = []
    for column in columns:
        described = column.get("description") or f"{_DESCRIBED}{column['jsonPath']}"
        kind = column["type"]
        heads.append(Column(column["name"], described, kind, column.get("format") or "", column.get("priority") or 0))
        paths.append((kind, _path(column["jsonPath"])))

    def cells(obj: Obj, now: float) -> list[Any]:
        name = (obj.get("metadata") or {}).get("name", "")
        return [name, *(_cell(json_path.find(obj, path), kind, now) for kind, path in paths)]

    return Printer(tuple(heads), cells)


def _path(text: str) -> tuple[Step, ...]:
    """A path that we cannot follow leads nowhere: its column stays empty."""
    try:
        return json_path.parse(text)
    except ValueError:
        return (Step("field", "\x00"),)


def _cell(found: list[Any], kind: str, now: float) -> Any:
    value = found[0] if found else None
    if value is None:
        return None
    if kind == "string":
        if len(found) > 1:
            return orjson.dumps(found).decode()
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    if kind == "date":
        return since(value, now) if isinstance(value, str) else _NO_DATE
    wanted: Any = {"integer": (int, float), "number": (int, float), "boolean": bool}[kind]
    if not isinstance(value, wanted) or (kind != "boolean" and isinstance(value, bool)):
        return None
    return int(value) if kind == "integer" else value
