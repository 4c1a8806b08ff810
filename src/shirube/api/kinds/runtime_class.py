"""RuntimeClasses: which configuration of the container runtime a pod gets.

Follows node's ``ValidateRuntimeClass``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, invalid
from shirube.api.validation.object_meta import immutable, validate_labels
from shirube.api.validation.resource_requirements import validate_requirements
from shirube.api.validation.scheduling import validate_tolerations


class RuntimeClassStrategy(Strategy):
    allow_unconditional_update = False

    def default(self, obj: Obj) -> None:
        canonical_resources((obj.get("overhead") or {}).get("podFixed"))

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        handler = obj.get("handler", "")
        causes.extend(invalid("handler", handler, m) for m in names.is_dns1123_label(handler))
        if (fixed := (obj.get("overhead") or {}).get("podFixed")) is not None:
            validate_requirements(causes, {"limits": fixed}, "overhead.podFixed")
        scheduling = obj.get("scheduling") or {}
        causes.extend(validate_labels(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector"))
        tolerations = scheduling.get("tolerations") or []
        validate_tolerations(causes, tolerations, "scheduling.tolerations")
        for i, toleration in enumerate(tolerations):
            if toleration in tolerations[:i]:
                causes.append(duplicate(f"scheduling.tolerations[{i}]", toleration))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        return causes + immutable(obj.get("handler"), old.get("handler"), "handler")
