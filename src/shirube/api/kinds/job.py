"""Jobs: pods that run to their end, selected by the job's own uid.

``prepare_for_create`` generates the selector and the template's labels, so the handler must have set
metadata.uid before. Follows k8s.io/kubernetes ``pkg/registry/batch/job/strategy.go``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.kinds.workload import WorkloadStrategy
from shirube.api.strategy import Obj
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import invalid
from shirube.api.validation.job_spec import validate_job_spec
from shirube.api.validation.numbers import validate_not_negative
from shirube.api.validation.object_meta import immutable

_MAX_INT32 = 2**31 - 1
# what may change in the template of a job that has not started
_SCHEDULING_SPEC = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


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
        validate_job_spec(causes, obj["spec"], "spec")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        validate_job_spec(causes, obj["spec"], "spec")
        _validate_spec_update(causes, obj["spec"], old["spec"], old.get("status") or {})
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        status = obj.get("status") or {}
        fields = ("active", "succeeded", "failed", "ready", "terminating")
        validate_not_negative(causes, status, fields, "status")
        _validate_conditions(causes, status)
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}


def _generate_selector(job: Obj) -> None:
    uid, name = job["metadata"].get("uid", ""), job["metadata"].get("name", "")
    labels = job["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels.setdefault("batch.kubernetes.io/controller-uid", uid)
    labels.setdefault("batch.kubernetes.io/job-name", name)
    labels.setdefault("controller-uid", uid)
    labels.setdefault("job-name", name)
    selector = job["spec"].setdefault("selector", {})
    selector.setdefault("matchLabels", {}).setdefault("batch.kubernetes.io/controller-uid", uid)


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
    not_started = old.get("suspend") and not status.get("startTime")
    if not_started:
        template, old_template = _unscheduled(template), _unscheduled(old_template)
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


def _unscheduled(template: Obj) -> Obj:
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in _SCHEDULING_SPEC}
    metadata = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    return {"metadata": metadata, "spec": spec}


def _validate_conditions(causes: list[Cause], status: Obj) -> None:
    held = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    if "Complete" in held and "Failed" in held:
        detail = "cannot set Complete=True and Failed=true conditions"
        causes.append(invalid("status.conditions", status.get("conditions"), detail))
    if status.get("completionTime") and "Complete" not in held:
        detail = "cannot set completionTime when there is no Complete=True condition"
        causes.append(invalid("status.completionTime", status["completionTime"], detail))
