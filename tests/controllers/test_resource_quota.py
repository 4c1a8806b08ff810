from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEVICECLASSES,
    GVR,
    PODS,
    RESOURCECLAIMS,
    RESOURCEQUOTAS,
)
from shirube.api.resources import BUILTIN
from shirube.controllers import projections, resource_quota
from shirube.controllers.resource_quota import Busy, cautious, resources_of, used
from shirube.foundation.clock import SYSTEM, ManualClock, rfc3339


def quota(**hard: str) -> dict[str, Any]:
    return {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}


def test_used_counts_what_is_named_and_nothing_else():
    pods = BUILTIN.by_path("", "v1", "pods")
    assert pods is not None
    container = {"name": "c", "resources": {"requests": {"cpu": "100m"}}}
    one = {"metadata": {}, "spec": {"containers": [container]}, "status": {"phase": "Running"}}
    over = {**one, "status": {"phase": "Succeeded"}}
    names = {"pods": "5", "requests.cpu": "1", "count/deployments.apps": "3", "secrets": "1"}
    found = used(quota(**names), [(pods, [one, one, over])], {"count/deployments.apps": 2})
    assert found == {"pods": "2", "requests.cpu": "200m", "count/deployments.apps": "2", "secrets": "0"}
    assert resources_of(names) == {"deployments.apps"}


