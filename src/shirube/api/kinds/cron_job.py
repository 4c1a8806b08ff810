"""CronJobs: a job template and when to start it.

Follows k8s.io/kubernetes ``pkg/registry/batch/cronjob/strategy.go`` and batch's ``ValidateCronJobCreate``.
"""

from __future__ import annotations

import re

from shirube.api.errors import Cause
from shirube.api.kinds.job import default_failure_policy
from shirube.api.kinds.pod_defaults import default_pod_template
from shirube.api.kinds.pod_warnings import pod_warnings
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.cron import known_zone, schedule_error
from shirube.api.validation.field import invalid, not_supported, required
from shirube.api.validation.job_spec import validate_job_spec, validate_no_manual_selector
from shirube.api.validation.numbers import validate_not_negative

_POLICIES = ["Allow", "Forbid", "Replace"]
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
# the controller appends "-" and up to ten digits to the name of a job
_MAX_NAME = 52


class CronJobStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("concurrencyPolicy"):
            spec["concurrencyPolicy"] = "Allow"
        spec.setdefault("suspend", False)
        spec.setdefault("successfulJobsHistoryLimit", 3)
        spec.setdefault("failedJobsHistoryLimit", 1)
        template = spec.setdefault("jobTemplate", {})
        template.setdefault("metadata", {})
        job = template.setdefault("spec", {})
        default_failure_policy(job)
        default_pod_template(job.setdefault("template", {}))

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        name = obj["metadata"].get("name", "")
        if len(name) > _MAX_NAME:
            causes.append(invalid("metadata.name", name, f"must be no more than {_MAX_NAME} characters"))
        _validate_spec(causes, obj["spec"], None)
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate_spec(causes, obj["spec"], old["spec"])
        return causes

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        pod = obj["spec"]["jobTemplate"]["spec"]["template"].get("spec") or {}
        return pod_warnings(pod, "spec.jobTemplate.spec.template.")


def _validate_schedule(causes: list[Cause], schedule: str, zone: str | None, old_schedule: str) -> None:
    if not schedule:
        causes.append(required("spec.schedule"))
        return
    if error := schedule_error(schedule):
        causes.append(invalid("spec.schedule", schedule, error))
    if "TZ" not in schedule:
        return
    if "TZ" not in old_schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        causes.append(invalid("spec.schedule", schedule, detail))
    elif zone is not None:
        detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        causes.append(invalid("spec.schedule", schedule, detail))


def _validate_zone(causes: list[Cause], zone: str | None) -> None:
    if zone is None:
        return
    if not zone:
        causes.append(invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
    elif any(p in (".", "..") or p.startswith("-") or not _ZONE_PART.fullmatch(p) for p in zone.split("/")):
        causes.append(invalid("spec.timeZone", zone, f"unknown time zone {zone}"))
    elif zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        causes.append(invalid("spec.timeZone", zone, detail))
    elif not known_zone(zone):
        causes.append(invalid("spec.timeZone", zone, f"unknown time zone {zone}"))


def _validate_spec(causes: list[Cause], spec: Obj, old: Obj | None) -> None:
    zone = spec.get("timeZone")
    _validate_schedule(causes, spec.get("schedule", ""), zone, (old or {}).get("schedule", ""))
    if old is None or old.get("timeZone") != zone:
        _validate_zone(causes, zone)
    fields = ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    validate_not_negative(causes, spec, fields, "spec")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in _POLICIES:
        causes.append(not_supported("spec.concurrencyPolicy", policy, _POLICIES))
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    validate_no_manual_selector(causes, job, "spec.jobTemplate.spec")
    validate_job_spec(causes, job, "spec.jobTemplate.spec", selector=False)
