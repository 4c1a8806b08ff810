"""What may change in a pod after it was created.

An update may change images, add tolerations, lower activeDeadlineSeconds, remove scheduling gates (and, while
gated, narrow the node selection). Ephemeral containers and resources have subresources of their own.
Follows core's ``ValidatePodUpdate``, ``ValidatePodEphemeralContainersUpdate``, ``ValidatePodResize``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.kinds.pod_qos import qos_class
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import Cause, forbidden, invalid
from shirube.api.validation.pod_spec import MAX_INT32

Obj = Mapping[str, Any]

_MUTABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
_NODE_AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"
_RESIZABLE = ("cpu", "memory")


def _without_images(containers: list[Obj] | None) -> list[Obj]:
    return [{k: v for k, v in c.items() if k != "image"} for c in containers or ()]


def _comparable(spec: Obj) -> dict[str, Any]:
    """The spec without the parts that are judged one by one."""
    judged = ("activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers", "serviceAccount")
    rest = {k: v for k, v in spec.items() if k not in judged}
    for field in ("containers", "initContainers"):
        if rest.get(field):
            rest[field] = _without_images(rest[field])
    return rest


def only_images_changed(new: Obj, old: Obj) -> bool:
    """Whether a spec differs from a stored one in nothing but images, all of them given: there is nothing more to
    judge than what `spec_update_causes` says of images. The commonest update by far."""
    if new.keys() != old.keys():
        return False
    for field, value in new.items():
        before = old[field]
        if field not in ("containers", "initContainers"):
            if value != before:
                return False
            continue
        if len(value) != len(before):
            return False
        for container, was in zip(value, before, strict=True):
            if container == was:
                continue
            image = container.get("image")
            if not image or image != image.strip() or {**container, "image": was.get("image")} != was:
                return False
    return True


def spec_update_causes(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with changing a pod's spec so."""
    if new == old:
        return []
    causes: list[Cause] = []
    for field in ("containers", "initContainers"):
        if len(new.get(field) or ()) != len(old.get(field) or ()):
            return [forbidden(f"spec.{field}", "pod updates may not add or remove containers")]
        for i, container in enumerate(new.get(field) or ()):
            image = container.get("image", "")
            if image != image.strip():
                detail = "must not have leading or trailing whitespace"
                causes.append(invalid(f"spec.{field}[{i}].image", image, detail))
    _validate_deadline(causes, new.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds"))
    _validate_tolerations(causes, new.get("tolerations") or [], old.get("tolerations") or [])
    _validate_gates(causes, new, old)
    if not semantic_equal(new.get("ephemeralContainers"), old.get("ephemeralContainers")):
        causes.append(forbidden("spec.ephemeralContainers", "use the ephemeralcontainers subresource"))
    before, after = _comparable(old), _comparable(new)
    if old.get("schedulingGates"):
        _validate_gated_placement(causes, after, before)
    grace, was = after.get("terminationGracePeriodSeconds"), before.get("terminationGracePeriodSeconds", 0)
    if grace == 1 and was < 0:
        before["terminationGracePeriodSeconds"] = 1
    if not semantic_equal(after, before):
        detail = f"pod updates may not change fields other than {_MUTABLE}\n{_diff(before, after)}"
        causes.append(forbidden("spec", detail))
    return causes


def _diff(before: Obj, after: Obj) -> str:
    lines = [json.dumps(o, indent=2, sort_keys=True, default=str).splitlines() for o in (before, after)]
    return "\n".join(list(difflib.unified_diff(lines[0], lines[1], lineterm="", n=3))[2:])


def _validate_deadline(causes: list[Cause], new: int | None, old: int | None) -> None:
    at = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= MAX_INT32:
            causes.append(invalid(at, new, names.between(0, MAX_INT32)))
        elif old is not None and old < new:
            causes.append(invalid(at, new, "must be less than or equal to previous value"))
    elif old is not None:
        causes.append(invalid(at, new, "must not update from a positive integer to nil value"))


def _validate_tolerations(causes: list[Cause], new: list[Obj], old: list[Obj]) -> None:
    def untimed(toleration: Obj) -> Obj:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    kept = [untimed(t) for t in new]
    if any(untimed(t) not in kept for t in old):
        detail = "existing toleration can not be modified except its tolerationSeconds"
        causes.append(forbidden("spec.tolerations", detail))


def _validate_gates(causes: list[Cause], new: Obj, old: Obj) -> None:
    before = {g.get("name") for g in old.get("schedulingGates") or ()}
    for i, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in before:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            causes.append(forbidden(f"spec.schedulingGates[{i}].name", detail))


def _validate_gated_placement(causes: list[Cause], after: dict[str, Any], before: dict[str, Any]) -> None:
    """A gated pod's node selection may become narrower."""
    selector, old_selector = after.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if not semantic_equal(selector, old_selector):
        if any(selector.get(k) != v for k, v in old_selector.items()):
            causes.append(
                invalid(
                    "spec.nodeSelector",
                    dict(selector),
                    "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                )
            )
        before["nodeSelector"] = selector
    affinity, old_affinity = dict(after.get("affinity") or {}), dict(before.get("affinity") or {})
    node, old_node = affinity.pop("nodeAffinity", {}), old_affinity.pop("nodeAffinity", {})
    required, old_required = node.get(_NODE_AFFINITY), old_node.get(_NODE_AFFINITY)
    if required != old_required and old_required is not None and not _narrower(required, old_required):
        at = f"spec.affinity.nodeAffinity.{_NODE_AFFINITY}.nodeSelectorTerms"
        causes.append(
            invalid(
                at, (required or {}).get("nodeSelectorTerms"), "only additions are allowed (no mutations or deletions)"
            )
        )
    if semantic_equal(affinity, old_affinity):
        before["affinity"] = after.get("affinity") or {}
        after["affinity"] = before["affinity"]


def _narrower(new: Obj | None, old: Obj) -> bool:
    terms, old_terms = (new or {}).get("nodeSelectorTerms") or [], old.get("nodeSelectorTerms") or []
    if len(terms) != len(old_terms):
        return False
    for term, old_term in zip(terms, old_terms, strict=True):
        for field in ("matchExpressions", "matchFields"):
            listed = term.get(field) or []
            if any(r not in listed for r in old_term.get(field) or ()):
                return False
    return True


def validate_ephemeral_containers_update(new: Obj, old: Obj) -> list[Cause]:
    """Existing ephemeral containers stay as they are."""
    at = "spec.ephemeralContainers"
    now = {c.get("name"): c for c in new.get("ephemeralContainers") or ()}
    causes = []
    for container in old.get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in now:
            causes.append(forbidden(at, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif not semantic_equal(now[name], container):
            causes.append(forbidden(at, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes


def validate_resize(new: Obj, old: Obj) -> list[Cause]:
    """Cpu and memory of containers may change, within the same quality-of-service class."""
    causes: list[Cause] = []
    spec, old_spec = new["spec"], old["spec"]
    if qos_class(spec) != ((old.get("status") or {}).get("qosClass") or qos_class(old_spec)):
        detail = "Pod QOS Class may not change as a result of resizing"
        causes.append(invalid("spec", qos_class(spec), detail))
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            before = (old_spec.get(field) or [])[i]
            _validate_container_resize(causes, container, before, f"spec.{field}[{i}]", field)
    return causes


def _validate_container_resize(causes: list[Cause], new: Obj, old: Obj, path: str, field: str) -> None:
    resources, before = new.get("resources") or {}, old.get("resources") or {}
    if semantic_equal(resources, before):
        return
    if field == "initContainers" and new.get("restartPolicy") != "Always":
        causes.append(forbidden(path, "resources for non-sidecar init containers are immutable"))
        return
    for kind in ("limits", "requests"):
        now, was = resources.get(kind) or {}, before.get(kind) or {}
        for name in now.keys() | was.keys():
            if now.get(name) == was.get(name):
                continue
            at = f"{path}.resources.{kind}"
            if name not in _RESIZABLE:
                causes.append(forbidden(at, "only cpu and memory resources are mutable"))
            elif name not in now:
                causes.append(forbidden(at, f"resource {kind} cannot be removed"))
