"""Namespaces: Active with a finalizer of their own until they are emptied.

Follows k8s.io/kubernetes ``pkg/registry/core/namespace/strategy.go``. ``finalize`` is a subresource: the only
way to change ``spec.finalizers``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy, keep
from shirube.api.validation.field import invalid
from shirube.api.validation.object_meta import NOT_A_FINALIZER, STANDARD_FINALIZERS, name_is_dns_label

NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(Strategy):
    name_rule = staticmethod(name_is_dns_label)

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})
        # every namespace can be selected by its name
        if name := obj["metadata"].get("name"):
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        if name := obj["metadata"].get("name"):
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name
        obj["status"] = {"phase": "Active"}
        finalizers = obj["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        keep(obj["spec"], old.get("spec") or {}, "finalizers")

    def prepare_for_finalize(self, obj: Obj, old: Obj) -> None:
        """The finalize subresource changes ``spec.finalizers`` only."""
        keep(obj, old, "status")

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _finalizers(obj, indexed=False)

    def validate_finalize(self, obj: Obj, old: Obj) -> list[Cause]:
        """What is wrong with finalizers to be set."""
        return super().validate_update(obj, old) + _finalizers(obj, indexed=True)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        phase = (obj.get("status") or {}).get("phase", "")
        deleting = bool(old["metadata"].get("deletionTimestamp"))
        if deleting and phase != "Terminating":
            detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            causes.append(invalid("status.Phase", phase, detail))
        elif not deleting and phase != "Active":
            detail = "may only be 'Active' if `deletionTimestamp` is empty"
            causes.append(invalid("status.Phase", phase, detail))
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        phase = (obj.get("status") or {}).get("phase", "")
        # "name" is an old alias that kubectl still knows
        return {"status.phase": phase, "name": obj["metadata"].get("name", "")}


def _finalizers(obj: Obj, *, indexed: bool) -> list[Cause]:
    causes: list[Cause] = []
    for i, finalizer in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
        at = f"spec.finalizers[{i}]" if indexed else "spec.finalizers"
        messages = names.is_qualified_name(finalizer)
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            messages.append(NOT_A_FINALIZER)
        causes.extend(invalid(at, finalizer, m) for m in messages)
    return causes
