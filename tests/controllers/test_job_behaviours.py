"""What the conformance suite asks of Jobs, on the real API server with pods that end as told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import items, kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_job import fresh, over, runner
from tests.waiting import until

from shirube.api.gvr import JOBS, PODS
from shirube.controllers import job_indexes


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        yield house


def indexed(name: str, **spec: Any) -> dict[str, Any]:
    return fresh(name, completionMode="Indexed", **{"completions": 4, "parallelism": 2, **spec})


async def run(house: Live, job: dict[str, Any], outcome: Any) -> dict[str, Any]:
    admin, name = house.admin, job["metadata"]["name"]
    async with house.controllers(only="job-controller"), runner(admin, outcome), _reaper(house):
        await admin.create(JOBS, job)
        found: dict[str, Any] = await until(lambda: over(admin, name), 15)
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]
    return found


def _reaper(house: Live):
    """Lets deleted pods go, as their node would."""
    return kubelet(house.admin, ends=True, starts=False)


def reasons(job: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in job["status"]["conditions"]}


def odd_fail(pod: dict[str, Any]) -> str:
    return "Failed" if (job_indexes.index_of(pod) or 0) % 2 else "Succeeded"


@pytest.mark.conformance(
    "[sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex [Conformance]"
)
async def test_all_indexes_run_though_some_fail(house: Live):
    job = await run(house, indexed("odd", backoffLimitPerIndex=1), odd_fail)
    assert job["status"]["failedIndexes"] == "1,3" and job["status"]["completedIndexes"] == "0,2"
    assert job["status"]["failed"] == 4 and job["status"]["succeeded"] == 2
    assert reasons(job) == {"FailureTarget": "FailedIndexes", "Failed": "FailedIndexes"}


@pytest.mark.conformance(
    "[sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes "
    "[Conformance]"
)
async def test_too_many_failed_indexes_end_it(house: Live):
    job = indexed("many", completions=10, parallelism=2, backoffLimitPerIndex=0, maxFailedIndexes=2)
    found = await run(house, job, lambda _: "Failed")
    assert reasons(found)["Failed"] == "MaxFailedIndexesExceeded"
    assert 3 <= len(job_indexes.parse(found["status"]["failedIndexes"])) <= 4


@pytest.mark.conformance(
    "[sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy "
    "[Conformance]"
)
async def test_fail_index_needs_no_second_try(house: Live):
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [1]}}
    job = indexed("strict", completions=2, backoffLimitPerIndex=1, podFailurePolicy={"rules": [rule]})
    found = await run(house, job, odd_fail)
    assert (found["status"]["failedIndexes"], found["status"]["failed"]) == ("1", 1)


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early [Conformance]"
)
async def test_an_exit_code_ends_it_early(house: Live):
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}
    job = indexed("early", podFailurePolicy={"rules": [rule]})
    found = await run(house, job, odd_fail)
    assert reasons(found)["Failed"] == "PodFailurePolicy"


@pytest.mark.conformance("[sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]")
async def test_success_policy_with_all_indexes(house: Live):
    job = indexed("all", completions=2, successPolicy={"rules": [{"succeededIndexes": "0-1"}]})
    found = await run(house, job, lambda _: "Succeeded")
    assert reasons(found) == {"SuccessCriteriaMet": "SuccessPolicy", "Complete": "SuccessPolicy"}
    assert found["status"]["completedIndexes"] == "0,1"


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            {"succeededIndexes": "0"},
            marks=pytest.mark.conformance(
                "[sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes "
                "remain pending [Conformance]"
            ),
        ),
        pytest.param(
            {"succeededCount": 1},
            marks=pytest.mark.conformance(
                "[sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes "
                "remain pending [Conformance]"
            ),
        ),
    ],
)
async def test_success_policy_while_others_are_pending(house: Live, rule: dict[str, Any]):
    job = indexed("some", completions=2, successPolicy={"rules": [rule]})
    found = await run(house, job, lambda pod: "Succeeded" if job_indexes.index_of(pod) == 0 else "")
    assert reasons(found) == {"SuccessCriteriaMet": "SuccessPolicy", "Complete": "SuccessPolicy"}
    assert found["status"]["completedIndexes"] == "0" and not found["status"].get("active")
    assert not any(p["metadata"].get("finalizers") for p in await items(house.admin, PODS))
