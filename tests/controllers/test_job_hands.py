"""Jobs that hands interfere with: deleted, shrunk, ended, orphaned, taken over; on the real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import items, kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_job import finish, fresh, over, runner
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import JOBS, PODS, SERVICEACCOUNTS
from shirube.client.rest import Client
from shirube.controllers import job_indexes
from shirube.controllers.job_view import FINALIZER


@pytest.fixture
async def house(tmp_path: Path):
    async with live(tmp_path) as house:
        await house.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        yield house


async def status_of(client: Client, name: str) -> dict[str, Any]:
    return (await client.get(JOBS, name, "default")).get("status") or {}


async def pods_of(client: Client, name: str) -> list[dict[str, Any]]:
    return [p for p in await items(client, PODS) if p["metadata"]["labels"].get("job-name") == name]


HOLD = "example.com/hold"


async def bind_all(client: Client, name: str) -> list[dict[str, Any]]:
    """Pods on a node have a time of grace when they are deleted."""
    pods = await pods_of(client, name)
    for one in pods:
        if not one["spec"].get("nodeName"):
            await client.create(PODS, {"target": {"name": "n1"}}, "default", "binding", one["metadata"]["name"])
    return pods


def held(name: str, **spec: Any) -> dict[str, Any]:
    one = fresh(name, **spec)
    one["spec"]["template"]["metadata"] = {"finalizers": [HOLD]}
    return one


@pytest.mark.parametrize(
    ("spec", "first", "change", "expected"),
    [
        (
            {"completions": 2, "completionMode": "Indexed", "successPolicy": {"rules": [{"succeededCount": 1}]}},
            "Succeeded",
            None,
            {"kind": "Complete", "succeeded": 1, "failed": 0},
        ),
        (
            {"completions": 2, "completionMode": "Indexed"},
            "Succeeded",
            {"parallelism": 1, "completions": 1},
            {"kind": "Complete", "succeeded": 1, "failed": 0},
        ),
        (
            {"completions": 2, "completionMode": "Indexed"},
            "",
            {"parallelism": 0, "completions": 0},
            {"kind": "Complete", "succeeded": 0, "failed": 0},
        ),
        ({"completions": 2, "backoffLimit": 0}, "Failed", None, {"kind": "Failed", "succeeded": 0, "failed": 2}),
        (
            {"completions": 2, "backoffLimit": 0, "podReplacementPolicy": "Failed"},
            "Failed",
            None,
            {"kind": "Failed", "succeeded": 0, "failed": 2},
        ),
    ],
    ids=["success policy", "made smaller", "made nothing", "too many failures", "too many failures, patient"],
)
async def test_pods_that_still_ran_when_the_job_was_decided(
    house: Live, spec: dict[str, Any], first: str, change: dict[str, Any] | None, expected: dict[str, Any]
):
    """They are no failures of a Job that succeeded; and it is over only when they are."""
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, held("j", parallelism=2, **spec))

        async def both() -> list[dict[str, Any]] | None:
            status = await status_of(admin, "j")
            return await bind_all(admin, "j") if status.get("active") == 2 else None

        pods = sorted(await until(both, 10), key=lambda p: job_indexes.index_of(p) or 0)
        if first:
            await finish(admin, pods[0], first, int(first == "Failed"))
        if change:
            await admin.patch(JOBS, "j", {"spec": change}, "default")

        async def decided() -> dict[str, Any] | None:
            status = await status_of(admin, "j")
            left = int(not first) + 1
            ready = status.get("conditions") and status.get("terminating") == left and not status.get("active")
            waits = status.get("uncountedTerminatedPods") or int(status.get("failed") or 0) != expected["failed"]
            return status if ready and not waits else None

        status = await until(decided, 10)
        assert {c["type"] for c in status["conditions"]} & {"Complete", "Failed"} == set()
        for one in await pods_of(admin, "j"):  # what ran comes to its end, and well
            await finish(admin, one, "Succeeded")
        for one in await pods_of(admin, "j"):
            await admin.patch(PODS, one["metadata"]["name"], {"metadata": {"finalizers": None}}, "default")
        ended = await until(lambda: over(admin, "j"), 10)
        told = ended["status"]
        assert told["conditions"][-1]["type"] == expected["kind"]
        assert (told.get("succeeded", 0), told.get("failed", 0)) == (expected["succeeded"], expected["failed"])
    assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


@pytest.mark.parametrize("policy", ["Orphan", "Background", "Foreground"])
async def test_however_a_job_is_deleted_its_pods_are_let_go(house: Live, policy: str):
    admin = house.admin
    async with (
        house.controllers(only="job-controller,garbage-collector-controller"),
        kubelet(admin, ends=True, starts=False),
    ):
        await admin.create(JOBS, fresh("gone"))
        await until(lambda: _has_active(admin, "gone", 2), 10)
        await admin.delete(JOBS, "gone", "default", propagation_policy=policy)

        async def free() -> bool:
            left = await items(admin, PODS)
            if any(FINALIZER in (p["metadata"].get("finalizers") or ()) for p in left):
                return False
            return len(left) == (2 if policy == "Orphan" else 0)

        await until(free, 10)


async def _has_active(client: Client, name: str, number: int) -> bool:
    return (await status_of(client, name)).get("active") == number


async def test_pods_of_a_job_deleted_while_nobody_looked_are_let_go(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, fresh("gone"))
        await until(lambda: _has_active(admin, "gone", 2), 10)
    await admin.delete(JOBS, "gone", "default", propagation_policy="Background")
    async with house.controllers(only="job-controller"):

        async def free() -> bool:
            return not any(p["metadata"].get("finalizers") for p in await items(admin, PODS))

        await until(free, 10)


def tracked_pod(name: str, owner: dict[str, Any] | None, **labels: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "labels": labels, "finalizers": [FINALIZER]}
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "x"}]}}


async def test_whose_finalizers_are_taken_off(house: Live):
    """Those of pods that no Job will count: not of another's pods, and not of one that waits to be adopted."""
    admin = house.admin
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "111", "controller": True}
    selector = {"selector": {"matchLabels": {"app": "mine"}}, "manualSelector": True}
    theirs = fresh("theirs", managedBy="example.com/other")
    mine = fresh("mine", parallelism=0, **selector)
    mine["spec"]["template"]["metadata"] = {"labels": {"app": "mine"}}
    theirs = await admin.create(JOBS, theirs)
    await admin.create(JOBS, mine)
    other = {**reference, "name": "theirs", "uid": theirs["metadata"]["uid"]}
    pods = {
        "of-a-job-that-is-gone": tracked_pod("of-a-job-that-is-gone", reference),
        "of-nobody": tracked_pod("of-nobody", None),
        "owned-not-controlled": tracked_pod("owned-not-controlled", {**reference, "controller": False}),
        "going": tracked_pod("going", None, app="mine"),  # would match, but is on its way out
        "of-a-cron-job": tracked_pod("of-a-cron-job", {**reference, "kind": "CronJob"}),
        "of-another-group": tracked_pod("of-another-group", {**reference, "apiVersion": "example.com/v1"}),
        "of-another-manager": tracked_pod("of-another-manager", other),
        "adopted": tracked_pod("adopted", None, app="mine"),
    }
    for one in pods.values():
        await admin.create(PODS, one)
    await admin.delete(PODS, "going", "default", grace_period_seconds=0)
    async with house.controllers(only="job-controller"):

        async def settled() -> bool:
            left = {p["metadata"]["name"]: p["metadata"] for p in await items(admin, PODS)}
            free = {name for name, metadata in left.items() if FINALIZER not in (metadata.get("finalizers") or ())}
            taken = set(pods) - set(left)  # "adopted" is one too many for a Job of no pods, and is deleted
            return (
                free | taken
                == {
                    "of-a-job-that-is-gone",
                    "of-nobody",
                    "owned-not-controlled",
                    "going",
                    "adopted",
                }
                and {"going", "adopted"} <= taken
            )

        await until(settled, 10)