async def test_usage_follows_creation_and_deletion(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(RESOURCEQUOTAS, quota(pods="5", configmaps="9", **{"count/leases.coordination.k8s.io": "3"}))
        async with house.controllers(only="resourcequota-controller"):

            async def uses(**wanted: str) -> bool:
                status = (await admin.get(RESOURCEQUOTAS, "q", "default"))["status"]
                return wanted.items() <= (status.get("used") or {}).items()

            await until(lambda: uses(pods="0", configmaps="0", **{"count/leases.coordination.k8s.io": "0"}), 10)
            await admin.create(CONFIGMAPS, {"metadata": {"name": "c"}}, "default")
            pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}

            async def created() -> bool:
                await admin.create(PODS, pod, "default")
                return True

            await until(lambda: _retry(created), 10)
            await until(lambda: uses(pods="1", configmaps="1"), 10)
            await admin.delete(PODS, "p", "default", grace_period_seconds=0)
            await admin.delete(CONFIGMAPS, "c", "default")
            await until(lambda: uses(pods="0", configmaps="0"), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def _retry(work: Any) -> bool:
    from shirube.api.errors import ApiError

    try:
        return bool(await work())
    except ApiError:  # the namespace's service account may not be there yet
        return False


@given(st.lists(st.tuples(st.floats(0, 0.3), st.booleans(), st.floats(0, 0.45)), max_size=30), st.floats(0, 0.5))
def test_a_count_is_never_too_low_while_admission_goes_on(taken: list[tuple[float, bool, float]], pause: float):
    """Objects are let in one after another; some are not stored, the rest is seen within the moment that counts as
    quiet. Whenever the count happens, what is shown covers all that exist or may yet come."""
    now, shown, busy = 0.0, 0, Busy(0.0)
    seen_at: list[float] = []
    for gap, stored, lag in taken:
        now += gap
        busy.took(now, {"pods": str(shown)}, {"pods": str(shown + 1)})
        shown += 1
        if stored:
            seen_at.append(now + lag)
    now += pause
    counted = sum(at <= now for at in seen_at)
    found = int(cautious({"pods": str(counted)}, {"pods": str(shown)}, busy.recent(now))["pods"])
    assert found >= len(seen_at), "what is let in and not seen yet is covered"
    assert counted <= found <= shown, "nor is more shown than admission added up"
    if not busy.recent(now):
        assert found == counted


def test_admission_is_waited_for_but_not_for_ever():
    busy = Busy(0.0)
    assert busy.wait(0.1) == pytest.approx(0.4)
    for step in range(1, 60):
        busy.took(step / 10, {}, {})
    assert busy.wait(4.9) > 0
    assert busy.wait(5.95) == 0.0
    assert Busy(0.0).wait(0.6) == 0.0


def test_the_cache_keeps_what_a_pod_has_while_it_is_resized():
    def kept(asked: dict[str, Any], has: dict[str, Any]) -> bool:
        pod = {
            "metadata": {},
            "spec": {"containers": [{"name": "c", "resources": asked}]},
            "status": {"containerStatuses": [{"name": "c", "resources": has, "allocatedResources": {"cpu": "1"}}]},
        }
        return "resources" in projections.pod(pod)["status"]["containerStatuses"][0]

    one, two = ({"requests": {"cpu": amount}} for amount in ("1", "2"))
    assert not kept(one, one)
    assert kept(two, one)
    assert kept(two, two), "more was asked for than is promised yet"


async def test_what_was_taken_for_nothing_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A create is charged before it turns out that another object of its name is there."""
    monkeypatch.setattr(resource_quota, "_LONGEST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(resource_quota, "_QUIET_SECONDS", 0.05)
    async with live(tmp_path) as house:
        admin = house.admin
        made = {"metadata": {"name": "c"}}
        await admin.create(CONFIGMAPS, made, "default")
        await admin.create(RESOURCEQUOTAS, quota(configmaps="9"))
        charged = []
        async with house.controllers(only="resourcequota-controller"):

            async def uses() -> str:
                status = (await admin.get(RESOURCEQUOTAS, "q", "default"))["status"]
                return str((status.get("used") or {}).get("configmaps"))

            async def counted() -> bool:
                return await uses() == "1"

            await until(counted, 10)
            path = "/api/v1/namespaces/default/configmaps"
            assert await house.once("POST", path, {"apiVersion": "v1", "kind": "ConfigMap", **made}) == 409
            charged.append(await uses())
            await until(counted, 10)
        assert charged == ["2"]


async def test_what_was_charged_while_caches_were_filled_is_not_given_back(house, client, api):
    """A successor's list of pods is older than the charge that it sees: the pod comes a moment later."""
    hard = {"pods": "2"}
    shown = {**quota(**hard), "status": {"hard": hard, "used": {"pods": "2"}}}
    shown["metadata"]["namespace"] = "default"
    await client.create(RESOURCEQUOTAS, shown)
    await client.create(PODS, {"metadata": {"name": "a", "namespace": "default"}, "spec": {}})

    async def used() -> str:
        return str((await client.get(RESOURCEQUOTAS, "q", "default"))["status"]["used"]["pods"])

    clock = ManualClock()
    async with house.running(resource_quota.ResourceQuotaController, context=house.context(clock=clock)) as (one,):
        key = "default/q"
        assert await one.reconcile(key) == resource_quota._CATCH_UP_SECONDS
        assert await used() == "2"
        clock.advance(resource_quota._CATCH_UP_SECONDS)
        await one.reconcile(key)
        assert await used() == "1", "it never came"


async def test_a_resource_that_comes_later_is_counted_when_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resource_quota, "_UNKNOWN_SECONDS", 0.1)
    things = GVR("x.io", "v1", "things")
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(RESOURCEQUOTAS, quota(**{"count/things.x.io": "2"}))
        async with house.controllers(only="resourcequota-controller"):

            async def uses(number: str) -> bool:
                status = (await admin.get(RESOURCEQUOTAS, "q", "default"))["status"]
                return (status.get("used") or {}).get("count/things.x.io") == number

            await until(lambda: uses("0"), 10)
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
            spec = {"group": "x.io", "scope": "Namespaced", "names": names, "versions": [version]}
            await admin.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": "things.x.io"}, "spec": spec})

            async def created() -> bool:
                thing = {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t"}}
                await admin.create(things, thing, "default")
                return True

            await until(lambda: _retry(created), 10)
            await until(lambda: uses("1"), 10)
            await admin.delete(things, "t", "default")
            await until(lambda: uses("0"), 10)


def test_a_pod_that_should_have_gone_is_counted_until_then():
    pods = BUILTIN.by_path("", "v1", "pods")
    assert pods is not None
    now = SYSTEM.now()
    leaving = {"deletionTimestamp": rfc3339(now), "deletionGracePeriodSeconds": 30}
    one = {"metadata": leaving, "spec": {"containers": []}}
    assert used(quota(pods="5"), [(pods, [one])], {}, now) == {"pods": "1"}
    assert used(quota(pods="5"), [(pods, [one])], {}, now + 32) == {"pods": "0"}


def test_events_are_not_followed_for_a_quota():
    assert resources_of({"count/events": "1", "count/events.events.k8s.io": "1", "count/jobs.batch": "1"}) == {
        "jobs.batch"
    }


async def test_what_a_class_of_devices_stands_for_may_change(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(DEVICECLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
        request = {"name": "r", "exactly": {"deviceClassName": "gpu", "count": 2}}
        claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}}
        await admin.create(RESOURCECLAIMS, claim, "default")
        await admin.create(RESOURCEQUOTAS, quota(**{"requests.example.com/gpu": "5"}))
        async with house.controllers(only="resourcequota-controller"):

            def uses(number: str) -> Any:
                async def check() -> bool:
                    status = (await admin.get(RESOURCEQUOTAS, "q", "default"))["status"]
                    return (status.get("used") or {}).get("requests.example.com/gpu") == number

                return check

            await until(uses("0"), 10)
            name = {"spec": {"extendedResourceName": "example.com/gpu"}}
            await admin.patch(DEVICECLASSES, "gpu", name)
            await until(uses("2"), 10)
            await admin.delete(DEVICECLASSES, "gpu")
            await until(uses("0"), 10)
