"""The careful walk over a value that something is odd about: it knows where it is and can say what is wrong.

Slower than the compiled functions of `shirube.api.schema.check` by a factor of five, and used only after they have
given up. The rules are the same.
"""

from __future__ import annotations

from typing import Any

from shirube.api.schema import scalars
from shirube.api.schema.types import Type, TypeErrorInfo


class Inspection:
    """One walk; collects the paths of unknown fields and the wrong types."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.errors: list[TypeErrorInfo] = []
        self._fields: list[str] = []  # as Go's decoder counts them: without list indexes and map keys
        self._struct = ""

    def value(self, type_: Type, value: Any, path: str = "") -> Any:
        """The value as it is kept."""
        if type_.kind == "object":
            return self._object(type_, value, path)
        if type_.kind == "map":
            return self._map(type_, value, path)
        if type_.kind == "list":
            return self._list(type_, value, path)
        try:
            return scalars.reader(type_)(value)
        except scalars.Mismatch as mismatch:
            integer = type_.kind == "integer"
            self._wrong(path, scalars.json_kind(value, literal=integer), mismatch.go_type)
        except ValueError as error:
            self.errors.append(TypeErrorInfo(path, str(error)))
        return value

    def _object(self, type_: Type, value: Any, path: str) -> Any:
        if type(value) is not dict:
            self._wrong(path, scalars.json_kind(value), go_type(type_))
            return value
        outer, self._struct = self._struct, (type_.name or "").rpartition(".")[2]
        omitted = left_out_when_empty(type_)
        dropped = []
        for key, child in value.items():
            below = f"{path}.{key}" if path else key
            field = type_.properties.get(key)
            if field is None:
                if not type_.preserve_unknown:
                    self.unknown.append(below)
                    dropped.append(key)
            elif child is None:
                if not field.nullable:
                    dropped.append(key)
            elif not child and omitted.get(key) is type(child):
                dropped.append(key)
            else:
                self._fields.append(key)
                value[key] = self.value(field, child, below)
                self._fields.pop()
        for key in dropped:
            del value[key]
        self._struct = outer
        return value

    def _map(self, type_: Type, value: Any, path: str) -> Any:
        if type(value) is not dict:
            self._wrong(path, scalars.json_kind(value), go_type(type_))
            return value
        assert type_.items is not None
        for key, child in value.items():
            if child is None:
                value[key] = scalars.zero(type_.items)
            else:
                value[key] = self.value(type_.items, child, f"{path}.{key}" if path else key)
        return value

    def _list(self, type_: Type, value: Any, path: str) -> Any:
        if type(value) is not list:
            self._wrong(path, scalars.json_kind(value), go_type(type_))
            return value
        assert type_.items is not None
        for index, child in enumerate(value):
            if child is None:
                value[index] = scalars.zero(type_.items)
            else:
                value[index] = self.value(type_.items, child, f"{path}[{index}]")
        return value

    def _wrong(self, path: str, found: str, wanted: str) -> None:
        if self._fields:
            where = f"Go struct field {self._struct}.{'.'.join(self._fields)}"
        else:
            where = "Go value"
        self.errors.append(TypeErrorInfo(path, f"json: cannot unmarshal {found} into {where} of type {wanted}"))


# Lists that upstream prints although they are empty and nobody needs to give them, by definition.
_PRINTED: dict[str, tuple[str, ...]] = {
    "ClusterRole": ("rules",),
    "Role": ("rules",),
    "EndpointSlice": ("endpoints", "ports"),
    "HorizontalPodAutoscalerStatus": ("currentMetrics", "conditions"),
    "CustomResourceDefinitionStatus": ("conditions", "storedVersions"),
    "CSINodeDriver": ("topologyKeys",),
    "ResourcePolicyRule": ("namespaces",),
}


def left_out_when_empty(type_: Type) -> dict[str, type]:
    """The fields of a struct that are not printed when they are empty: {name: dict or list}."""
    name = (type_.name or "").rpartition(".")[2]
    kept = type_.required | frozenset(_PRINTED.get(name, ()))
    classes = {"map": dict, "list": list}
    return {
        field: classes[child.kind]
        for field, child in type_.properties.items()
        if child.kind in classes and field not in kept and not child.nullable
    }


def go_type(type_: Type) -> str:
    """The Go type that upstream's decoder would name."""
    if type_.kind == "list" and type_.items:
        return "[]" + go_type(type_.items)
    if type_.kind == "map" and type_.items:
        return "map[string]" + go_type(type_.items)
    if type_.kind == "object" and type_.name:
        package, _, name = type_.name.rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}"
    names = {"quantity": "resource.Quantity", "int-or-string": "intstr.IntOrString", "boolean": "bool"}
    names |= {"integer": type_.format or "int64", "number": "float64", "string": "string"}
    return names.get(type_.kind, "map[string]interface {}")
