"""ControllerRevisions: snapshots of a template, numbered and never changed.

Follows k8s.io/kubernetes ``pkg/registry/apps/controllerrevision``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import required
from shirube.api.validation.numbers import validate_not_negative
from shirube.api.validation.object_meta import immutable


class ControllerRevisionStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        obj.setdefault("revision", 0)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        if obj.get("data") is None:
            causes.append(required("data", "data is mandatory"))
        validate_not_negative(causes, obj, ("revision",), "")
        return [Cause(c.reason, c.message, c.field.removeprefix(".")) for c in causes]

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        return causes + immutable(obj.get("data"), old.get("data"), "data")
