from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import items
from tests.controllers.live import Live, live
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import EVENTS, JOBS, PODS, SERVICEACCOUNTS
from shirube.client.rest import Client
from shirube.controllers import job_indexes
from shirube.controllers import job_plan as planning
from shirube.controllers.job_back_off import Failures
from shirube.controllers.job_pod import new_pod
from shirube.controllers.job_policy import judge_failure, succeeded_by_policy
from shirube.controllers.job_tracking import count
from shirube.controllers.job_view import FINALIZER, LET_GO, View, astray
from shirube.foundation.clock import rfc3339
from shirube.foundation.tasks import cancel, spawn


def job(name: str = "j", **spec: Any) -> dict[str, Any]:
    spec = {"parallelism": 2, "completions": 3, "backoffLimit": 6, **spec}
    template = {"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default", "uid": "u", "resourceVersion": "1"},
        "spec": {"template": template, **spec},
    }


def pod(
    uid: str,
    phase: str = "Running",
    *,
    index: int | None = None,
    tracked: bool = True,
    going: bool = False,
    code: int = 1,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "namespace": "default", "annotations": {}}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    if index is not None:
        metadata["annotations"][job_indexes.ANNOTATION] = str(index)
    if tracked:
        metadata["finalizers"] = [FINALIZER]
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status: dict[str, Any] = {"phase": phase}
    if phase == "Failed":
        ended = {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}
        status["containerStatuses"] = [{"name": "c", "state": ended}]
    return {"metadata": metadata, "spec": {}, "status": status}


LATER = 1_800_000_000.0


@pytest.mark.parametrize(
    ("found", "let_go", "expected"),
    [
        (pod("a"), False, False),
        (pod("a", tracked=False), True, True),
        (pod("a", tracked=False), False, True),  # somebody else took its finalizer: it must be counted all the same
        (pod("a", tracked=False, going=True), True, False),
        (pod("a", "Succeeded", tracked=False), True, True),  # it ended before it could be deleted
        (pod("a", "Succeeded", tracked=False), False, False),  # counted
    ],
)
def test_pods_that_were_let_go_and_not_deleted_are_tracked_again(found: Any, let_go: bool, expected: bool):
    if let_go:
        found["metadata"]["annotations"][LET_GO] = "true"
    assert astray(found) is expected


def test_pods_are_made_as_parallelism_and_completions_say():
    one = job()
    assert planning.plan(one, View.of(one, []), LATER).create == 2
    assert planning.plan(one, View.of(one, [pod("a"), pod("b", "Succeeded")]), LATER).create == 1
    done = [pod("a", "Succeeded"), pod("b", "Succeeded"), pod("c")]
    assert planning.plan(one, View.of(one, done), LATER).create == 0
    queue = job(completions=None)
    assert planning.plan(queue, View.of(queue, [pod("a", "Succeeded")]), LATER).create == 0
    assert len(planning.plan(job(suspend=True), View.of(one, [pod("a")]), LATER).delete) == 1
    fewer = job(parallelism=1)
    assert len(planning.plan(fewer, View.of(fewer, [pod("a"), pod("b")]), LATER).delete) == 1


def test_failures_back_off():
    failed = pod("a", "Failed")
    ended = planning.finished_at(failed)
    one = job()
    assert planning.plan(one, View.of(one, [failed]), ended + 1).again == 9
    assert Failures().look(View.of(one, [failed, pod("b", "Failed")])).left(ended) == 20
    assert Failures().look(View.of(one, [pod(f"p{n}", "Failed") for n in range(20)])).left(ended) == 600


def test_terminating_pods_are_replaced_at_once_unless_asked_otherwise():
    one = job(parallelism=1)
    assert planning.plan(one, View.of(one, [pod("a", going=True)]), LATER).create == 1
    patient = job(parallelism=1, podReplacementPolicy="Failed")
    assert planning.plan(patient, View.of(patient, [pod("a", going=True)]), LATER).create == 0


