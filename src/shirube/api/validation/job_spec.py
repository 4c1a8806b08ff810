"""Validation of a job's spec, for Jobs and for the template of CronJobs.

Follows batch's ``ValidateJobSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.errors import OMITTED
from shirube.api.selectors import label_selector_from
from shirube.api.validation.domain_names import validate_prefixed_path
from shirube.api.validation.field import (
    Cause,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from shirube.api.validation.job_indexes import count_indexes
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.numbers import NOT_NEGATIVE, validate_not_negative
from shirube.api.validation.pod_spec import validate_pod_template
from shirube.api.validation.workload import DOES_NOT_MATCH

Obj = Mapping[str, Any]

_NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
    "backoffLimitPerIndex", "maxFailedIndexes",
)  # fmt: skip
_MODES = ["NonIndexed", "Indexed"]
_STATUSES = ["False", "True", "Unknown"]
_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]
_MAX_PARALLELISM = 100_000
_MAX_FAILED_INDEXES = 100_000
_MANY_COMPLETIONS = 100_000
_MOST_WITH_MANY = 10_000
_MAX_MANAGED_BY = 63
_MAX_INDEXES_LENGTH = 64 * 1024
_MAX_RULES = 20
_MAX_EXIT_CODES = 255


def listed(values: list[str]) -> str:
    """A list as Go's %q prints it."""
    return "[" + " ".join(f'"{v}"' for v in values) + "]"


def validate_job_spec(out: list[Cause], spec: Obj, path: str, *, selector: bool = True) -> None:
    """A job's spec; the template of a CronJob has no selector yet."""
    validate_not_negative(out, spec, _NUMBERS, path)
    _validate_mode(out, spec, path)
    replacement = spec.get("podReplacementPolicy")
    allowed = ["Failed"] if spec.get("podFailurePolicy") is not None else ["Failed", "TerminatingOrFailed"]
    if replacement is not None and replacement not in allowed:
        out.append(not_supported(f"{path}.podReplacementPolicy", replacement, allowed))
    if (policy := spec.get("podFailurePolicy")) is not None:
        _validate_failure_policy(out, policy, spec, f"{path}.podFailurePolicy")
    if (policy := spec.get("successPolicy")) is not None:
        _validate_success_policy(out, policy, spec, f"{path}.successPolicy")
    if (manager := spec.get("managedBy")) is not None:
        validate_prefixed_path(out, manager, f"{path}.managedBy")
        if len(manager) > _MAX_MANAGED_BY:
            out.append(too_long(f"{path}.managedBy", _MAX_MANAGED_BY))
    template = spec.get("template") or {}
    validate_pod_template(out, template, f"{path}.template")
    at, restart = f"{path}.template.spec.restartPolicy", (template.get("spec") or {}).get("restartPolicy", "")
    if restart in ("", "Always"):
        out.append(required(at, 'valid values: "OnFailure", "Never"'))
    elif restart not in ("OnFailure", "Never"):
        out.append(not_supported(at, restart, ["OnFailure", "Never"]))
    elif spec.get("podFailurePolicy") is not None and restart != "Never":
        out.append(invalid(at, restart, 'only "Never" is supported when podFailurePolicy is specified'))
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
        _validate_failed_indexes(out, spec, path)
    per_index, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if most is not None and per_index is None:
        out.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if mode in (None, "NonIndexed"):
        for field, value in (("backoffLimitPerIndex", per_index), ("maxFailedIndexes", most)):
            if value is not None:
                out.append(invalid(f"{path}.{field}", value, "requires indexed completion mode"))


def _validate_failed_indexes(out: list[Cause], spec: Obj, path: str) -> None:
    """How many indexes may fail: with many completions, status has to stay small enough to be stored."""
    completions, parallelism, most = spec.get("completions"), spec.get("parallelism"), spec.get("maxFailedIndexes")
    at = f"{path}.maxFailedIndexes"
    if most is not None:
        if completions is not None and most > completions:
            out.append(invalid(at, most, "must be less than or equal to completions"))
        if most > _MAX_FAILED_INDEXES:
            out.append(invalid(at, most, f"must be less than or equal to {_MAX_FAILED_INDEXES}"))
    if completions is None or completions <= _MANY_COMPLETIONS or spec.get("backoffLimitPerIndex") is None:
        return
    bound = (
        f"must be less than or equal to {_MOST_WITH_MANY} when completions are above {_MANY_COMPLETIONS} and used "
        "with backoff limit per index"
    )
    if most is None:
        out.append(required(at, f"must be specified when completions is above {_MANY_COMPLETIONS}"))
    elif most > _MOST_WITH_MANY:
        out.append(invalid(at, most, bound))
    if parallelism is not None and parallelism > _MOST_WITH_MANY:
        out.append(invalid(f"{path}.parallelism", parallelism, bound))


