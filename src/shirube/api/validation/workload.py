"""Validation that all workloads share: a selector that matches their own pod template, counts in the status.

Follows apps' ``ValidatePodTemplateSpecForReplicaSet`` and its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api.selectors import label_selector_from
from shirube.api.validation.field import Cause, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.pod_spec import validate_pod_template

Obj = Mapping[str, Any]

DOES_NOT_MATCH = "`selector` does not match template `labels`"
MORE_THAN_REPLICAS = "cannot be greater than status.replicas"


def validate_selector(out: list[Cause], spec: Obj, kind: str, path: str) -> bool:
    """The workload's selector: there, valid and not empty. Says whether it can be used."""
    selector = spec.get("selector")
    if selector is None:
        out.append(required(f"{path}.selector"))
        return False
    causes = validate_label_selector(selector, f"{path}.selector")
    out.extend(causes)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        out.append(invalid(f"{path}.selector", dict(selector), f"empty selector is invalid for {kind}"))
        return False
    return not causes


def validate_selected_template(out: list[Cause], spec: Obj, path: str) -> None:
    """The template's labels are those that the selector looks for."""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not label_selector_from(spec["selector"]).matches(labels):
        out.append(invalid(f"{path}.template.metadata.labels", dict(labels), DOES_NOT_MATCH))


def validate_always_running_template(out: list[Cause], template: Obj, kind: str, path: str) -> None:
    """A template whose pods run for ever: they always restart and have no deadline."""
    validate_pod_template(out, template, path)
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy", "")
    if policy != "Always":
        out.append(not_supported(f"{path}.spec.restartPolicy", policy, ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        detail = f"activeDeadlineSeconds in {kind} is not Supported"
        out.append(forbidden(f"{path}.spec.activeDeadlineSeconds", detail))


def validate_counts(out: list[Cause], status: Obj, fields: tuple[str, ...], path: str = "status") -> None:
    """No group of replicas is larger than all of them."""
    total = status.get("replicas", 0)
    for field in fields:
        if status.get(field, 0) > total:
            out.append(invalid(f"{path}.{field}", status.get(field, 0), MORE_THAN_REPLICAS))
    if "availableReplicas" in fields and status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        # StatefulSets, which alone count their current replicas, say it in full
        detail = f"cannot be greater than {'status.' if 'currentReplicas' in fields else ''}readyReplicas"
        out.append(invalid(f"{path}.availableReplicas", status.get("availableReplicas", 0), detail))


def validate_collisions(out: list[Cause], new: Obj, old: Obj) -> None:
    """The count of hash collisions only grows."""
    before, after = old.get("collisionCount"), new.get("collisionCount")
    if before is None:
        return
    if after is None or after < before:
        out.append(invalid("status.collisionCount", after or 0, "cannot be decremented"))
