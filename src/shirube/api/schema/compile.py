"""Compile the published definitions into the cache that servers read: `python -m shirube.api.schema.compile`.

The installer runs it; otherwise whoever first needs a schema does (`shirube.api.schema.cache`). The result is a
folder that is written beside its place and renamed into it, so that several processes may compile at once and a
reader never sees half of it:

- `index`: marshal of {"definitions": {name: (offset, length)}, "kinds": {(group, version, kind): name}}
- `types`: marshal of one row per definition, at those offsets. A row is a dict with the attributes of
  `types.Type`; a reference to another definition is {"ref": name, …overrides}.
- `openapi/…`: fragments and whole documents for `shirube.api.openapi`.

Marshal needs no parsing and keeps tuples; the folder's name includes the interpreter's version because marshal's
format belongs to it. A pod's 134 definitions are read and linked in 2.5 ms.
"""

from __future__ import annotations

import marshal
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shirube.api.openapi import build as openapi
from shirube.api.schema import cache, definitions, supplement


def main() -> None:
    folder = cache.folder()
    if not (folder / "index").is_file():
        build(folder)
    sys.stdout.write(f"{folder}\n")


def build(folder: Path) -> None:
    """Write the cache into `folder`; when another process was faster its result stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".schema-", dir=folder.parent))
    try:
        defs = definitions.load()
        kinds = _kinds(defs)
        index = {"definitions": _write_types(work, defs), "kinds": kinds}
        openapi.write(work / "openapi", defs, kinds)
        (work / "index").write_bytes(marshal.dumps(index))
        work.chmod(0o755)
        try:
            work.rename(folder)
        except OSError:
            if not (folder / "index").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _forget_old(folder)


def _forget_old(folder: Path, keep: int = 3) -> None:
    """Old caches are of no use to a newer program; a few stay for processes that are still running on them."""
    others = [p for p in folder.parent.glob("schema-*") if p != folder]
    for old in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[keep:]:
        shutil.rmtree(old, ignore_errors=True)


def _kinds(defs: definitions.Definitions) -> dict[tuple[str, str, str], str]:
    kinds = dict(definitions.kinds(defs))
    for name in supplement.MESSAGES:
        kinds.setdefault(("meta.k8s.io", "v1", name.rpartition(".")[2]), name)
    return kinds


def _write_types(folder: Path, defs: definitions.Definitions) -> dict[str, tuple[int, int]]:
    """Write the rows; answers where each is."""
    offsets: dict[str, tuple[int, int]] = {}
    with (folder / "types").open("wb") as out:
        for name, schema in defs.items():
            row = marshal.dumps(definition_row(name, schema))
            offsets[name] = (out.tell(), len(row))
            out.write(row)
    return offsets


def definition_row(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a definition; see the module's docstring."""
    if name == supplement.QUANTITY:
        return {"kind": "quantity", "name": name}
    if name == supplement.INT_OR_STRING:
        return {"kind": "int-or-string", "name": name, "format": "int-or-string"}
    if name in (supplement.TIME, supplement.MICRO_TIME):
        return {"kind": "string", "name": name, "format": "date-time"}
    if name in supplement.ANY:
        return {"kind": "any", "name": name, "preserve_unknown": True}
    row = {"kind": "object", "name": name, **_merging(schema)}
    row["properties"] = {field: _field_row(name, field, prop) for field, prop in schema.get("properties", {}).items()}
    if required := schema.get("required"):
        row["required"] = tuple(required)
    return row


def _field_row(definition: str, field: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    row = _value_row(schema)
    if (definition, field) in supplement.DEFAULTS:
        row["default"] = supplement.DEFAULTS[definition, field]
    if enum := supplement.ENUMS.get((definition, field)):
        row["enum"] = enum
    return row


def _value_row(schema: Mapping[str, Any]) -> dict[str, Any]:
    merging = _merging(schema)
    if "$ref" in schema:
        return {"ref": schema["$ref"], **merging}
    kind = schema.get("type")
    if kind == "array":
        return {"kind": "list", "items": _value_row(schema["items"]), **merging}
    if kind == "object":
        return {"kind": "map", "items": _value_row(schema["additionalProperties"]), **merging}
    if kind is None:
        return {"kind": "any", "preserve_unknown": True}
    row = {"kind": kind, **merging}
    if "format" in schema:
        row["format"] = schema["format"]
    return row


def _merging(schema: Mapping[str, Any]) -> dict[str, Any]:
    """How patches and apply merge a value."""
    row: dict[str, Any] = {}
    if value := schema.get("x-kubernetes-list-type"):
        row["list_type"] = value
    if value := schema.get("x-kubernetes-list-map-keys"):
        row["list_map_keys"] = tuple(value)
    if value := schema.get("x-kubernetes-map-type"):
        row["map_type"] = value
    if value := schema.get("x-kubernetes-patch-strategy"):
        row["patch_strategy"] = tuple(value.split(","))
    if value := schema.get("x-kubernetes-patch-merge-key"):
        row["patch_merge_key"] = value
    return row


if __name__ == "__main__":
    main()
