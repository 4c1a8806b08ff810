"""CronJobs. Their clock is the wall's: those that are waited for are made when the first test of the folder runs (see
conftest.py), so that their minutes go by while other tests run; these tests come last."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.lifecycle import every_verb, is_discovered, status_verbs
from tests.cluster.conformance.objects import container, pod_spec
from tests.waiting import eventually


def cron_job(name: str, policy: str = "Allow", schedule: str = "* * * * *", suspend: bool = False):
    template = {"template": {"spec": pod_spec(container("c", "exec sleep 3600"), restartPolicy="OnFailure")}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": policy,
            "suspend": suspend,
            "jobTemplate": {"spec": {"parallelism": 1, "completions": 1, **template}},
        },
    }


def jobs_of(api, ns: str, name: str) -> list[str]:
    """Its jobs that are not on their way out, oldest first."""
    return sorted(
        j["metadata"]["name"]
        for j in api.at("batch/v1", "jobs", ns).items()
        if [r["name"] for r in j["metadata"].get("ownerReferences", [])] == [name]
        and "deletionTimestamp" not in j["metadata"]
    )


def active(api, ns: str, name: str) -> list[str]:
    found = api.at("batch/v1", "cronjobs", ns).get(name)
    return sorted(j["name"] for j in found.get("status", {}).get("active", []))


def _after_two_minutes(api, ns: str) -> list[str]:
    """Waits until the one that allows it has run twice: then every schedule has come twice."""
    eventually(lambda: len(jobs_of(api, ns, "concurrent")) > 1, "two minutes have begun", 150)
    return eventually(lambda: len(a := active(api, ns, "concurrent")) > 1 and a, "two jobs are active", 10)


@pytest.mark.conformance("[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]")
def test_allow(api, cron_jobs):
    assert _after_two_minutes(api, cron_jobs) == jobs_of(api, cron_jobs, "concurrent")


@pytest.mark.conformance("[sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]")
def test_suspended(api, cron_jobs):
    _after_two_minutes(api, cron_jobs)
    assert active(api, cron_jobs, "suspended") == [] == jobs_of(api, cron_jobs, "suspended")


@pytest.mark.conformance("[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]")
def test_forbid(api, cron_jobs):
    newest = _after_two_minutes(api, cron_jobs)[-1]
    [only] = jobs_of(api, cron_jobs, "forbid")
    assert active(api, cron_jobs, "forbid") == [only]
    # It is that of an earlier minute.
    assert int(only.rsplit("-", 1)[1]) < int(newest.rsplit("-", 1)[1])


@pytest.mark.conformance("[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]")
def test_replace(api, cron_jobs):
    first = int(_after_two_minutes(api, cron_jobs)[0].rsplit("-", 1)[1])

    def replaced() -> bool:
        """One Job is left, the active one, of a later minute than the first: that one is gone or going."""
        left = jobs_of(api, cron_jobs, "replace")
        return len(left) == 1 and active(api, cron_jobs, "replace") == left and int(left[0].rsplit("-", 1)[1]) > first

    eventually(replaced, "only a later one is left, and active", 30)


@pytest.mark.conformance("[sig-apps] CronJob should support CronJob API operations [Conformance]")
def test_api(api, ns):
    is_discovered(api, "batch/v1", "cronjobs", "cronjobs/status")
    crons = api.at("batch/v1", "cronjobs", ns)

    def never(name: str):
        return cron_job(name, schedule="0 0 31 2 *", suspend=True)

    every_verb(
        crons, never, lambda o: o["spec"].update(schedule="0 0 30 2 *"), lambda o: o["spec"]["schedule"] == "0 0 30 2 *"
    )
    crons.create(never("with-status"))
    when = "2026-01-02T03:04:05Z"
    after = status_verbs(
        crons, "with-status", {"lastScheduleTime": when}, lambda s: s.update(lastScheduleTime="2026-01-02T03:05:05Z")
    )
    assert after["status"]["lastScheduleTime"] == "2026-01-02T03:05:05Z"
