"""Priority: the number behind a pod's priorityClassName, and whether it may push others out.

A pod cannot choose its number itself. Without a class it gets the default class, or 0.
See "Pod Priority and Preemption" in the upstream documentation.
"""

from __future__ import annotations

from typing import Any

from shirube.api.gvr import PRIORITYCLASSES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

_GROUP = "scheduling.k8s.io"
_PREEMPT = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "pods"), (_GROUP, "priorityclasses")))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.resource.group or req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        if req.operation == UPDATE:
            old = (req.old or {}).get("spec") or {}
            for key in ("priority", "preemptionPolicy"):
                if spec.get(key) is None and old.get(key) is not None:
                    spec[key] = old[key]
            return
        found = self._class(req, spec)
        value = int(found["value"]) if found else 0
        policy = (found.get("preemptionPolicy") if found else None) or _PREEMPT
        if spec.get("priority") is not None and spec["priority"] != value:
            raise req.refusal(
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
                f"admission controller computed {value} from the given PriorityClass name"
            )
        if spec.get("preemptionPolicy") not in (None, policy):
            raise req.refusal(
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod "
                f"spec; priority admission controller computed {policy} from the given PriorityClass name"
            )
        spec["priority"] = value
        spec["preemptionPolicy"] = policy

    def _class(self, req: AdmissionRequest, spec: dict[str, Any]) -> dict[str, Any] | None:
        name = spec.get("priorityClassName")
        if name:
            found = self.server.reader.get(PRIORITYCLASSES, "", name)
            if found is None:
                raise req.refusal(f"no PriorityClass with name {name} was found")
            return found
        defaults = [c for c in self.server.reader.list(PRIORITYCLASSES) if c.get("globalDefault")]
        if not defaults:
            return None
        # Two can exist when two servers wrote at once: the lower one is the careful choice, as upstream.
        found = min(defaults, key=lambda c: (int(c["value"]), c["metadata"]["name"]))
        spec["priorityClassName"] = found["metadata"]["name"]
        return found

    async def validate(self, req: AdmissionRequest) -> None:
        if req.resource.group != _GROUP or req.obj is None or not req.obj.get("globalDefault"):
            return
        if req.operation == UPDATE and (req.old or {}).get("globalDefault"):
            return
        for other in self.server.reader.list(PRIORITYCLASSES):
            if other.get("globalDefault") and other["metadata"]["name"] != req.obj["metadata"].get("name"):
                raise req.refusal(
                    f"PriorityClass {other['metadata']['name']} is already marked as default. "
                    "Only one default can exist"
                )
