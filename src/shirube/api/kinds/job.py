"""Jobs: pods that run to their end, selected by the job's own uid.

``prepare_for_create`` generates the selector and the template's labels, so the handler must have set
metadata.uid before. Follows k8s.io/kubernetes ``pkg/registry/batch/job/strategy.go``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.workload import WorkloadStrategy
from shirube.api.selectors import label_selector_from
from shirube.api.strategy import Obj
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import invalid, required
from shirube.api.validation.job_spec import validate_job_spec
from shirube.api.validation.job_status import validate_job_status
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.object_meta import immutable

_MAX_INT32 = 2**31 - 1
# what may change in the template of a suspended job, besides its containers' resources
_SCHEDULING_SPEC = ("nodeSelector", "tolerations", "schedulingGates")


def default_job_spec(spec: Obj) -> None:
    """Counts, limits and policies of a job."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else _MAX_INT32
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    default_failure_policy(spec)
    failed_only = spec.get("podFailurePolicy") is not None
    spec.setdefault("podReplacementPolicy", "Failed" if failed_only else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)


def default_failure_policy(spec: Obj) -> None:
    """Pod conditions that a rule asks for are asked to be true."""
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            condition.setdefault("status", "True")


class JobStrategy(WorkloadStrategy):
    default_propagation = "Orphan"  # what it was before there was a garbage collector
    unsaid_propagation_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
        "or set propagationPolicy=Orphan to suppress this warning"
    )

    def default(self, obj: Obj) -> None:
        super().default(obj)
        labels = obj["spec"]["template"]["metadata"].get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def default_spec(self, spec: Obj) -> None:
        default_job_spec(spec)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate_generated_selector(causes, obj)
        validate_job_spec(causes, obj["spec"], "spec")
        _validate_host_names(causes, obj)
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        validate_job_spec(causes, obj["spec"], "spec")
        _validate_spec_update(causes, obj["spec"], old["spec"], old.get("status") or {})
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_status_update(obj, old) + validate_job_status(obj, old)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}


def _generated_labels(metadata: Obj) -> dict[str, str]:
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    return {
        "controller-uid": uid,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
    }


def _generate_selector(job: Obj) -> None:
    uid = job["metadata"].get("uid", "")
    labels = job["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {})
    for key, value in _generated_labels(job["metadata"]).items():
        labels.setdefault(key, value)
    selector = job["spec"].setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault("batch.kubernetes.io/controller-uid", uid)


def _validate_generated_selector(causes: list[Cause], job: Obj) -> None:
    """Unless the user manages it, the selector is the generated one, and the template has the generated labels."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    if not metadata.get("uid"):
        causes.append(required("metadata.uid"))
    expected = _generated_labels(metadata)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    for key, value in expected.items():
        at = "spec.template.metadata.labels"
        if key not in labels:
            causes.append(required(at, f"must be '{value}'"))
        elif labels[key] != value:
            causes.append(invalid(at, labels, f"must be '{value}'"))
    if not validate_label_selector(spec["selector"], "") and not label_selector_from(spec["selector"]).matches(
        expected
    ):
        causes.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))


def _validate_host_names(causes: list[Cause], job: Obj) -> None:
    """Pods of an Indexed Job are named after it and their index, and so are their hosts."""
    spec, name = job["spec"], job["metadata"].get("name", "")
    if spec.get("completionMode") != "Indexed" or not (spec.get("completions") or 0) > 0:
        return
    longest = f"{name}-{spec['completions'] - 1}"
    if names.is_dns1123_label(longest):
        detail = f"will not able to create pod with invalid DNS label: {longest}"
        causes.append(invalid("metadata.name", name, detail))


def _validate_spec_update(causes: list[Cause], new: Obj, old: Obj, status: Obj) -> None:
    _validate_completions(causes, new, old)
    for field in (
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        causes.extend(immutable(new.get(field), old.get(field), f"spec.{field}"))
    template, old_template = new.get("template") or {}, old.get("template") or {}
    if _rests(old, status):
        template, old_template = _fixed(template), _fixed(old_template)
    if not semantic_equal(template, old_template):
        causes.append(invalid("spec.template", new.get("template"), "field is immutable"))


def _validate_completions(causes: list[Cause], new: Obj, old: Obj) -> None:
    now, was = new.get("completions"), old.get("completions")
    if now == was:
        return
    elastic = new.get("completionMode") == "Indexed" and was is not None and now is not None
    if not elastic:
        causes.extend(immutable(now, was, "spec.completions"))
    elif now != new.get("parallelism"):
        detail = "can only be modified in tandem with spec.parallelism"
        causes.append(invalid("spec.completions", now, detail))


def _rests(spec: Obj, status: Obj) -> bool:
    """Suspended, and none of its pods is left: it has never run, or the controller has said that it is suspended."""
    if not spec.get("suspend") or status.get("active"):
        return False
    told = any(c.get("type") == "Suspended" and c.get("status") == "True" for c in status.get("conditions") or ())
    return told or not status.get("startTime")


def _fixed(template: Obj) -> Obj:
    """What of the template may not change even then."""
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in _SCHEDULING_SPEC}
    others = {k: v for k, v in (spec.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    spec |= {"affinity": others} if others else {}
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [{k: v for k, v in one.items() if k != "resources"} for one in spec[group]]
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"metadata": metadata, "spec": spec}
