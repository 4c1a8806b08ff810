"""What the strategies of workloads share: a pod template with its warnings, a status that begins at zero."""

from __future__ import annotations

from typing import Any, ClassVar

from shirube.api.kinds.pod_defaults import default_pod_template
from shirube.api.kinds.pod_warnings import pod_warnings
from shirube.api.strategy import Obj, Strategy, keep


class WorkloadStrategy(Strategy):
    """Rules of a kind whose ``spec.template`` makes pods."""

    has_generation = True
    # the status as upstream prints it before a controller has looked at the object
    initial_status: ClassVar[dict[str, Any]] = {}

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_template(spec.setdefault("template", {}))
        self.default_spec(spec)

    def default_spec(self, spec: Obj) -> None:
        """Fill in what is special to the kind."""

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = dict(self.initial_status)

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_status_update(obj, old)
        obj.setdefault("status", {})

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        if old is not None and obj["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        template = (obj.get("spec") or {}).get("template") or {}
        return pod_warnings(template.get("spec") or {}, "spec.template.")


def keep_labels(obj: Obj, old: Obj) -> None:
    """Labels are not changed through the status of kinds that select by them."""
    keep(obj["metadata"], old["metadata"], "labels")
