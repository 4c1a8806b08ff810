from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import CRONJOBS, EVENTS, JOBS
from shirube.client.rest import Client
from shirube.controllers import cron_job_plan as planning
from shirube.controllers.cron_job import CronJobController
from shirube.controllers.cron_schedule import Schedule, UnknownTimeZone, UnparseableSchedule
from shirube.controllers.ttl_after_finished import time_left
from shirube.foundation.clock import SYSTEM, ManualClock, parse_rfc3339, rfc3339

NOW = parse_rfc3339("2026-03-10T10:30:30Z")


def cron_job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default", "uid": "u", "creationTimestamp": "2026-03-10T10:00:00Z"},
        "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template}}, **spec},
    }


def job(name: str, kind: str = "", started: str = "2026-03-10T10:00:00Z") -> dict[str, Any]:
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": started}] if kind else []
    status = {"conditions": conditions, "startTime": started}
    if kind == "Complete":
        status["completionTime"] = started
    metadata = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": started}
    return {"metadata": metadata, "spec": {}, "status": status}


def test_the_last_time_is_due_once():
    schedule = Schedule("*/5 * * * *")
    one = cron_job()
    todo = planning.plan(one, schedule, 0, NOW)
    assert todo.start is not None and rfc3339(todo.start) == "2026-03-10T10:30:00Z"
    assert todo.again == pytest.approx(270.05)
    one["status"] = {"lastScheduleTime": "2026-03-10T10:30:00Z"}
    assert planning.plan(one, schedule, 0, NOW).start is None
    exactly = parse_rfc3339("2026-03-10T10:35:00Z")
    assert planning.plan(one, schedule, 0, exactly).start == exactly


def test_policies_deadlines_and_suspension():
    schedule = Schedule("*/5 * * * *")
    assert planning.plan(cron_job(suspend=True), schedule, 0, NOW).start is None
    assert planning.plan(cron_job(startingDeadlineSeconds=20), schedule, 0, NOW).start is None
    assert planning.plan(cron_job(startingDeadlineSeconds=40), schedule, 0, NOW).start is not None
    refused = planning.plan(cron_job(concurrencyPolicy="Forbid"), schedule, 1, NOW)
    assert refused.start is None and refused.told[0][1] == "JobAlreadyActive"
    assert planning.plan(cron_job(concurrencyPolicy="Replace"), schedule, 1, NOW).replace
    old = cron_job()
    old["status"] = {"lastScheduleTime": "2026-03-01T00:00:00Z"}
    late = planning.plan(old, schedule, 0, NOW)
    assert late.start is not None and late.told[0][1] == "TooManyMissedTimes"


HOUR = 3600.0
AT_TEN = parse_rfc3339("2026-03-10T10:00:00Z")


@pytest.mark.parametrize(
    "spec,last,active,since_the_hour,starts,reason",
    [
        # hours since the last run, seconds after ten o'clock
        ({}, None, 0, -60, False, ""),
        ({"concurrencyPolicy": "Forbid"}, 1, 0, -60, False, ""),
        ({}, 1, 0, 60, True, ""),
        ({"concurrencyPolicy": "Forbid"}, 1, 0, 60, True, ""),
        ({"suspend": True}, 1, 0, 60, False, ""),
        ({"startingDeadlineSeconds": 10}, 1, 0, 60, False, ""),
        ({"startingDeadlineSeconds": 100}, 1, 0, 60, True, ""),
        ({}, 1, 1, -60, False, ""),
        ({"concurrencyPolicy": "Forbid"}, 1, 1, 60, False, "JobAlreadyActive"),
        ({"concurrencyPolicy": "Replace"}, 1, 1, 60, True, ""),
        ({"concurrencyPolicy": "Allow"}, 1, 1, 60, True, ""),
        ({"suspend": True, "concurrencyPolicy": "Replace"}, 1, 1, 60, False, ""),
        # long overdue: one start, and a warning when nobody has looked for so long
        ({}, 10, 0, 60, True, ""),
        ({}, 99, 0, 60, True, ""),
        ({}, 24 * 10, 0, 60, True, "TooManyMissedTimes"),
        ({"concurrencyPolicy": "Replace"}, 24 * 10, 0, 60, True, "TooManyMissedTimes"),
        ({"startingDeadlineSeconds": 3600 * 8}, 24 * 10, 0, 60, True, ""),
        ({"startingDeadlineSeconds": 100}, 24 * 10, 0, 60, True, ""),
        ({"startingDeadlineSeconds": 10}, 24 * 10, 0, 60, False, ""),
        ({"suspend": True}, 24 * 10, 0, 60, False, ""),
        # the clock was set back: what is to come was dealt with
        ({}, -2, 0, 60, False, ""),
    ],
)
def test_whether_an_hourly_job_starts(
    spec: dict[str, Any], last: int | None, active: int, since_the_hour: float, starts: bool, reason: str
):
    one = cron_job(schedule="0 * * * *", **spec)
    one["metadata"]["creationTimestamp"] = rfc3339(AT_TEN - HOUR / 2)
    if last is not None:
        one["status"] = {"lastScheduleTime": rfc3339(AT_TEN - last * HOUR)}
    todo = planning.plan(one, Schedule("0 * * * *"), active, AT_TEN + since_the_hour)
    assert todo.start == (AT_TEN if starts else None)
    assert [told[1] for told in todo.told] == ([reason] if reason else [])


