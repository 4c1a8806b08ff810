"""Protobuf messages from a table, without generated code.

A table (JSON, beside the code that speaks the protocol) keeps one line a message: `field=number:type`, `*` for
repeated, `map<key,value>` for maps; and one line a call: `[service, request, response]`. From it a descriptor pool is
built when the process starts (3 ms).

A message takes its fields as keywords; nested messages as dicts, enum values by name.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
}


class Call(NamedTuple):
    path: str  # "/runtime.v1.RuntimeService/RunPodSandbox"
    request: Any  # message class
    response: Any
    streaming: bool  # the server answers with a stream


class Protocol:
    """The messages and calls of one table."""

    def __init__(self, package_name: str, file_name: str) -> None:
        """`file_name` is a table in the Python package `package_name`."""
        table = json.loads(resources.files(package_name).joinpath(file_name).read_text())
        package = table["package"]
        pool = descriptor_pool.DescriptorPool()
        pool.Add(_file(file_name, package, table["messages"], table["enums"]))
        self._classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in table["messages"]
        }
        self.calls = {
            name: Call(f"/{package}.{service}/{name}", self[request], self[response], bool(kind))
            for name, (service, request, response, *kind) in table["calls"].items()
        }

    def __getitem__(self, name: str) -> Any:
        """The class of the message `name`."""
        return self._classes[name]


def _file(
    name: str, package: str, messages: dict[str, str], enums: dict[str, dict[str, int]]
) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for enum_name, values in enums.items():
        enum = file.enum_type.add(name=enum_name)
        for label, number in sorted(values.items(), key=lambda item: item[1]):
            enum.value.add(name=label, number=number)
    for message_name, fields in messages.items():
        message = file.message_type.add(name=message_name)
        for field in fields.split():
            _add_field(message, package, enums, field)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, package: str, enums: dict[str, Any], text: str) -> None:
    name, _, rest = text.partition("=")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.endswith("*"):
        field.label = _Field.LABEL_REPEATED
        kind = kind[:-1]
    if kind.startswith("map<"):
        key, _, value = kind[4:-1].partition(",")
        entry_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        _add_field(entry, package, enums, f"key=1:{key}")
        _add_field(entry, package, enums, f"value=2:{value}")
        field.label = _Field.LABEL_REPEATED
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{message.name}.{entry_name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind in enums else _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
