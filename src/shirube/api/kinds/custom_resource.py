"""Custom resources: whatever their schema says; only metadata and generations are ruled here.

Any change outside metadata counts as a new generation; with a status subresource the status is kept apart.
Follows apiextensions-apiserver ``pkg/registry/customresource/strategy.go``.
"""

from __future__ import annotations

from shirube.api.strategy import Obj, Strategy, keep
from shirube.api.validation.equality import semantic_equal

_NOT_SPEC = ("apiVersion", "kind", "metadata")


class CustomResourceStrategy(Strategy):
    qualified_finalizers = False
    has_generation = True
    allow_unconditional_update = False

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        apart = (*_NOT_SPEC, "status") if self.has_status else _NOT_SPEC
        fields = {f for o in (obj, old) for f in o if f not in apart}
        return any(not semantic_equal(obj.get(f), old.get(f)) for f in fields)

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_status_update(obj, old)
        for field in {*obj["metadata"], *old["metadata"]} - {"managedFields", "resourceVersion"}:
            keep(obj["metadata"], old["metadata"], field)
