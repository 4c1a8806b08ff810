"""What a Job's policies say: of a pod that failed (podFailurePolicy) and of the indexes that succeeded
(successPolicy).

https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shirube.client.rest import Object
from shirube.controllers import job_indexes


class Verdict(NamedTuple):
    """`action` is FailJob, FailIndex, Ignore or Count."""

    action: str
    message: str = ""


COUNT = Verdict("Count")


def judge_failure(job: Object, pod: Object) -> Verdict:
    """The first rule that matches a failed pod."""
    if (pod.get("status") or {}).get("phase") != "Failed":
        return COUNT
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if wanted := rule.get("onExitCodes"):
            found = _exit_code(wanted, pod)
            if found is not None:
                container, code = found
                text = f"Container {container} for pod {name} failed with exit code {code} matching"
                return Verdict(rule["action"], f"{text} {rule['action']} rule at index {number}")
        elif (kind := _condition(rule.get("onPodConditions") or (), pod)) is not None:
            text = f"Pod {name} has condition {kind} matching"
            return Verdict(rule["action"], f"{text} {rule['action']} rule at index {number}")
    return COUNT


def _exit_code(wanted: Object, pod: Object) -> tuple[str, int] | None:
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        ended = (container.get("state") or {}).get("terminated")
        if not ended or not ended.get("exitCode"):
            continue
        if wanted.get("containerName") and wanted["containerName"] != container["name"]:
            continue
        if (ended["exitCode"] in (wanted.get("values") or ())) == (wanted["operator"] == "In"):
            return container["name"], ended["exitCode"]
    return None


def _condition(wanted: Iterable[Object], pod: Object) -> str | None:
    held = {c["type"]: c.get("status") for c in (pod.get("status") or {}).get("conditions") or ()}
    for pattern in wanted:
        if held.get(pattern["type"]) == pattern.get("status", "True"):
            return str(pattern["type"])
    return None


def succeeded_by_policy(job: Object, succeeded: set[int]) -> str | None:
    """The message of the first success rule that is met."""
    completions = job["spec"].get("completions")
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        named = rule.get("succeededIndexes")
        matched = succeeded & job_indexes.parse(named, completions) if named is not None else succeeded
        needed = rule.get("succeededCount")
        if needed is None:
            needed = len(job_indexes.parse(named, completions))
        if len(matched) >= needed:
            return f"Matched rules at index {number}"
    return None
