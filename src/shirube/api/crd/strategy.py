"""The rules of one version of a custom resource: its schema says what is valid and what is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.api.crd import defaulting, json_path, rules, values
from shirube.api.errors import Cause
from shirube.api.kinds.custom_resource import CustomResourceStrategy
from shirube.api.schema import MISSING
from shirube.api.strategy import Obj

if TYPE_CHECKING:
    from shirube.api.crd.structural import Node

# Causes that say that an object does not even have the shape that rules are written for.
_BLOCKING = frozenset(
    (
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class DefinedStrategy(CustomResourceStrategy):
    def __init__(self, node: Node, fields: tuple[str, ...], *, namespaced: bool, has_status: bool) -> None:
        super().__init__(namespaced=namespaced, has_status=has_status)
        self._node = node
        self._fields = tuple((path.removeprefix("."), json_path.parse(path)) for path in fields)
        self._rules = rules.of(node)

    def default(self, obj: Obj) -> None:
        defaulting.default(obj, self._node)

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + self._judged(obj, None)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + self._judged(obj, old)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + self._judged(obj, old)

    def _judged(self, obj: Obj, old: Obj | None) -> list[Cause]:
        causes = values.validate(obj, self._node, "", MISSING if old is None else old)
        if self._rules is None:
            return causes
        if any(cause.reason in _BLOCKING for cause in causes):
            causes.append(Cause.invalid("<nil>", "null", _NOT_CHECKED))
            return causes
        return causes + self._rules.judge(obj, MISSING if old is None else old)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        chosen = {}
        for name, path in self._fields:
            found = json_path.find(obj, path)
            chosen[name] = json_path.text_of(found[0]) if found and found[0] is not None else ""
        return chosen
