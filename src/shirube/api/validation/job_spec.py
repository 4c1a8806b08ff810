"""Validation of a job's spec, for Jobs and for the template of CronJobs.

Follows batch's ``ValidateJobSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api.selectors import label_selector_from
from shirube.api.validation.field import (
    Cause,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.numbers import validate_not_negative
from shirube.api.validation.pod_spec import validate_pod_template
from shirube.api.validation.workload import DOES_NOT_MATCH

Obj = Mapping[str, Any]

_NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_MODES = ["Indexed", "NonIndexed"]
_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]
_MAX_PARALLELISM = 100_000
_MAX_RULES = 20
_MAX_EXIT_CODES = 255


def validate_job_spec(out: list[Cause], spec: Obj, path: str, *, selector: bool = True) -> None:
    """A job's spec; the template of a CronJob has no selector yet."""
    validate_not_negative(out, spec, _NUMBERS, path)
    _validate_mode(out, spec, path)
    replacement = spec.get("podReplacementPolicy")
    if replacement is not None and replacement not in ("Failed", "TerminatingOrFailed"):
        out.append(not_supported(f"{path}.podReplacementPolicy", replacement, ["Failed", "TerminatingOrFailed"]))
    if (policy := spec.get("podFailurePolicy")) is not None:
        if replacement is not None and replacement != "Failed":
            out.append(not_supported(f"{path}.podReplacementPolicy", replacement, ["Failed"]))
        _validate_failure_policy(out, policy, spec, f"{path}.podFailurePolicy")
    if (policy := spec.get("successPolicy")) is not None:
        _validate_success_policy(out, policy, spec, f"{path}.successPolicy")
    if (manager := spec.get("managedBy")) and "/" not in manager:
        out.append(invalid(f"{path}.managedBy", manager, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    template = spec.get("template") or {}
    validate_pod_template(out, template, f"{path}.template")
    if (template.get("spec") or {}).get("restartPolicy") not in ("OnFailure", "Never"):
        at = f"{path}.template.spec.restartPolicy"
        out.append(required(at, 'valid values: "OnFailure", "Never"'))
    if selector:
        _validate_selector(out, spec, path)


def _validate_selector(out: list[Cause], spec: Obj, path: str) -> None:
    selector = spec.get("selector")
    if selector is None:
        out.append(required(f"{path}.selector"))
        return
    causes = validate_label_selector(selector, f"{path}.selector")
    out.extend(causes)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not causes and not label_selector_from(selector).matches(labels):
        out.append(invalid(f"{path}.template.metadata.labels", dict(labels), DOES_NOT_MATCH))


def _validate_mode(out: list[Cause], spec: Obj, path: str) -> None:
    mode, completions, parallelism = spec.get("completionMode"), spec.get("completions"), spec.get("parallelism")
    if mode is not None and mode not in _MODES:
        out.append(not_supported(f"{path}.completionMode", mode, _MODES))
    if mode == "Indexed":
        if completions is None:
            out.append(required(f"{path}.completions", "when completion mode is Indexed"))
        if parallelism is not None and parallelism > _MAX_PARALLELISM:
            detail = f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is Indexed"
            out.append(invalid(f"{path}.parallelism", parallelism, detail))
        if completions is not None and completions > 10**9:
            detail = "must be less than or equal to 1000000000 when completion mode is Indexed"
            out.append(invalid(f"{path}.completions", completions, detail))
    per_index, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if per_index is not None and mode != "Indexed":
        out.append(invalid(f"{path}.backoffLimitPerIndex", per_index, "requires indexed completion mode"))
    if most is not None:
        if completions is not None and most > completions:
            detail = "must be less than or equal to completions"
            out.append(invalid(f"{path}.maxFailedIndexes", most, detail))
        if mode != "Indexed":
            out.append(invalid(f"{path}.maxFailedIndexes", most, "requires indexed completion mode"))
        elif per_index is None:
            out.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))