def test_indexes():
    assert job_indexes.parse("0,2-4,7") == {0, 2, 3, 4, 7}
    assert job_indexes.format([4, 0, 2, 3, 7, 8]) == "0,2-4,7,8"
    one = job(completionMode="Indexed", completions=5, parallelism=3)
    view = View.of(one, [pod("a", index=0), pod("b", "Succeeded", index=1), pod("c", index=0)])
    todo = planning.plan(one, view, LATER)
    assert len(todo.delete) == 1, "two pods of an index"
    view = View.of(one, [pod("a", index=0), pod("b", "Succeeded", index=1)])
    assert planning.plan(one, view, LATER).indexes == [2, 3]


@given(st.sets(st.integers(0, 60)))
def test_index_sets_survive_their_text(indexes: set[int]):
    assert job_indexes.parse(job_indexes.format(indexes)) == indexes


def test_pods_of_indexed_jobs_know_their_index():
    made = new_pod(job(completionMode="Indexed", backoffLimitPerIndex=1), 3, (1, 0))
    assert made["metadata"]["generateName"] == "j-3-" and made["spec"]["hostname"] == "j-3"
    assert made["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    assert made["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"


@pytest.mark.parametrize(
    ("spec", "pods", "reason"),
    [
        ({}, ["Succeeded"] * 3, "CompletionsReached"),
        ({}, ["Succeeded"] * 2, None),
        ({"backoffLimit": 1}, ["Failed"] * 2, "BackoffLimitExceeded"),
        ({"backoffLimit": 2}, ["Failed"] * 2, None),
        ({"completions": None}, ["Succeeded", "Running"], None),
        ({"completions": None}, ["Succeeded"], "CompletionsReached"),
    ],
)
def test_endings(spec, pods, reason):
    one = job(**spec)
    end = planning.ending(one, View.of(one, [pod(str(n), p) for n, p in enumerate(pods)]), LATER)
    assert (end and end.reason) == reason


def test_deadline_and_policies():
    late = job(activeDeadlineSeconds=5)
    late["status"] = {"startTime": "2026-01-01T00:00:00Z"}
    end = planning.ending(late, View.of(late, [pod("a")]), LATER)
    assert end is not None and end.reason == "DeadlineExceeded"
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    strict = job(podFailurePolicy={"rules": [rule]})
    end = planning.ending(strict, View.of(strict, [pod("a", "Failed", code=42)]), LATER)
    assert end is not None and end.reason == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in end.message
    counted = count(strict, View.of(strict, [pod("a", "Failed", code=42)]), finishing="Failed")
    assert counted.ignored == [], "the Job's end tells of it, once"
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    lenient = job(podFailurePolicy={"rules": [ignore]}, backoffLimit=0)
    evicted = pod("a", "Failed")
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    assert judge_failure(lenient, evicted).action == "Ignore"
    assert planning.ending(lenient, View.of(lenient, [evicted]), LATER) is None
    winner = job(completionMode="Indexed", completions=9, successPolicy={"rules": [{"succeededIndexes": "0-2"}]})
    assert succeeded_by_policy(winner, {0, 1}) is None
    assert succeeded_by_policy(winner, {0, 1, 2}) == "Matched rules at index 0"


def test_back_off_per_index():
    one = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=0)
    view = View.of(one, [pod("a", "Failed", index=0), pod("b", "Succeeded", index=1)])
    assert view.failed_indexes == {0}
    end = planning.ending(one, view, LATER)
    assert end is not None and end.reason == "FailedIndexes"
    again = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1)
    view = View.of(again, [pod("a", "Failed", index=0), pod("b", "Succeeded", index=1)])
    assert view.failed_indexes == set() and planning.index_failures(view, 0) == (1, 0)
    kept = count(again, view, finishing="").release
    assert [p["metadata"]["uid"] for p in kept] == ["b"], "the failed pod waits for the one that replaces it"


@given(
    st.lists(st.sampled_from(["Running", "Succeeded", "Failed", "released"]), max_size=12),
    st.integers(0, 11),
    st.integers(0, 3),
)
def test_counting_step_by_step_never_loses_or_doubles_a_pod(phases, lag, _):
    """Any order of finalizers going and caches lagging: the sum of counters and uids is the pods that ended."""
    one = job(completions=100)
    one["status"] = {}
    world = [pod(str(n), "Succeeded" if p == "released" else p) for n, p in enumerate(phases)]
    for step in range(6):
        seen = [dict(p, metadata=dict(p["metadata"])) for p in world]
        result = count(one, View.of(one, seen), finishing="")
        one["status"] = result.status
        total = {
            k: int(one["status"].get(k) or 0) + len(one["status"]["uncountedTerminatedPods"].get(k) or ())
            for k in ("succeeded", "failed")
        }
        assert total["failed"] == phases.count("Failed")
        assert total["succeeded"] == phases.count("Succeeded") + phases.count("released")
        for released in result.release[: lag + step]:
            original = next(p for p in world if p["metadata"]["uid"] == released["metadata"]["uid"])
            original["metadata"]["finalizers"] = []


