"""The rules of one version of a custom resource: its schema says what is valid and what is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.api.crd import defaulting, json_path, values
from shirube.api.errors import Cause
from shirube.api.kinds.custom_resource import CustomResourceStrategy
from shirube.api.schema import MISSING
from shirube.api.strategy import Obj

if TYPE_CHECKING:
    from shirube.api.crd.structural import Node


class DefinedStrategy(CustomResourceStrategy):
    def __init__(self, node: Node, fields: tuple[str, ...], *, namespaced: bool, has_status: bool) -> None:
        super().__init__(namespaced=namespaced, has_status=has_status)
        self._node = node
        self._fields = tuple((path.removeprefix("."), json_path.parse(path)) for path in fields)

    def default(self, obj: Obj) -> None:
        defaulting.default(obj, self._node)

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + self._judged(obj, None)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + self._judged(obj, old)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + self._judged(obj, old)

    def _judged(self, obj: Obj, old: Obj | None) -> list[Cause]:
        return values.validate(obj, self._node, "", MISSING if old is None else old)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        chosen = {}
        for name, path in self._fields:
            found = json_path.find(obj, path)
            chosen[name] = json_path.text_of(found[0]) if found and found[0] is not None else ""
        return chosen