@pytest.mark.parametrize("missed,told", [(99, False), (100, False), (101, True)])
def test_a_hundred_missed_times_are_not_too_many(missed: int, told: bool):
    one = cron_job(schedule="* * * * *")
    one["status"] = {"lastScheduleTime": rfc3339(AT_TEN - missed * 60)}
    todo = planning.plan(one, Schedule("* * * * *"), 0, AT_TEN + 30)
    assert todo.start == AT_TEN and bool(todo.told) == told


def test_a_schedule_that_never_comes():
    """It is told, in upstream's words, unless nobody wants it to come."""
    never = Schedule("59 23 31 2 *")
    why = "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"
    told = planning.plan(cron_job(schedule="59 23 31 2 *"), never, 0, AT_TEN)
    assert told == planning.Plan(told=[("Warning", "InvalidSchedule", why)])
    assert planning.plan(cron_job(schedule="59 23 31 2 *", suspend=True), never, 0, AT_TEN) == planning.Plan()


def test_time_zones_and_descriptors():
    nine = Schedule("0 9 * * *", "Asia/Tokyo")
    assert rfc3339(nine.after(NOW) or 0) == "2026-03-11T00:00:00Z"
    assert rfc3339(Schedule("@hourly").after(NOW) or 0) == "2026-03-10T11:00:00Z"
    assert Schedule("@every 90s").after(NOW) == NOW + 90
    assert Schedule("TZ=Asia/Tokyo 0 9 * * *").after(NOW) == nine.after(NOW)
    assert planning.new_job(cron_job(), nine, NOW)["metadata"]["annotations"][planning.SCHEDULED].endswith("+09:00")
    with pytest.raises(UnknownTimeZone):
        Schedule("* * * * *", "Nowhere/At_All")
    with pytest.raises(UnparseableSchedule):
        Schedule("99 * * * *")


@given(st.integers(0, 10_000_000), st.integers(0, 100_000), st.sampled_from(["*/7 * * * *", "13 4 * * 1-5", "@daily"]))
def test_the_latest_time_is_one_of_the_times(start: int, span: int, text: str):
    schedule = Schedule(text)
    since = NOW + start
    found = schedule.latest(since, since + span)
    following = schedule.after(since)
    assert following is not None
    if found is None:
        assert following > since + span
    else:
        assert since < found <= since + span
        assert (schedule.after(found) or 0) > since + span
        assert datetime.fromtimestamp(found, UTC).second == 0


@pytest.mark.parametrize(
    ("since", "fields", "following"),
    [
        # clocks in New York go from 2:00 to 3:00
        ("2012-03-11T00:00:00-05:00", "0 * * * *", "2012-03-11T01:00:00-05:00"),
        ("2012-03-11T01:00:00-05:00", "0 * * * *", "2012-03-11T03:00:00-04:00"),
        ("2012-03-11T00:00:00-05:00", "0 2 * * *", "2012-03-12T02:00:00-04:00"),
        ("2012-03-11T00:00:00-05:00", "30 2 11 3 *", "2013-03-11T02:30:00-04:00"),
        ("2012-03-11T01:00:00-05:00", "0 1 * * *", "2012-03-12T01:00:00-04:00"),
        # and back from 2:00 to 1:00
        ("2012-11-04T00:00:00-04:00", "0 1 * * *", "2012-11-04T01:00:00-04:00"),
        ("2012-11-04T01:00:00-04:00", "0 1 * * *", "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:00:00-05:00", "0 1 * * *", "2012-11-05T01:00:00-05:00"),
        ("2012-11-04T01:45:00-04:00", "30 1 4 11 *", "2012-11-04T01:30:00-05:00"),
        ("2012-11-04T00:00:00-04:00", "30 2 4 11 *", "2012-11-04T02:30:00-05:00"),
        ("2012-11-04T01:00:00-04:00", "0 * * * *", "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:59:00-04:00", "*/20 * * * *", "2012-11-04T01:00:00-05:00"),
        ("2012-11-04T01:40:00-05:00", "*/20 * * * *", "2012-11-04T02:00:00-05:00"),
        ("2012-11-03T12:00:00-04:00", "0 2 * * *", "2012-11-04T02:00:00-05:00"),
    ],
)
def test_when_clocks_are_changed(since: str, fields: str, following: str):
    schedule = Schedule(fields, "America/New_York")
    at, wanted = (datetime.fromisoformat(text).timestamp() for text in (since, following))
    assert schedule.after(at) == wanted
    assert schedule.latest(at, wanted - 1) is None
    assert schedule.latest(at, wanted) == schedule.latest(at, wanted + 30) == wanted
    assert schedule.missed(at, wanted) == 1