def _validate_failure_policy(out: list[Cause], policy: Obj, spec: Obj, path: str) -> None:
    pod = (spec.get("template") or {}).get("spec") or {}
    rules = policy.get("rules") or []
    if len(rules) > _MAX_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    containers = {c.get("name") for f in ("containers", "initContainers") for c in pod.get(f) or ()}
    for i, rule in enumerate(rules):
        at = f"{path}.rules[{i}]"
        _validate_failure_rule(out, rule, spec, containers, at)


def _validate_failure_rule(out: list[Cause], rule: Obj, spec: Obj, containers: set[Any], path: str) -> None:
    action, codes, conditions = rule.get("action", ""), rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if not action:
        out.append(required(f"{path}.action", f"valid values: {listed(_ACTIONS)}"))
    elif action not in _ACTIONS:
        out.append(not_supported(f"{path}.action", action, _ACTIONS))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        detail = "requires the backoffLimitPerIndex to be set"
        out.append(invalid(f"{path}.action", action, detail))
    if codes is not None:
        _validate_exit_codes(out, codes, containers, f"{path}.onExitCodes")
        if conditions:
            out.append(invalid(path, OMITTED, "specifying both OnExitCodes and OnPodConditions is not supported"))
    elif not conditions:
        out.append(invalid(path, OMITTED, "specifying one of OnExitCodes and OnPodConditions is required"))
    if len(conditions) > _MAX_RULES:
        out.append(too_many(f"{path}.onPodConditions", len(conditions), _MAX_RULES))
    for i, condition in enumerate(conditions):
        at, kind, value = f"{path}.onPodConditions[{i}]", condition.get("type", ""), condition.get("status", "")
        out.extend(invalid(f"{at}.type", kind, m) for m in names.is_qualified_name(kind))
        if not value:
            out.append(required(f"{at}.status", f"valid values: {listed(_STATUSES)}"))
        elif value not in _STATUSES:
            out.append(not_supported(f"{at}.status", value, _STATUSES))


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
        return
    if not rules:
        out.append(
            required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
        )
    if len(rules) > _MAX_RULES:
        out.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    for i, rule in enumerate(rules):
        _validate_success_rule(out, rule, spec.get("completions") or 0, f"{path}.rules[{i}]")


def _validate_success_rule(out: list[Cause], rule: Obj, completions: int, path: str) -> None:
    indexes, count, total = rule.get("succeededIndexes"), rule.get("succeededCount"), 0
    if indexes is None and count is None:
        out.append(required(path, "at least one of succeededCount or succeededIndexes must be specified"))
    if indexes is not None:
        at = f"{path}.succeededIndexes"
        if len(indexes) > _MAX_INDEXES_LENGTH:
            out.append(too_long(at, _MAX_INDEXES_LENGTH))
        try:
            total = count_indexes(indexes, completions)
        except ValueError as error:
            out.append(invalid(at, indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return
    at = f"{path}.succeededCount"
    if count < 0:
        out.append(invalid(at, count, NOT_NEGATIVE))
    if count > completions:
        detail = f"must be less than or equal to {completions} (the number of specified completions)"
        out.append(invalid(at, count, detail))
    if indexes is not None and count > total:
        detail = (
            f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        )
        out.append(invalid(at, count, detail))


def validate_no_manual_selector(out: list[Cause], spec: Obj, path: str) -> None:
    """Jobs that a CronJob makes get their selectors generated."""
    if spec.get("selector") is not None:
        out.append(invalid(f"{path}.selector", spec["selector"], "`selector` will be auto-generated"))
    if spec.get("manualSelector"):
        out.append(not_supported(f"{path}.manualSelector", spec["manualSelector"], ["nil", "false"]))
