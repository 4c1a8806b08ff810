"""Pods: created Pending and classed, almost immutable, deleted with grace.

What may change later is in ``pod_update``; ``status``, ``ephemeralcontainers`` and ``resize`` are
subresources with rules of their own (``prepare_for_ephemeral_containers_update`` …), which the handler calls
by name. Follows k8s.io/kubernetes ``pkg/registry/core/pod/strategy.go``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api.errors import Cause
from shirube.api.kinds import pod_judged
from shirube.api.kinds.pod_affinity_keys import merge_match_label_keys
from shirube.api.kinds.pod_defaults import default_pod, sync_service_account
from shirube.api.kinds.pod_qos import qos_class
from shirube.api.kinds.pod_update import (
    only_images_changed,
    spec_update_causes,
    validate_ephemeral_containers_update,
    validate_resize,
)
from shirube.api.kinds.pod_warnings import pod_warnings
from shirube.api.strategy import Obj, Strategy, keep
from shirube.api.validation.field import forbidden, invalid
from shirube.api.validation.pod_annotations import validate_pod_annotations, validate_pod_annotations_update
from shirube.api.validation.pod_spec import validate_pod_spec
from shirube.api.validation.pod_status import validate_status

_TERMINAL = ("Succeeded", "Failed")


class PodStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        default_pod(obj)

    def prepare_for_create(self, obj: Obj) -> None:
        spec = obj["spec"]
        # admission may have chosen the account since the defaults were filled in
        sync_service_account(spec)
        obj["metadata"]["generation"] = 1
        status: Obj = {"phase": "Pending", "qosClass": qos_class(spec)}
        if spec.get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]
        obj["status"] = status
        if "affinity" in spec or "topologySpreadConstraints" in spec:
            merge_match_label_keys(obj)

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        keep(obj, old, "status")
        # stored pods keep what a new default or an omitted list would add or drop
        if old["spec"].get("ephemeralContainers") and not obj["spec"].get("ephemeralContainers"):
            obj["spec"]["ephemeralContainers"] = old["spec"]["ephemeralContainers"]
        self.carry_generation(obj, old)

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_status_update(obj, old)
        keep(obj["metadata"], old["metadata"], "deletionTimestamp")
        keep(obj["metadata"], old["metadata"], "ownerReferences")
        status, old_status = obj.setdefault("status", {}), old.get("status") or {}
        if not status.get("qosClass"):
            keep(status, old_status, "qosClass")

    def validate(self, obj: Obj) -> list[Cause]:
        return self.review(obj)[0]

    def review(self, obj: Obj) -> tuple[list[Cause], list[str]]:
        causes = super().validate(obj)
        spec = obj["spec"]
        _validate_specials(causes, obj)
        likeness = pod_judged.likeness(spec)
        warnings = pod_judged.warnings_of(likeness)
        if warnings is None:
            found = self._validate_spec(obj)
            warnings = pod_warnings(spec, "") if not found else []
            if not found:
                pod_judged.remember(likeness, warnings)
            causes += found
        return causes, warnings

    def _validate_spec(self, obj: Obj) -> list[Cause]:
        """What depends on the spec alone, and on the pod's name where volumes make claims named after it."""
        spec = obj["spec"]
        found: list[Cause] = []
        validate_pod_spec(found, spec, "spec", obj["metadata"].get("name", ""))
        if spec.get("ephemeralContainers"):
            found.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
        if spec.get("schedulingGates") and spec.get("nodeName"):
            detail = "cannot be set until all schedulingGates have been cleared"
            found.append(forbidden("spec.nodeName", detail))
        for field, i, container in containers_of(spec):
            image = container.get("image", "")
            if image != image.strip():
                detail = "must not have leading or trailing whitespace"
                found.append(invalid(f"spec.{field}[{i}].image", image, detail))
        return found

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_specials(causes, obj, old)
        if only_images_changed(obj["spec"], old["spec"]):
            return causes  # the rest was valid when it was stored
        validate_pod_spec(causes, obj["spec"], "spec", obj["metadata"].get("name", ""))
        return causes + spec_update_causes(obj["spec"], old["spec"])

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + validate_status(obj, old)

    def prepare_for_ephemeral_containers_update(self, obj: Obj, old: Obj) -> None:
        """Take over the ephemeral containers and nothing else."""
        containers = obj["spec"].get("ephemeralContainers")
        self._keep_all(obj, old)
        obj["spec"] = {**old["spec"]}
        if containers:
            obj["spec"]["ephemeralContainers"] = containers
        else:
            obj["spec"].pop("ephemeralContainers", None)
        self.carry_generation(obj, old)

    def validate_ephemeral_containers_update(self, obj: Obj, old: Obj) -> list[Cause]:
        """Ephemeral containers can be added, and only that."""
        causes = Strategy.validate_update(self, obj, old)
        validate_pod_spec(causes, obj["spec"], "spec", obj["metadata"].get("name", ""))
        return causes + validate_ephemeral_containers_update(obj["spec"], old["spec"])

    def prepare_for_resize(self, obj: Obj, old: Obj) -> None:
        """Take over the resources and resize policies of containers and nothing else."""
        asked = {c.get("name"): c for _, _, c in containers_of(obj["spec"])}
        self._keep_all(obj, old)
        spec = {**old["spec"]}
        for field in ("containers", "initContainers"):
            if field in spec:
                spec[field] = [_resized(c, asked.get(c.get("name"))) for c in spec[field]]
        obj["spec"] = spec
        self.carry_generation(obj, old)

    def validate_resize(self, obj: Obj, old: Obj) -> list[Cause]:
        """Cpu and memory may change; the quality-of-service class may not."""
        causes = Strategy.validate_update(self, obj, old)
        validate_pod_spec(causes, obj["spec"], "spec", obj["metadata"].get("name", ""))
        return causes + validate_resize(obj, old)

    def _keep_all(self, obj: Obj, old: Obj) -> None:
        keep(obj, old, "status")
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            keep(obj["metadata"], old["metadata"], field)

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        if old is not None and obj["metadata"].get("generation") == old["metadata"].get("generation"):
            return []
        return pod_warnings(obj.get("spec") or {}, "")

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        addresses = status.get("podIPs")
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
            "status.phase": status.get("phase", ""),
            "status.podIP": (addresses[0].get("ip", "") if addresses else status.get("podIP", "")),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def grace_period(self, obj: Obj, requested: int | None) -> int:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        seconds = requested if requested is not None else spec.get("terminationGracePeriodSeconds", 0)
        if not spec.get("nodeName") or status.get("phase") in _TERMINAL:
            return 0
        return 1 if seconds < 0 else seconds


def _validate_specials(causes: list[Cause], pod: Obj, old: Obj | None = None) -> None:
    """What is judged in pods and not in the templates they are made from."""
    spec = pod["spec"]
    if annotations := pod["metadata"].get("annotations"):
        validate_pod_annotations(causes, annotations, spec, "metadata.annotations")
    if old is not None:
        now, was = ((o["metadata"].get("annotations") or {}) for o in (pod, old))
        if now != was:
            validate_pod_annotations_update(causes, now, was, "metadata.annotations")
    if spec.get("serviceAccountName"):
        return
    for i, volume in enumerate(spec.get("volumes") or ()):
        for j, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                at = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                causes.append(forbidden(at, "must not be specified when serviceAccountName is not set"))


def containers_of(spec: Obj) -> Iterator[tuple[str, int, Obj]]:
    """(field, index, container) of the init and app containers."""
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or ()):
            yield field, i, container


def _resized(container: Obj, asked: Obj | None) -> Obj:
    if asked is None:
        return container
    changed: dict[str, Any] = {**container}
    keep(changed, asked, "resources")
    keep(changed, asked, "resizePolicy")
    return changed
