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
from shirube.api.validation.node_config import validate_config_source
from shirube.api.validation.resource_requirements import validate_quantity
from shirube.api.validation.scheduling import validate_taints


class NodeStrategy(Strategy):
    allow_create_on_update = False

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        address, addresses = spec.get("podCIDR"), spec.get("podCIDRs")
        if address and (not addresses or addresses[0] != address):
            spec["podCIDRs"] = [address]  # what old clients write decides
        elif addresses:
            spec["podCIDR"] = addresses[0]
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
        blocks, old_blocks = spec.get("podCIDRs") or [], before.get("podCIDRs") or []
        if old_blocks and blocks != old_blocks:
            detail = 'node updates may not change podCIDR except from "" to valid'
            changed = (
                1 if len(blocks) != len(old_blocks) else sum(a != b for a, b in zip(blocks, old_blocks, strict=True))
            )
            causes += [forbidden("spec.podCIDRs", detail)] * changed
        if before.get("providerID") and spec.get("providerID", "") != before["providerID"]:
            detail = 'node updates may not change providerID except from "" to valid'
            causes.append(forbidden("spec.providerID", detail))
        if spec.get("externalID", "") != before.get("externalID", ""):
            causes.append(forbidden("spec.externalID", "may not be updated"))
        if (source := spec.get("configSource")) is not None:
            validate_config_source(causes, source, "spec.configSource", stored=False)
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
        # upstream reports them below the metadata, where they were annotations once
        validate_taints(causes, taints, "metadata.taints")
    blocks = spec.get("podCIDRs") or []
    for i, block in enumerate(blocks):
        causes.extend(invalid(f"spec.podCIDRs[{i}]", block, m) for m in names.is_cidr(block))
    if len(blocks) > 1 and (len(blocks) > 2 or len({":" in b for b in blocks}) < 2):
        detail = "may specify no more than one CIDR for each IP family"
        causes.append(invalid("spec.podCIDRs", blocks, detail))
    for i, block in enumerate(blocks):
        if block in blocks[:i]:
            causes.append(duplicate(f"spec.podCIDRs[{i}]", block))
    _validate_avoid_pods(causes, obj)
    return causes + _validate_status(obj)


def _validate_avoid_pods(causes: list[Cause], obj: Obj) -> None:
    at = "scheduler.alpha.kubernetes.io/preferAvoidPods"
    text = (obj["metadata"].get("annotations") or {}).get(at)
    if text:
        try:
            json.loads(text)
        except ValueError as error:
            causes.append(invalid("metadata.annotations.AvoidPods", at, str(error)))


def _validate_status(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        for name, value in (status.get(field) or {}).items():
            at = f"status.{field}.{name}"
            causes.extend(validate_quantity(name, value, at))
    for field in ("assigned", "active", "lastKnownGood"):
        if (source := (status.get("config") or {}).get(field)) is not None:
            validate_config_source(causes, source, f"status.config.{field}", stored=True)
    seen = set()
    for i, address in enumerate(status.get("addresses") or ()):
        key = (address.get("type"), address.get("address"))
        if key in seen:
            causes.append(duplicate(f"status.addresses[{i}]", dict(address)))
        seen.add(key)
    return causes
