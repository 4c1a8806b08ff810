"""Jobs in odd states: pods of no index, ends that cross; what is counted, made, deleted and decided."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.test_job import LATER, job, pod

from shirube.controllers import job_indexes
from shirube.controllers import job_plan as planning
from shirube.controllers.job_pod import new_pod
from shirube.controllers.job_tracking import MOST_UNCOUNTED, count
from shirube.controllers.job_view import LET_GO, View, finished_at
from shirube.foundation.clock import parse_rfc3339

RULES = [
    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1, 2, 3]}},
    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [5, -1073741510]}},
    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]},
]


def indexed(**spec: Any) -> dict[str, Any]:
    return job(completionMode="Indexed", **{"completions": 5, "parallelism": 2, **spec})


def uids(pods: list[dict[str, Any]]) -> set[str]:
    return {p["metadata"]["uid"] for p in pods}


def counted(
    one: dict[str, Any], pods: list[dict[str, Any]], finishing: str = ""
) -> tuple[list[str], list[str], set[str]]:
    """(uncounted succeeded, uncounted failed, whose finalizer goes)."""
    result = count(one, View.of(one, pods), finishing=finishing)
    held = result.status["uncountedTerminatedPods"]
    return held.get("succeeded", []), held.get("failed", []), uids(result.release)


# -- counting -----------------------------------------------------------------------------------------------


def test_pods_that_ended_before_and_now():
    one = job(completions=None)
    one["status"] = {
        "succeeded": 2,
        "failed": 3,
        "uncountedTerminatedPods": {"succeeded": ["a", "e"], "failed": ["b", "f"]},
    }
    pods = [
        pod("e", "Succeeded", tracked=False),
        pod("a", "Succeeded"),
        pod("b", "Failed"),
        pod("c", "Succeeded"),
        pod("d", "Failed"),
        pod("x", "Pending"),
    ]
    result = count(one, View.of(one, pods), finishing="")
    assert (result.status["succeeded"], result.status["failed"]) == (3, 4)  # e and f, gone, have been counted
    assert result.status["uncountedTerminatedPods"] == {"succeeded": ["a", "c"], "failed": ["b", "d"]}
    assert uids(result.release) == {"a", "b", "c", "d"}


def test_pods_that_are_going_count_by_what_they_were():
    pods = [
        pod("a", "Succeeded", going=True),
        pod("b", "Failed", going=True),
        pod("c", "Running", going=True),
        pod("d", "Pending", going=True),
        pod("e", "Running", going=True, tracked=False),
    ]
    assert counted(job(), pods) == (["a"], ["b", "c", "d"], {"a", "b", "c", "d"})
    patient = job(podReplacementPolicy="Failed")
    assert counted(patient, pods) == (["a"], ["b"], {"a", "b"})


def test_a_pod_counted_as_failed_stays_failed():
    one = job()
    one["status"] = {"uncountedTerminatedPods": {"failed": ["a", "b"]}}
    pods = [pod("a", "Failed"), pod("b", "Succeeded")]
    view = View.of(one, pods)
    assert (view.succeeded, view.failed) == (0, 2)
    assert counted(one, pods, "Failed") == ([], ["a", "b"], {"a", "b"})


def test_a_deleted_job_lets_running_pods_go_uncounted():
    one = job()
    one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    pods = [pod("a", "Succeeded"), pod("b", "Failed"), pod("c")]
    assert counted(one, pods) == (["a"], ["b"], {"a", "b", "c"})


def test_pods_of_no_index_count_for_nothing_and_are_let_go():
    pods = [
        pod("a", "Succeeded", index=0),
        pod("b", "Succeeded"),
        pod("c", "Failed"),
        pod("d", "Succeeded", index=6),
        pod("e", "Failed", index=8),
    ]
    for name, text in (("f", "-2"), ("g", "²"), ("h", "9" * 5000), ("i", "first")):
        odd = pod(name, "Failed")
        odd["metadata"]["annotations"][job_indexes.ANNOTATION] = text
        pods.append(odd)
    view = View.of(indexed(), pods)
    assert (view.done_indexes, view.failed) == ({0}, 0)
    assert counted(indexed(), pods) == ([], [], uids(pods))


def test_an_index_counts_once():
    pods = [pod("a", "Succeeded", index=1), pod("b", "Succeeded", index=1), pod("c", "Succeeded", index=0)]
    assert View.of(indexed(completions=3), pods).succeeded == 2
    assert planning.plan(indexed(completions=3), View.of(indexed(completions=3), pods), LATER).indexes == [2]


@pytest.mark.parametrize(
    ("before", "done", "completions", "expected"),
    [
        ("0-5,8-10", [], 8, "0-5"),
        ("0-5,8-10", [], 10, "0-5,8,9"),
        ("0,4,5,10-12", [2, 7, 8], 13, "0,2,4,5,7,8,10-12"),
        ("3,4,6", [2, 7, 8], 9, "2-4,6-8"),
        ("2-7", [0, 3, 5, 9], 10, "0,2-7,9"),
        ("0,1-foo,bar,²", [3], 4, "0,3"),
        ("9-2", [], 10, ""),
    ],
)
def test_completed_indexes_grow(before: str, done: list[int], completions: int, expected: str):
    one = indexed(completions=completions)
    one["status"] = {"completedIndexes": before}
    pods = [pod(f"p{index}", "Succeeded", index=index) for index in done]
    assert count(one, View.of(one, pods), finishing="").status["completedIndexes"] == expected


def test_no_more_than_the_status_can_hold_at_once():
    one = job(completions=None)
    one["status"] = {"uncountedTerminatedPods": {"failed": ["b"]}}
    pods = [pod(f"p{n}", "Succeeded") for n in range(MOST_UNCOUNTED + 20)] + [pod("b", "Failed")]
    result = count(one, View.of(one, pods), finishing="")
    assert result.more and len(result.status["uncountedTerminatedPods"]["succeeded"]) <= MOST_UNCOUNTED


def test_a_failed_pod_waits_for_the_one_that_carries_its_failures_on():
    one = indexed(backoffLimitPerIndex=1)
    failed = pod("a", "Failed", index=1, going=True)  # somebody has deleted it, too
    assert counted(one, [failed]) == ([], [], set())
    assert counted(one, [failed, pod("b", index=1)]) == ([], ["a"], {"a"})
    lost = pod("a", "Failed", index=1)
    lost["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = "1"
    assert counted(one, [lost]) == ([], ["a"], {"a"})
    assert View.of(one, [lost]).failed_indexes == {1}


# -- pods ---------------------------------------------------------------------------------------------------


def test_pods_of_no_index_or_of_one_that_is_taken_go_before_any_is_made():
    pods = [
        pod("a", "Pending"),
        pod("b", index=7),
        pod("c", "Pending", index=0),
        pod("d", index=0),
        pod("e", index=3),
    ]
    todo = planning.plan(indexed(parallelism=5), View.of(indexed(), pods), LATER)
    assert (uids(todo.delete), todo.create) == ({"a", "b", "c"}, 0)


def test_free_indexes_are_the_lowest():
    pods = [pod("a", index=0), pod("b", "Pending", index=3)]
    pods += [pod(f"s{index}", "Succeeded", index=index) for index in (2, 4, 5, 7, 8, 9)]
    one = indexed(parallelism=8, completions=20)
    assert planning.plan(one, View.of(one, pods), LATER).indexes == [1, 6, 10, 11, 12, 13]


def test_more_are_going_than_may_run():
    one = job(parallelism=1, completions=1, podReplacementPolicy="Failed")
    pods = [pod("a"), pod("b")] + [pod(f"g{n}", going=True) for n in range(4)]
    todo = planning.plan(one, View.of(one, pods), LATER)
    assert (len(todo.delete), todo.create) == (1, 0)


def test_long_names_keep_their_index():
    one = indexed()
    for name in ("h" * 70, "h" * 57, "h" * 56):
        one["metadata"]["name"] = name
        assert new_pod(one, 12)["metadata"]["generateName"] == "h" * 54 + "-12-"
    one["metadata"]["name"] = "short"
    assert new_pod(one, 1)["metadata"]["generateName"] == "short-1-"


def test_a_pod_that_was_taken_away_delays_the_next():
    """Else a Job whose pods are evicted again and again would use its back-off limit up within a second."""
    now = parse_rfc3339("2026-01-01T00:00:05Z")
    one = job(parallelism=1, completions=1)
    taken = pod("a", going=True)
    assert planning.plan(one, View.of(one, [taken]), now).again == 5
    assert planning.plan(one, View.of(one, [taken]), now + 5).create == 1
    taken["metadata"]["annotations"][LET_GO] = "true"  # by us: that is no failure
    assert planning.plan(one, View.of(one, [taken]), now).create == 1


@pytest.mark.parametrize(
    ("ends", "ready", "grace", "expected"),
    [
        (["00:00:01", "00:00:03"], None, None, "00:00:03"),
        (["00:00:01", None], None, 0, "00:01:00"),
        ([None], None, 30, "00:00:30"),
        ([None], ("False", "00:00:09"), 30, "00:00:09"),
        ([None], ("True", "00:00:09"), 30, "00:00:30"),
        ([None], None, None, "00:00:00"),
    ],
)
def test_when_a_pod_ended(ends: list[str | None], ready: Any, grace: int | None, expected: str):
    one = pod("a")
    one["status"]["containerStatuses"] = [
        {"name": "c", "state": {"terminated": {"finishedAt": f"2026-01-01T{end}Z"}} if end else {"running": {}}}
        for end in ends
    ]
    if ready:
        stamp = f"2026-01-01T{ready[1]}Z"
        one["status"]["conditions"] = [{"type": "Ready", "status": ready[0], "lastTransitionTime": stamp}]
    if grace is not None:
        one["metadata"] |= {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": grace}
    assert finished_at(one) == parse_rfc3339(f"2026-01-01T{expected}Z")


# -- ends ---------------------------------------------------------------------------------------------------


def restarted(uid: str, times: int, phase: str = "Running") -> dict[str, Any]:
    one = pod(uid, phase)
    one["status"]["containerStatuses"] = [{"name": "c", "restartCount": times}]
    return one


@pytest.mark.parametrize(
    ("limit", "restarts", "over"),
    [(0, [0], False), (0, [1], True), (1, [0], False), (1, [1], True), (3, [1, 1], False), (2, [1, 1], True)],
)
@pytest.mark.parametrize("phase", ["Running", "Pending"])
def test_restarts_in_place_count_towards_the_limit(limit: int, restarts: list[int], over: bool, phase: str):
    one = job(backoffLimit=limit)
    one["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    view = View.of(one, [restarted(f"p{n}", times, phase) for n, times in enumerate(restarts)])
    end = planning.ending(one, view, LATER)
    assert (end.reason if end else None) == ("BackoffLimitExceeded" if over else None)


def met(kind: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": "Before", "message": "m"}]}


def test_what_was_decided_is_not_decided_again():
    lost = pod("a", "Failed", index=0, code=5)
    one = indexed(
        completions=2,
        backoffLimit=0,
        successPolicy={"rules": [{"succeededCount": 1}]},
        podFailurePolicy={"rules": RULES},
    )
    view = View.of(one, [lost, pod("b", "Succeeded", index=1)])
    assert planning.ending(one, view, LATER).reason == "PodFailurePolicy"  # failure goes before success
    for kind, end in (("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")):
        one["status"] = met(kind)
        assert planning.ending(one, view, LATER)[:2] == (end, "Before")
    running = View.of(one, [pod("c", index=0)])
    for kind in ("SuccessCriteriaMet", "FailureTarget", "Failed"):
        one["status"] = met(kind, "False")  # by some hand: it says nothing
        assert planning.ending(one, running, LATER) is None and not planning.over(one)


def test_only_failed_pods_are_judged_by_their_exit_code():
    one = job(podFailurePolicy={"rules": RULES}, podReplacementPolicy="Failed", backoffLimit=0)
    running = pod("a")
    running["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"exitCode": 5}}}]
    going = pod("b", going=True)
    assert planning.ending(one, View.of(one, [running, going]), LATER) is None
    assert planning.ending(one, View.of(one, [pod("c", "Failed", code=2)]), LATER) is None
    assert planning.ending(one, View.of(one, [pod("c", "Failed", code=-1073741510)]), LATER).kind == "Failed"
    evicted = pod("d", "Failed", code=0)
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    message = "Pod default/d has condition DisruptionTarget matching FailJob rule at index 2"
    assert planning.ending(one, View.of(one, [evicted]), LATER).message == message


def test_a_job_that_has_ended_is_not_called_suspended():
    one = job(suspend=True, completions=2)
    view = View.of(one, [pod("a", "Succeeded"), pod("b", "Succeeded")])
    assert planning.ending(one, view, LATER).reason == "CompletionsReached"


def test_conditions_keep_their_place():
    status = planning.suspension(job(suspend=True), {"conditions": []}, LATER)[0]
    assert planning.suspension(job(suspend=True), status, LATER) == (status, "")
    status = planning.with_condition(status, "FailureTarget", "True", "r", "m", LATER)
    status, told = planning.suspension(job(), status, LATER)
    assert told == "Resumed" and [c["type"] for c in status["conditions"]] == ["Suspended", "FailureTarget"]
    assert planning.suspension(job(), {}, LATER) == ({}, "")  # it never was: nothing is told