def _validate_failure_policy(out: list[Cause], policy: Obj, spec: Obj, path: str) -> None:
    pod = (spec.get("template") or {}).get("spec") or {}
    rules = policy.get("rules") or []
    if len(rules) > _MAX_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    containers = {c.get("name") for f in ("containers", "initContainers") for c in pod.get(f) or ()}
    for i, rule in enumerate(rules):
        at = f"{path}.rules[{i}]"
        _validate_failure_rule(out, rule, spec, containers, at)
    if pod.get("restartPolicy") != "Never":
        at = path.removesuffix(".podFailurePolicy") + ".template.spec.restartPolicy"
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        out.append(invalid(at, pod.get("restartPolicy", ""), detail))


def _validate_failure_rule(out: list[Cause], rule: Obj, spec: Obj, containers: set[Any], path: str) -> None:
    action, codes, conditions = rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if not action:
        out.append(required(f"{path}.action", f"valid values: {_ACTIONS}"))
    elif action not in _ACTIONS:
        out.append(not_supported(f"{path}.action", action, _ACTIONS))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        detail = "requires the backoffLimitPerIndex to be set"
        out.append(invalid(f"{path}.action", action, detail))
    if codes is not None:
        _validate_exit_codes(out, codes, containers, f"{path}.onExitCodes")
        if conditions:
            out.append(invalid(path, dict(rule), "specifying both OnExitCodes and OnPodConditions is not supported"))
    elif not conditions:
        out.append(invalid(path, dict(rule), "specifying one of OnExitCodes and OnPodConditions is required"))
    for i, condition in enumerate(conditions):
        if condition.get("status") not in ("True", "False", "Unknown"):
            at = f"{path}.onPodConditions[{i}].status"
            value = condition.get("status", "")
            out.append(not_supported(at, value, ["False", "True", "Unknown"]) if value else required(at))


def _validate_exit_codes(out: list[Cause], codes: Obj, containers: set[Any], path: str) -> None:
    operator, values, name = codes.get("operator", ""), codes.get("values") or [], codes.get("containerName")
    if operator not in ("In", "NotIn"):
        at = f"{path}.operator"
        out.append(
            not_supported(at, operator, ["In", "NotIn"]) if operator else required(at, 'valid values: ["In" "NotIn"]')
        )
    if name is not None and name not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        out.append(invalid(f"{path}.containerName", name, detail))
    if not values:
        out.append(invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > _MAX_EXIT_CODES:
        out.append(too_many(f"{path}.values", len(values), _MAX_EXIT_CODES))
    seen: set[int] = set()
    for i, value in enumerate(values):
        if value == 0 and operator == "In":
            out.append(invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator"))
        if value in seen:
            out.append(duplicate(f"{path}.values[{i}]", value))
        seen.add(value)
    if values != sorted(values):
        out.append(invalid(f"{path}.values", values, "must be ordered"))


def _validate_success_policy(out: list[Cause], policy: Obj, spec: Obj, path: str) -> None:
    rules = policy.get("rules") or []
    if spec.get("completionMode") != "Indexed":
        out.append(invalid(path, dict(policy), "requires indexed completion mode"))
    if not rules:
        out.append(
            required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
        )
    if len(rules) > _MAX_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    for i, rule in enumerate(rules):
        at = f"{path}.rules[{i}]"
        if rule.get("succeededIndexes") is None and rule.get("succeededCount") is None:
            out.append(required(at, "at least one of succeededCount or succeededIndexes must be specified"))
        count, completions = rule.get("succeededCount"), spec.get("completions")
        if count is not None and completions is not None and count > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            out.append(invalid(f"{at}.succeededCount", count, detail))


def validate_no_manual_selector(out: list[Cause], spec: Obj, path: str) -> None:
    """Jobs that a CronJob makes get their selectors generated."""
    if spec.get("selector") is not None:
        out.append(invalid(f"{path}.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        out.append(not_supported(f"{path}.manualSelector", spec["manualSelector"], ["nil", "false"]))
