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

from shirube.api.gvr import CRONJOBS, JOBS
from shirube.client.rest import Client
from shirube.controllers import cron_job_plan as planning
from shirube.controllers.cron_job import CronJobController
from shirube.controllers.cron_schedule import Schedule, UnknownTimeZone, UnparseableSchedule
from shirube.controllers.ttl_after_finished import time_left
from shirube.foundation.clock import SYSTEM, parse_rfc3339, rfc3339

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