# -- on the real API server ---------------------------------------------------------------------------------


async def finish(
    client: Client, pod: dict[str, Any], phase: str, code: int = 0, at: str = "2026-01-01T00:00:00Z"
) -> None:
    ended = {"terminated": {"exitCode": code, "finishedAt": at}}
    status = {"phase": phase, "containerStatuses": [{"name": "c", "image": "x", "imageID": "x", "ready": False,
              "restartCount": 0, "state": ended}]}  # fmt: skip
    metadata = pod["metadata"]
    with contextlib.suppress(ApiError):
        await client.patch(PODS, metadata["name"], {"status": status}, metadata["namespace"], subresource="status")


@contextlib.asynccontextmanager
async def runner(client: Client, outcome=lambda pod: "Succeeded", seen: list[str] | None = None):
    """Ends each pod as soon as it is there, and lets deleted ones go."""

    async def follow() -> None:
        async for event in client.watch(PODS, resource_version="0"):
            pod = event["object"]
            if event["type"] == "DELETED" or pod["metadata"].get("deletionTimestamp"):
                continue
            if (pod.get("status") or {}).get("phase") == "Pending":
                if seen is not None:
                    seen.append(pod["metadata"]["uid"])
                result = outcome(pod)
                if result:
                    await finish(client, pod, result, 0 if result == "Succeeded" else 1)

    task = spawn(follow(), name="runner")
    try:
        yield
    finally:
        await cancel(task)


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        await house.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        yield house


def fresh(name: str, **spec: Any) -> dict[str, Any]:
    one = job(name, **spec)
    one["metadata"] = {"name": name, "namespace": "default"}
    return one


async def over(client: Client, name: str) -> dict[str, Any] | None:
    found = await client.get(JOBS, name, "default")
    return found if planning.over(found) else None


async def test_runs_to_completion_and_counts(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"), runner(admin):
        await admin.create(JOBS, fresh("plain"))
        indexed = fresh("numbered", completionMode="Indexed", completions=4)
        await admin.create(JOBS, indexed)
        plain = await until(lambda: over(admin, "plain"), 10)
        numbered = await until(lambda: over(admin, "numbered"), 10)
        assert plain["status"]["succeeded"] == 3 and not plain["status"].get("active")
        assert [c["type"] for c in plain["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"]
        assert plain["status"]["completionTime"] and plain["status"]["startTime"]
        assert numbered["status"]["completedIndexes"] == "0-3"
        assert not any(p["metadata"].get("finalizers") for p in await items(admin, PODS))
        reasons = Counter(e["reason"] for e in await items(admin, EVENTS))
        assert reasons["SuccessfulCreate"] >= 7
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_fails_suspends_and_resumes(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, fresh("idle", suspend=True))

        async def told() -> bool:
            status = (await admin.get(JOBS, "idle", "default")).get("status") or {}
            return any(c["reason"] == "JobSuspended" for c in status.get("conditions") or ())

        await until(told)
        assert not await items(admin, PODS)
        async with runner(admin, lambda _: "Failed"):
            await admin.patch(JOBS, "idle", {"spec": {"suspend": False, "backoffLimit": 0}}, "default")
            await admin.create(JOBS, fresh("bad", backoffLimit=0, parallelism=1))
            bad = await until(lambda: over(admin, "bad"), 10)
        assert [c["type"] for c in bad["status"]["conditions"]] == ["FailureTarget", "Failed"]
        assert bad["status"]["failed"] == 1
        assert {c["reason"] for c in bad["status"]["conditions"]} == {"BackoffLimitExceeded"}


async def test_a_job_that_ran_is_suspended_changed_and_resumed(house: Live):
    """Its start time goes with its pods; meanwhile where and with what its pods run may change, and nothing else."""
    admin = house.admin
    async with house.controllers(only="job-controller"), runner(admin, lambda _: ""):
        await admin.create(JOBS, fresh("again", parallelism=2))

        async def at(suspended: str, pods: int) -> dict[str, Any] | None:
            status = (await admin.get(JOBS, "again", "default")).get("status") or {}
            told = {c["type"]: c["status"] for c in status.get("conditions") or ()}.get("Suspended", "")
            return status if told == suspended and int(status.get("active") or 0) == pods else None

        first = await until(lambda: at("", 2), 10)
        for _ in range(2):
            await admin.patch(JOBS, "again", {"spec": {"suspend": True}}, "default")
            status = await until(lambda: at("True", 0), 10)
            assert "startTime" not in status
            container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "2"}}}
            template = {"spec": {"nodeSelector": {"disk": "fast"}, "containers": [container]}}
            await admin.patch(JOBS, "again", {"spec": {"template": template}}, "default", type="strategic")
            with pytest.raises(ApiError, match="field is immutable"):
                other = {"spec": {"containers": [{**container, "image": "y"}]}}
                await admin.patch(JOBS, "again", {"spec": {"template": other}}, "default", type="strategic")
            await admin.patch(JOBS, "again", {"spec": {"suspend": False}}, "default")
            status = await until(lambda: at("False", 2), 10)
            assert status["startTime"] >= first["startTime"]
        active = [p for p in await items(admin, PODS) if not p["metadata"].get("deletionTimestamp")]
        assert all(p["spec"]["nodeSelector"] == {"disk": "fast"} for p in active)


