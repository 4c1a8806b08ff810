"""The field tables of the Kubernetes protobuf encoding, read when first needed.

`wire/kubernetes.json` says for each message `"<number> <JSON name> <type>; …"`. The name `+` is a Go struct embedded
into its parent: its fields are the parent's in JSON. Types: `string int32 int64 bool double bytes`, `map<T>` (keys are
strings), a message (`.PodSpec` is of the same package), and forms whose JSON is not that of a message:
`quantity time micro-time int-or-string json raw strings schema-or-…` (see `protobuf_forms`). `*` before a type: a list.
`!` after a type: zero values are kept when decoding, see `protobuf_decode`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple

import orjson

SCALARS = frozenset(("string", "int32", "int64", "bool", "double", "bytes"))
FORMS = frozenset(
    (
        "quantity",
        "time",
        "micro-time",
        "int-or-string",
        "json",
        "raw",
        "strings",
        "schema-or-array",
        "schema-or-bool",
        "schema-or-strings",
    )
)


class Field(NamedTuple):
    number: int
    name: str  # "+" when embedded
    type: str  # a scalar, a form, or the full name of a message
    repeated: bool
    map: bool
    keep_zero: bool


class Tables(NamedTuple):
    messages: dict[str, str]
    kinds: dict[tuple[str, str], str]  # (apiVersion, kind) -> message
    any_group: frozenset[str]  # kinds that exist in every group version


@lru_cache(maxsize=1)
def tables() -> Tables:
    text = resources.files("shirube.api").joinpath("wire/kubernetes.json").read_bytes()
    data: dict[str, Any] = orjson.loads(text)
    kinds = {
        (api_version, kind): f"{package}.{kind}"
        for api_version, packages in data["kinds"].items()
        for package, names in packages.items()
        for kind in names.split()
    }
    return Tables(data["messages"], kinds, frozenset(data["any group"]))


def message_of(api_version: str, kind: str) -> str | None:
    """The full name of the message of a kind, None for kinds that have none (custom resources, Table)."""
    found = tables().kinds.get((api_version, kind))
    if found is None and kind in tables().any_group:
        return f"meta.v1.{kind}"
    return found


def fields(message: str) -> list[Field]:
    """The fields of a message, in number order."""
    spec = tables().messages[message]
    package = message.rpartition(".")[0]
    return [_field(part, package) for part in spec.split("; ")] if spec else []


def _field(text: str, package: str) -> Field:
    number, name, type = text.split(" ")
    keep = type.endswith("!")
    type = type.removesuffix("!")
    repeated = type.startswith("*")
    type = type.removeprefix("*")
    is_map = type.startswith("map<")
    if is_map:
        type = type[4:-1]
    if type.startswith("."):
        type = package + type
    return Field(int(number), name, type, repeated, is_map, keep)
