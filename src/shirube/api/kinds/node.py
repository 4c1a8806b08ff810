"""Nodes: what a node agent registers and reports.

Follows core's ``ValidateNode``, ``ValidateNodeUpdate`` and ``pkg/registry/core/node/strategy.go``.
"""

from __future__ import annotations

import json

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import canonical_resources
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, forbidden, invalid
from shirube.api.validation.resource_requirements import resource_name_messages, validate_quantity
from shirube.api.validation.scheduling import validate_taints


class NodeStrategy(Strategy):
    allow_create_on_update = False

    def default(self, obj: Obj) -> None:
        obj.setdefault("spec", {})
        status = obj.get("status") or {}
        canonical_resources(status.get("capacity"))
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])
        canonical_resources(status.get("allocatable"))

    def prepare_for_create(self, obj: Obj) -> None:
        # a node agent registers itself with its status
        obj["metadata"].pop("generation", None)
        obj.setdefault("status", {})

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old) + _validate(obj)
        spec, before = obj.get("spec") or {}, old.get("spec") or {}
        for field in ("providerID", "podCIDR"):
            if before.get(field) and spec.get(field, "") != before[field]:
                detail = f'node updates may not change {field} except from "" to valid'
                causes.append(forbidden(f"spec.{field}", detail))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + _validate_status(obj)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        spec = obj.get("spec") or {}
        out = []
        if spec.get("configSource"):
            out.append("spec.configSource: the feature is no longer supported, this field is ignored")
        if spec.get("externalID"):
            out.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        return out


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    spec = obj.get("spec") or {}
    if taints := spec.get("taints"):
        validate_taints(causes, taints, "spec.taints")
    blocks = spec.get("podCIDRs") or []
    for i, block in enumerate(blocks):
        causes.extend(invalid(f"spec.podCIDRs[{i}]", block, m) for m in names.is_cidr(block))
    if len(blocks) > 2:
        detail = f"{len(blocks)}: must have no more than 2 values"
        causes.append(invalid("spec.podCIDRs", blocks, detail))
    _validate_avoid_pods(causes, obj)
    return causes + _validate_status(obj)


def _validate_avoid_pods(causes: list[Cause], obj: Obj) -> None:
    at = "scheduler.alpha.kubernetes.io/preferAvoidPods"
    text = (obj["metadata"].get("annotations") or {}).get(at)
    if text:
        try:
            json.loads(text)
        except ValueError as error:
            causes.append(invalid("metadata.annotations.AvoidPods", text, str(error)))


def _validate_status(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        for name, value in (status.get(field) or {}).items():
            at = f"status.{field}.{name}"
            causes.extend(invalid(at, name, m) for m in resource_name_messages(name))
            causes.extend(validate_quantity(name, value, at))
    seen = set()
    for i, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type"), address.get("address"))
        if key in seen:
            causes.append(duplicate(f"status.addresses[{i}]", dict(address)))
        seen.add(key)
    return causes
