"""Validation of a Job's status: what the controller writes must be a state that a job can be in.

The rules of transitions are checked only where this update changes what they speak of, so a status stored before a
rule existed can still be updated. Follows batch's ``ValidateJobStatusUpdate`` and the options that
``pkg/registry/batch/job/strategy.go`` gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api.errors import OMITTED
from shirube.api.validation.field import Cause, duplicate, invalid, required
from shirube.api.validation.job_indexes import count_indexes, first_overlap
from shirube.api.validation.numbers import validate_not_negative

Obj = Mapping[str, Any]

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_TERMINAL = ("Failed", "Complete", "FailureTarget")


def _true(status: Obj) -> set[str]:
    return {c.get("type", "") for c in status.get("conditions") or () if c.get("status") == "True"}


def validate_job_status(job: Obj, old: Obj) -> list[Cause]:
    """What is wrong with replacing the status of `old` by that of `job`."""
    out: list[Cause] = []
    spec, status, before = job.get("spec") or {}, job.get("status") or {}, old.get("status") or {}
    held, was = _true(status), _true(before)
    finished = bool(held & {"Complete", "Failed"})
    newly = finished and not was & {"Complete", "Failed"}
    validate_not_negative(out, status, _COUNTS, "status")
    _validate_uncounted(out, status.get("uncountedTerminatedPods") or {})
    _validate_conditions(out, spec, held, was)
    _validate_times(out, status, before, held, suspended=bool(spec.get("suspend")), newly=newly)
    if newly:
        _validate_finished(out, status)
    _validate_indexes(out, spec, status, before)
    for field in ("failed",) if _elastic(spec) else ("failed", "succeeded"):
        if status.get(field, 0) < before.get(field, 0):
            out.append(invalid(f"status.{field}", status.get(field, 0), f"cannot decrease the {field} counter"))
    ready, active = status.get("ready"), status.get("active", 0)
    if ready is not None and ready > active and ready != before.get("ready"):
        out.append(invalid("status.ready", ready, "cannot set more ready pods than active"))
    return out


def _elastic(spec: Obj) -> bool:
    """Its indexes may become fewer, and what has succeeded at those that are no more does not count."""
    return spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")


def _validate_uncounted(out: list[Cause], pods: Obj) -> None:
    seen = set()
    for field in ("succeeded", "failed"):
        for i, uid in enumerate(pods.get(field) or ()):
            at = f"status.uncountedTerminatedPods.{field}[{i}]"
            if not uid:
                out.append(invalid(at, uid, "must not be empty"))
            elif uid in seen:
                out.append(duplicate(at, uid))
            seen.add(uid)


def _say(out: list[Cause], detail: str) -> None:
    out.append(invalid("status.conditions", OMITTED, detail))


def _validate_conditions(out: list[Cause], spec: Obj, held: set[str], was: set[str]) -> None:
    changed = held != was
    if changed and {"Complete", "Failed"} <= held:
        _say(out, "cannot set Complete=True and Failed=true conditions")
    if changed and {"Complete", "FailureTarget"} <= held:
        _say(out, "cannot set Complete=True and FailureTarget=true conditions")
    if "Failed" in held - was and "FailureTarget" not in held:
        _say(out, "cannot set Failed=True condition without the FailureTarget=true condition")
    if "Complete" in held - was and "SuccessCriteriaMet" not in held:
        _say(out, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if {"SuccessCriteriaMet", "Failed"} <= held:
        _say(out, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if {"SuccessCriteriaMet", "FailureTarget"} <= held:
        _say(out, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and "Complete" in held and "SuccessCriteriaMet" not in held:
        _say(out, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    for kind in _TERMINAL:
        if kind in was - held:
            _say(out, f"cannot disable the terminal {kind}=True condition")
    if "SuccessCriteriaMet" in was - held:
        _say(out, "cannot disable the SuccessCriteriaMet=True condition")
    if "Complete" in was and "SuccessCriteriaMet" in held - was:
        _say(out, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


def _validate_times(out: list[Cause], new: Obj, old: Obj, held: set[str], *, suspended: bool, newly: bool) -> None:
    at, done, begun = "status.completionTime", new.get("completionTime"), new.get("startTime")
    if done is not None and done != old.get("completionTime") and "Complete" not in held:
        out.append(invalid(at, done, "cannot set completionTime when there is no Complete=True condition"))
    if done is None and "Complete" in held and (newly or old.get("completionTime") is not None):
        out.append(required(at, "completionTime is required for Complete jobs"))
    if done is not None and begun is not None and done < begun:
        out.append(invalid(at, done, "completionTime cannot be set before startTime"))
    if None not in (done, old.get("completionTime")) and done != old.get("completionTime"):
        out.append(invalid(at, done, "completionTime cannot be mutated"))
    if old.get("startTime") is not None and begun != old["startTime"] and not suspended:
        out.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))
    if begun is None and newly:
        out.append(required("status.startTime", "startTime is required for finished job"))


def _validate_finished(out: list[Cause], status: Obj) -> None:
    if status.get("active", 0) > 0:
        out.append(invalid("status.active", status["active"], "active>0 is invalid for finished job"))
    if (status.get("terminating") or 0) > 0:
        out.append(invalid("status.terminating", status["terminating"], "terminating>0 is invalid for finished job"))
    pods = status.get("uncountedTerminatedPods") or {}
    if pods.get("succeeded") or pods.get("failed"):
        detail = "uncountedTerminatedPods needs to be empty for finished job"
        out.append(invalid("status.uncountedTerminatedPods", pods, detail))


def _validate_indexes(out: list[Cause], spec: Obj, status: Obj, old: Obj) -> None:
    done, failed, completions = status.get("completedIndexes", ""), status.get("failedIndexes"), spec.get("completions")
    changed = {f for f in ("completedIndexes", "failedIndexes") if status.get(f) != old.get(f)}
    if not changed:
        return
    if done and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        out.append(invalid("status.completedIndexes", done, detail))
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        out.append(invalid("status.failedIndexes", failed, detail))
    if completions is None:
        return
    for field, text in (("completedIndexes", done), ("failedIndexes", failed)):
        if field in changed and text:
            try:
                count_indexes(text, completions)
            except ValueError as error:
                out.append(invalid(f"status.{field}", text, f"error parsing {field}: {error}"))
    if done and failed and (overlap := first_overlap(done, failed, completions)) is not None:
        detail = f"failedIndexes and completedIndexes overlap at index: {overlap}"
        out.append(invalid("status.failedIndexes", failed, detail))
