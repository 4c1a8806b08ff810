"""How long a Job waits before it tries again: failures that are remembered, those that are none, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import items
from tests.controllers.live import Live, live
from tests.controllers.test_job import finish, fresh, job, over, pod
from tests.controllers.test_job_hands import pods_of, status_of, tracked_pod
from tests.waiting import until

from shirube.api.gvr import EVENTS, JOBS, PODS, SERVICEACCOUNTS
from shirube.controllers import job_plan as planning
from shirube.controllers.job_back_off import Failures, delay
from shirube.controllers.job_view import LET_GO, View, finished_at
from shirube.foundation.clock import SYSTEM, parse_rfc3339, rfc3339

MIDNIGHT = parse_rfc3339("2026-01-01T00:00:00Z")


def ended(uid: str, phase: str = "Failed", at: int = 0, **more: Any) -> dict[str, Any]:
    """A pod whose container ended so many seconds after midnight."""
    found = pod(uid, phase, **more)
    stamp = f"2026-01-01T00:{at // 60:02}:{at % 60:02}Z"
    found["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"finishedAt": stamp}}}]
    return found


def left(failures: Failures, one: dict[str, Any], pods: list[dict[str, Any]], at: int) -> float:
    return failures.look(View.of(one, pods)).left(MIDNIGHT + at)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (8, 600), (10_000, 600)]
)
def test_each_failure_doubles_the_delay(failures: int, seconds: float):
    assert delay(failures) == seconds


def test_failures_outlive_their_pods():
    """Three failures; whoever deletes the pods meanwhile does not make the next try come sooner."""
    known, one = Failures(), job(parallelism=1)
    assert left(known, one, [ended("a", at=0)], 0) == 10
    assert left(known, one, [], 0) == 10
    assert left(known, one, [ended("b", at=20)], 20) == 20
    assert left(known, one, [ended("c", at=60)], 60) == 40
    assert planning.plan(one, View.of(one, []), MIDNIGHT + 70, known).again == 30
    assert planning.plan(one, View.of(one, []), MIDNIGHT + 100, known).create == 1


def test_a_pod_counts_once_however_often_it_is_seen():
    known, one = Failures(), job()
    pods = [ended("a", at=0), ended("b", at=1)]
    assert {left(known, one, pods, 1) for _ in range(5)} == {20.0}
    going = [ended("a", at=0, going=True), ended("b", at=1, tracked=False)]
    assert left(known, one, going, 1) == 20


def test_a_success_begins_the_count_anew():
    known, one = Failures(), job()
    assert left(known, one, [ended("a", at=0), ended("b", at=1)], 1) == 20
    assert left(known, one, [ended("c", "Succeeded", at=5)], 5) == 0
    assert left(known, one, [ended("d", at=9)], 9) == 10
    both = [ended("e", at=20), ended("f", "Succeeded", at=25), ended("g", at=30)]
    assert left(known, one, both, 30) == 10, "seen at once: only what failed after the success counts"


def test_a_successor_begins_with_the_pods_that_are_there():
    one = job()
    counted = [ended("a", at=0, tracked=False), ended("b", at=3, tracked=False)]
    assert left(Failures(), one, counted, 3) == 20


def test_what_was_let_go_has_not_failed():
    """Pods taken away because of a suspension or a smaller parallelism, which the kubelet then calls failed."""
    gone = ended("a", at=0, tracked=False, going=True)
    gone["metadata"]["annotations"][LET_GO] = "true"
    assert left(Failures(), job(), [gone], 0) == 0


def test_pods_of_no_index_delay_nothing():
    one = job(completionMode="Indexed", completions=2)
    assert left(Failures(), one, [ended("a", at=0), ended("b", at=0, index=2)], 0) == 0
    assert left(Failures(), one, [ended("a", at=0, index=1)], 0) == 10


def test_sidecars_end_last():
    one = ended("a", at=3)
    one["spec"]["initContainers"] = [{"name": "side", "restartPolicy": "Always"}, {"name": "once"}]
    finished = [("side", "2026-01-01T00:00:09Z"), ("once", "2026-01-01T00:00:30Z")]
    one["status"]["initContainerStatuses"] = [
        {"name": name, "state": {"terminated": {"finishedAt": at}}} for name, at in finished
    ]
    assert finished_at(one) == MIDNIGHT + 9


def test_an_index_that_waits_keeps_its_turn():
    """With room for one pod the lowest index waits out its delay, and the next waits behind it."""
    one = job(completionMode="Indexed", completions=3, parallelism=1, backoffLimitPerIndex=2)
    view = View.of(one, [ended("a", at=0, index=0)])
    todo = planning.plan(one, view, MIDNIGHT + 4)
    assert (todo.indexes, todo.again) == ([], 6)
    assert planning.plan(one, view, MIDNIGHT + 10).indexes == [0]
    wide = job(completionMode="Indexed", completions=3, parallelism=2, backoffLimitPerIndex=2)
    assert planning.plan(wide, View.of(wide, [ended("a", at=0, index=0)]), MIDNIGHT + 4).indexes == [1]


@pytest.mark.parametrize("going", [False, True])
def test_restarts_of_a_pod_on_its_way_out_count(going: bool):
    one = job(backoffLimit=2)
    one["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    restarted = pod("a", going=going)
    restarted["status"]["containerStatuses"] = [{"name": "c", "restartCount": 2}]
    end = planning.ending(one, View.of(one, [restarted]), MIDNIGHT)
    assert end is not None and end.reason == "BackoffLimitExceeded"


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        await house.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        yield house


async def test_more_successes_than_were_asked_for_are_told(house: Live):
    """Two pods of its own made by another hand have succeeded; one was wanted."""
    admin = house.admin
    one = await admin.create(JOBS, fresh("one", completions=1, parallelism=1, suspend=True))
    labels = one["spec"]["selector"]["matchLabels"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "one", "uid": one["metadata"]["uid"], "controller": True}
    for name in ("a", "b"):
        made = await admin.create(PODS, tracked_pod(name, owner, **labels))
        await finish(admin, made, "Succeeded", 0)
    async with house.controllers(only="job-controller"):
        done = await until(lambda: over(admin, "one"), 10)
        assert done["status"]["succeeded"] == 2

        async def told() -> list[str]:
            events = [e for e in await items(admin, EVENTS) if e["reason"] == "TooManySucceededPods"]
            return [f"{e['type']}: {e['message']}" for e in events]

        assert await until(told, 10) == ["Warning: Too many succeeded pods running after completion count reached"]


async def test_pods_that_are_cleared_away_hasten_nothing(house: Live):
    """The pod that failed is deleted by hand; its successor comes when it would have come anyway."""
    admin = house.admin
    async with house.controllers(only="job-controller") as running:
        await admin.create(JOBS, fresh("bad", parallelism=1, backoffLimit=3))
        (first,) = await until(lambda: pods_of(admin, "bad"), 10)
        stamp = rfc3339(SYSTEM.now())
        await finish(admin, first, "Failed", 1, stamp)

        async def counted() -> bool:
            return (await status_of(admin, "bad")).get("failed") == 1

        await until(counted, 10)
        await admin.delete(PODS, first["metadata"]["name"], "default", grace_period_seconds=0)

        async def gone() -> bool:
            return not await pods_of(admin, "bad")

        await until(gone, 10)
        controller = next(c for c in running if c.name == "job-controller")
        controller.queue.add("default/bad")
        await until(lambda: controller.queue.idle)
        assert not await pods_of(admin, "bad")
        (known,) = controller._failures.values()
        assert known.count == 1