@pytest.mark.parametrize(
    ("fields", "days"),
    [
        ("0 0 */10 * 1", [2, 9, 11, 16, 21, 23, 30]),  # a step chooses: either day is enough
        ("0 0 */1 * 1", [2, 9, 16, 23, 30]),
        ("0 0 ? * mon", [2, 9, 16, 23, 30]),
        ("0 0 28/2 * *", [28, 30]),
        ("0 0 5,7-9 * *", [5, 7, 8, 9]),
        ("0 0 31 2 *", []),
    ],
)
def test_which_days_are_meant(fields: str, days: list[int]):
    schedule, at, found = Schedule(fields), parse_rfc3339("2026-03-01T12:00:00Z"), []
    while (following := schedule.after(at)) is not None and following < parse_rfc3339("2026-03-31T00:00:00Z"):
        at = following
        found.append(datetime.fromtimestamp(at, UTC).day)
    assert found == days


def test_status_follows_the_jobs_and_history_is_kept_short():
    one = cron_job(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    one["status"] = {"active": [planning.reference(job("a")), planning.reference(job("gone"))]}
    status, told = planning.refreshed(one, [job("a", "Complete"), job("stranger")])
    assert "active" not in status and status["lastSuccessfulTime"] == "2026-03-10T10:00:00Z"
    assert {t[1] for t in told} == {"SawCompletedJob", "MissingJob", "UnexpectedJob"}
    done = [job("a", "Complete"), job("b", "Complete", "2026-03-10T10:05:00Z"), job("c", "Failed")]
    assert [j["metadata"]["name"] for j in planning.to_clean_up(one, done)] == ["a", "c"]


def test_jobs_that_never_began_count_as_the_youngest():
    done = [job("b", "Failed", "2026-03-10T10:05:00Z"), job("a", "Failed"), job("never", "Failed", "")]
    one = cron_job(failedJobsHistoryLimit=1)
    assert [j["metadata"]["name"] for j in planning.to_clean_up(one, done)] == ["a", "b"]
    assert planning.to_clean_up(cron_job(), done) == []  # no limit


async def test_a_job_that_is_held_is_told_to_go_once(house: House, client: Client):
    one = cron_job(suspend=True, successfulJobsHistoryLimit=0)
    made = await client.create(CRONJOBS, one)
    done = job("done", "Complete")
    done["metadata"] |= {
        "finalizers": ["test/hold"],
        "ownerReferences": planning.new_job(made, Schedule("* * * * *"), NOW)["metadata"]["ownerReferences"],
    }
    await client.create(JOBS, done)
    async with house.running(CronJobController) as (controller,):

        async def told() -> int:
            return sum(e.get("count", 1) for e in await items(client, EVENTS) if e["reason"] == "SuccessfulDelete")

        await until(told)
        await until(lambda: controller._jobs.store.get("default", "done")["metadata"].get("deletionTimestamp"))
        await house.settle([controller])
        before = await told()
        for _ in range(3):
            controller.queue.add("default/tick")
            await house.settle([controller])
        assert await told() == before


async def test_somebody_elses_job_of_that_name_costs_one_time_only(house: House, client: Client):
    clock = ManualClock(NOW)
    one = cron_job(schedule="* * * * *")
    one["status"] = {"lastScheduleTime": rfc3339(NOW - NOW % 60 - 60)}
    await client.create(CRONJOBS, one)
    taken = planning.job_name(one, NOW - NOW % 60)
    await client.create(JOBS, {**job(taken), "metadata": {"name": taken, "namespace": "default"}})
    async with house.running(CronJobController, context=house.context(clock=clock)) as (controller,):
        await house.settle([controller])

        async def told() -> list[str]:
            return [e["message"] for e in await items(client, EVENTS) if e["reason"] == "FailedCreate"]

        assert len(await until(told)) == 1
        assert (await client.get(CRONJOBS, "tick", "default"))["status"] == one["status"]
        clock.advance(60)
        controller.queue.add("default/tick")
        await house.settle([controller])
        status = (await client.get(CRONJOBS, "tick", "default"))["status"]
        assert [r["name"] for r in status["active"]] == [planning.job_name(one, NOW + 60 - NOW % 60)]


def test_only_jobs_on_the_list_are_replaced():
    one = cron_job(concurrencyPolicy="Replace")
    jobs = [job("before"), job("by-hand"), job("done", "Complete"), job("this-time")]
    one["status"] = {"active": [planning.reference(j) for j in jobs if j["metadata"]["name"] != "by-hand"]}
    assert [j["metadata"]["name"] for j in planning.to_replace(one, jobs, "this-time")] == ["before"]


async def test_a_job_just_made_is_not_unexpected(house: House, client: Client):
    made = await client.create(CRONJOBS, cron_job())
    young = await client.create(JOBS, job("young"))
    stored = await client.update_status(CRONJOBS, {**made, "status": {"active": [planning.reference(young)]}})
    async with house.running(CronJobController) as (controller,):
        # What the cache held before that status arrived.
        assert await controller._as_stored(made, [young]) == stored
        assert await controller._as_stored(stored, [young]) is stored


def test_ttl():
    finished = job("a", "Complete", rfc3339(NOW))
    assert time_left(finished, NOW) is None
    finished["spec"] = {"ttlSecondsAfterFinished": 10}
    assert time_left(finished, NOW) == 10
    running = {**job("b"), "spec": {"ttlSecondsAfterFinished": 0}}
    assert time_left(running, NOW) is None
    by_hand = {**job("c"), "spec": {"ttlSecondsAfterFinished": 0}}
    by_hand["status"]["conditions"] = [{"type": "Failed", "status": "True"}]
    assert time_left(by_hand, NOW) is None


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
@pytest.mark.parametrize("ago,ttl,left", [(0, 0, 0), (0, 10, 10), (10, 15, 5), (10, 5, -5)])
def test_how_long_a_finished_job_stays(kind: str, ago: int, ttl: int, left: int):
    finished = {**job("a", kind, rfc3339(NOW - ago)), "spec": {"ttlSecondsAfterFinished": ttl}}
    assert time_left(finished, NOW) == left
    finished["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    assert time_left(finished, NOW) is None


async def test_on_the_real_api_server(tmp_path: Path):
    one = cron_job(schedule="* * * * *")
    one["metadata"] = {"name": "tick"}
    async with live(tmp_path) as house:
        admin = house.admin
        made = await admin.create(CRONJOBS, one, "default")
        last = rfc3339(SYSTEM.now() - 120)
        await admin.update_status(CRONJOBS, {**made, "status": {"lastScheduleTime": last}})
        async with house.controllers(only="cronjob-controller,job-controller,ttl-after-finished-controller"):

            async def started() -> Any:
                status = (await admin.get(CRONJOBS, "tick", "default"))["status"]
                return status if status.get("active") else None

            status = await until(started, 10)
            assert status["lastScheduleTime"] > last
            (running,) = await items(admin, JOBS)
            assert running["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
            await admin.patch(CRONJOBS, "tick", {"spec": {"suspend": True}}, "default")
            spec = {"suspend": True, "completions": 0}
            await admin.patch(JOBS, running["metadata"]["name"], {"spec": {"ttlSecondsAfterFinished": 0}}, "default")
            del spec

            async def done() -> bool:
                status = (await admin.get(CRONJOBS, "tick", "default"))["status"]
                return not status.get("active")

            ended = {"type": "Failed", "status": "True", "reason": "x", "message": "", "lastTransitionTime": last}
            target = {**ended, "type": "FailureTarget"}

            async def fail() -> bool:
                found = await admin.get(JOBS, running["metadata"]["name"], "default")
                if "startTime" not in (found.get("status") or {}):
                    return False  # the controller is about to set it, and it may not change
                status = {"conditions": [target, ended], "startTime": found["status"]["startTime"]}
                await admin.update_status(JOBS, {**found, "status": status})
                return True

            await until(fail, 10)
            await until(done, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]