async def test_pods_are_let_go_when_another_hand_ends_the_job(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, fresh("ended", parallelism=1))
        await until(lambda: _has_active(admin, "ended", 1), 10)
        for kind in ("FailureTarget", "Failed"):
            found = await admin.get(JOBS, "ended", "default")
            stamp = found["status"]["startTime"]
            told = {
                "type": kind,
                "status": "True",
                "reason": "Hand",
                "lastProbeTime": stamp,
                "lastTransitionTime": stamp,
            }
            change = {"conditions": [*(found["status"].get("conditions") or ()), told], "active": 0}
            try:
                await admin.patch(JOBS, "ended", {"status": change}, "default", subresource="status")
            except ApiError as error:
                assert error.code == 422 and kind == "Failed", error  # the controller was quicker

        async def free() -> bool:
            return not any(FINALIZER in (p["metadata"].get("finalizers") or ()) for p in await pods_of(admin, "ended"))

        await until(free, 10)


async def test_a_job_of_another_manager_is_left_alone_also_under_a_name_that_was_ours(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, fresh("twice", parallelism=1, completions=1))
        await until(lambda: _has_active(admin, "twice", 1), 10)
        for one in await pods_of(admin, "twice"):
            await finish(admin, one, "Succeeded")
        await admin.delete(JOBS, "twice", "default", propagation_policy="Background")
        await admin.create(JOBS, fresh("twice", managedBy="example.com/other"))
        await admin.create(JOBS, fresh("after", parallelism=1, completions=1))
        await until(lambda: _has_active(admin, "after", 1), 10)
        assert await status_of(admin, "twice") == {}


async def test_a_suspended_job_goes_on_with_another_node_selector(house: Live):
    """Both in one update; once it runs, no more."""
    admin = house.admin
    async with house.controllers(only="job-controller"):
        await admin.create(JOBS, fresh("moved", suspend=True, parallelism=1))

        async def told() -> bool:
            return bool((await status_of(admin, "moved")).get("conditions"))

        await until(told, 10)
        template = {"spec": {"nodeSelector": {"foo": "bar"}}}
        await admin.patch(JOBS, "moved", {"spec": {"suspend": False, "template": template}}, "default")
        found = await until(lambda: pods_of(admin, "moved"), 10)
        assert found[0]["spec"]["nodeSelector"] == {"foo": "bar"}
        with pytest.raises(ApiError, match="field is immutable"):
            template = {"spec": {"nodeSelector": {"foo": "baz"}}}
            await admin.patch(JOBS, "moved", {"spec": {"template": template}}, "default")


async def test_a_job_of_indexes_of_their_own_shows_that_none_has_failed(house: Live):
    admin = house.admin
    async with house.controllers(only="job-controller"), runner(admin, lambda _: ""):
        await admin.create(JOBS, fresh("well", completionMode="Indexed", backoffLimitPerIndex=1))
        await until(lambda: _has_active(admin, "well", 2), 10)
        assert (await status_of(admin, "well"))["failedIndexes"] == ""