async def test_an_indexed_job_becomes_smaller_than_what_it_has_done(house: Live):
    """What succeeded at indexes that are no more does not count, and comes back with them only by running again."""
    admin = house.admin

    def last_ones(one: dict[str, Any]) -> str:
        return "" if one["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0" else "Succeeded"

    async with house.controllers(only="job-controller"), runner(admin, last_ones):
        await admin.create(JOBS, fresh("small", completions=4, parallelism=4, completionMode="Indexed"))

        async def done(indexes: str, succeeded: int) -> bool:
            status = (await admin.get(JOBS, "small", "default")).get("status") or {}
            return (status.get("completedIndexes"), status.get("succeeded")) == (indexes, succeeded)

        await until(lambda: done("1-3", 3), 10)
        size = {"completions": 2, "parallelism": 2}
        await admin.patch(JOBS, "small", {"spec": size}, "default")
        await until(lambda: done("1", 1), 10)


def test_a_job_that_ends_while_it_is_suspended_has_a_start_time():
    one = job(suspend=True)
    told = planning.timed(one, {"startTime": "2026-01-01T00:00:00Z"}, LATER)
    assert "startTime" not in told
    assert planning.started(told, {"startTime": "2026-01-01T00:00:00Z"}, LATER)["startTime"] == "2026-01-01T00:00:00Z"
    assert planning.started(told, {}, LATER)["startTime"] == rfc3339(LATER)


async def test_a_deleted_job_lets_its_pods_go(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller,garbage-collector-controller"):
        await admin.create(JOBS, fresh("gone"))

        async def some() -> bool:
            return len(await items(admin, PODS)) == 2

        await until(some)
        await admin.delete(JOBS, "gone", "default", propagation_policy="Background")

        async def none() -> bool:
            return not await items(admin, PODS)

        await until(none, 10)


async def test_a_crash_after_any_write_neither_loses_nor_doubles_a_pod(house: Live):
    admin = house.admin
    for writes in range(1, 14):
        name = f"crash-{writes}"
        seen: list[str] = []
        async with runner(admin, seen=seen):
            house.tokens.writes_left, house.tokens.dead = writes, asyncio.Event()
            async with house.controllers(only="job-controller"):
                await admin.create(JOBS, fresh(name))

                async def stopped(name: str = name) -> bool:
                    return house.tokens.dead.is_set() or bool(await over(admin, name))

                await until(stopped, 10)
            house.tokens.writes_left = None
            async with house.controllers(only="job-controller"):
                found = await until(lambda name=name: over(admin, name), 10)
        assert found["status"]["succeeded"] == 3 == len(seen), f"after {writes} writes"
        assert not found["status"].get("failed")
