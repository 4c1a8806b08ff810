from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api import errors
from shirube.api.gvr import CONTROLLERREVISIONS, EVENTS, NODES, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from shirube.client.rest import Client
from shirube.controllers import stateful_set_identity as identity
from shirube.controllers.stateful_set import StatefulSetController
from shirube.controllers.stateful_set_plan import ordinal_of, plan, status_of


def stateful_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "podManagementPolicy": "OrderedReady",
            **spec,
        },
    }


def pod(ordinal: int, revision: str = "old", *, up: bool = True, going: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": f"db-{ordinal}", "uid": f"{ordinal}", "namespace": "default"}
    metadata["labels"] = {"app": "db", "controller-revision-hash": revision}
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": str(up), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Running", "conditions": conditions}}


def names(pods: list[dict[str, Any]]) -> list[str]:
    return [p["metadata"]["name"] for p in pods]


def test_ordered_sets_make_one_pod_after_the_other():
    owner = stateful_set()
    assert plan(owner, [], "old", "old", 0).create == [(0, "old")]
    assert plan(owner, [pod(0, up=False)], "old", "old", 0).create == []
    assert plan(owner, [pod(0)], "old", "old", 0).create == [(1, "old")]
    assert plan(owner, [pod(0, going=True)], "old", "old", 0).create == []


def test_parallel_sets_make_all_at_once():
    owner = stateful_set(podManagementPolicy="Parallel", ordinals={"start": 2})
    assert plan(owner, [pod(3, up=False)], "old", "old", 0).create == [(2, "old"), (4, "old")]


def test_scaling_down_goes_from_the_top_and_halts_at_trouble():
    owner = stateful_set(1)
    assert names(plan(owner, [pod(0), pod(1), pod(2)], "old", "old", 0).delete) == ["db-2"]
    assert names(plan(owner, [pod(0), pod(1, up=False), pod(2)], "old", "old", 0).delete) == ["db-2"]
    assert plan(stateful_set(1), [pod(0), pod(1), pod(2, going=True)], "old", "old", 0).delete == []
    assert plan(owner, [pod(0, up=False), pod(1), pod(2)], "old", "old", 0).delete == []
    assert names(plan(owner, [pod(0), pod(1), pod(2, up=False)], "old", "old", 0).delete) == ["db-2"]
    parallel = stateful_set(1, podManagementPolicy="Parallel")
    assert names(plan(parallel, [pod(0), pod(1, up=False), pod(2)], "old", "old", 0).delete) == ["db-2", "db-1"]


def test_updates_go_down_to_the_partition():
    pods = [pod(0), pod(1), pod(2)]
    assert names(plan(stateful_set(), pods, "old", "new", 0).delete) == ["db-2"]
    canary = stateful_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    assert names(plan(canary, pods, "old", "new", 0).delete) == ["db-2"]
    assert plan(canary, [pod(0), pod(1), pod(2, "new")], "old", "new", 0).delete == []
    assert plan(canary, [pod(0), pod(2, "new")], "old", "new", 0).create == [(1, "old")]
    on_delete = stateful_set(updateStrategy={"type": "OnDelete"})
    assert plan(on_delete, pods, "old", "new", 0).delete == []
    assert plan(on_delete, pods[:2], "old", "new", 0).create == [(2, "new")]
    wide = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 2}}
    assert names(plan(stateful_set(updateStrategy=wide), pods, "old", "new", 0).delete) == ["db-2", "db-1"]


@pytest.mark.parametrize(
    "name,expected",
    [
        ("db-0", 0),
        ("db-10", 10),
        ("db-07", -1),
        ("db--1", -1),
        ("db", -1),
        ("xdb-1", -1),
        ("db-1-1", -1),
        ("db-2147483647", 2**31 - 1),
        ("db-2147483648", 2**31),
        ("db-4294967296", -1),
        ("db-1\n", -1),
    ],
)
def test_ordinals(name: str, expected: int):
    assert ordinal_of(name, "db") == expected


@pytest.mark.parametrize("policy,made", [("OrderedReady", 1), ("Parallel", 500)])
def test_any_size_may_be_asked_for(policy: str, made: int):
    owner = stateful_set(2**31 - 1, podManagementPolicy=policy)
    assert len(plan(owner, [], "old", "old", 0).create) == made
    todo = plan(owner, [pod(0), pod(2)], "old", "old", 0)
    assert [ordinal for ordinal, _ in todo.create][:2] == ([1] if policy == "OrderedReady" else [1, 3])
    assert plan(stateful_set(2**31 - 1, podManagementPolicy=policy), [pod(0)], "old", "new", 0).delete == []


def test_nothing_is_asked_for():
    assert names(plan(stateful_set(0), [pod(0), pod(1)], "old", "new", 0).delete) == ["db-1"]
    none = status_of(stateful_set(0), [], "old", "new", None, 0)
    assert (none["replicas"], none["currentRevision"]) == (0, "new")


@pytest.mark.parametrize("start", [0, 4])
def test_moving_the_first_ordinal_keeps_what_is_in_range(start: int):
    pods = [pod(n) for n in range(start, start + 3)]
    owner = stateful_set(3, ordinals={"start": start + 1})
    assert plan(owner, pods, "old", "old", 0).create == [(start + 3, "old")]
    todo = plan(owner, [*pods, pod(start + 3)], "old", "old", 0)
    assert names(todo.delete) == [f"db-{start}"]


def test_a_pod_that_is_ready_but_not_yet_for_long_holds_the_next_step():
    since = 1_767_225_600.0  # when the pods here became ready
    owner = stateful_set(3, minReadySeconds=30)
    assert plan(owner, [pod(0)], "old", "old", since + 29).create == []
    assert plan(owner, [pod(0)], "old", "old", since + 30).create == [(1, "old")]
    three = [pod(0), pod(1), pod(2)]
    assert plan(owner, three, "old", "new", since + 10).delete == []
    assert names(plan(owner, three, "old", "new", since + 31).delete) == ["db-2"]
    counted = status_of(owner, three, "old", "old", None, since + 10)
    assert (counted["readyReplicas"], counted["availableReplicas"]) == (3, 0)


def test_finished_pods_are_made_anew():
    failed = pod(0)
    failed["status"]["phase"] = "Failed"
    todo = plan(stateful_set(), [failed, pod(1)], "old", "old", 0)
    assert names(todo.replace) == ["db-0"] and not todo.create and not todo.delete


@given(
    st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.booleans(), st.booleans()), unique_by=lambda t: t[0]),
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(1, 3),
    st.booleans(),
)
def test_ordered_sets_move_at_most_one_pod_and_updates_stay_in_their_budget(drawn, replicas, partition, budget, one):
    pods = [pod(n, "new" if new else "old", up=up, going=going) for n, new, up, going in drawn]
    rolling = {"partition": partition, "maxUnavailable": budget}
    owner = stateful_set(
        replicas,
        updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling},
        podManagementPolicy="OrderedReady" if one else "Parallel",
    )
    todo = plan(owner, pods, "old", "new", 0)
    there = {p["metadata"]["name"] for p in pods}
    assert all(f"db-{ordinal}" not in there for ordinal, _ in todo.create), "never two of a name"
    kept = [p for p in todo.delete if int(p["metadata"]["name"][3:]) < replicas]
    down = [p for p in pods if int(p["metadata"]["name"][3:]) < replicas]
    healthy_lost = [p for p in kept if p["status"]["conditions"][0]["status"] == "True"]
    already = sum(
        1 for p in down if p["metadata"].get("deletionTimestamp") or p["status"]["conditions"][0]["status"] != "True"
    )
    assert not healthy_lost or len(healthy_lost) + already <= max(budget, 1)
    assert all(int(p["metadata"]["name"][3:]) >= partition for p in kept)
    assert all(p["metadata"]["labels"]["controller-revision-hash"] == "old" for p in kept)
    if one:
        assert len(todo.create) <= 1
        assert not (todo.create and todo.delete)


def test_status_completes_a_rollout():
    owner = stateful_set(2)
    half = status_of(owner, [pod(0), pod(1, "new")], "old", "new", None, 0)
    assert (half["currentReplicas"], half["updatedReplicas"], half["currentRevision"]) == (1, 1, "old")
    done = status_of(owner, [pod(0, "new"), pod(1, "new")], "old", "new", None, 0)
    assert (done["currentReplicas"], done["currentRevision"]) == (2, "new")


def test_claims_belong_to_whom_the_policy_says():
    owner = stateful_set(1, volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    claim: dict[str, Any] = identity.new_claims(owner, 0)[0]
    assert claim["metadata"]["name"] == "data-db-0"
    assert identity.claim_owners(owner, 0, None, claim) is None
    owner["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    (mine,) = identity.claim_owners(owner, 0, None, claim) or ()
    assert mine["kind"] == "StatefulSet"
    (its,) = identity.claim_owners(owner, 1, pod(1), claim) or ()
    assert its["kind"] == "Pod"


RETAIN, DELETE = "Retain", "Delete"


# (when the set is deleted, when it is scaled, beyond its size) -> whose the claim is
@pytest.mark.parametrize(
    "deleted,scaled,ordinal,wanted",
    [
        (RETAIN, RETAIN, 0, ""),
        (RETAIN, RETAIN, 2, ""),
        (DELETE, RETAIN, 0, "StatefulSet"),
        (DELETE, RETAIN, 2, "StatefulSet"),
        (RETAIN, DELETE, 0, ""),
        (RETAIN, DELETE, 2, "Pod"),
        (DELETE, DELETE, 0, "StatefulSet"),
        (DELETE, DELETE, 2, "Pod"),
    ],
)
@pytest.mark.parametrize("has", [(), ("StatefulSet",), ("Pod",), ("StatefulSet", "Pod")], ids="-".join)
@pytest.mark.parametrize("others", [False, True], ids=["alone", "with others"])
def test_whose_a_claim_is(deleted: str, scaled: str, ordinal: int, wanted: str, has: tuple[str, ...], others: bool):
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    template = {"metadata": {"name": "data"}, "spec": {}}
    owner = stateful_set(2, volumeClaimTemplates=[template], persistentVolumeClaimRetentionPolicy=policy)
    claim = identity.new_claims(owner, ordinal)[0]
    references = {
        "StatefulSet": {"kind": "StatefulSet", "name": "db", "uid": "u"},
        "Pod": {"kind": "Pod", "name": f"db-{ordinal}", "uid": str(ordinal)},
    }
    other = {"kind": "Backup", "name": "x", "uid": "x"}
    claim["metadata"]["ownerReferences"] = [references[kind] for kind in has] + ([other] if others else [])
    after = identity.claim_owners(owner, ordinal, pod(ordinal), claim)
    right = has == ((wanted,) if wanted else ())
    assert (after is None) is right, "written only when something is to change"
    if after is not None:
        assert [r["kind"] for r in after] == (["Backup"] if others else []) + ([wanted] if wanted else [])


def test_a_claim_of_another_controller_is_let_alone():
    template = {"metadata": {"name": "data"}, "spec": {}}
    policy = {"whenDeleted": DELETE, "whenScaled": DELETE}
    owner = stateful_set(2, volumeClaimTemplates=[template], persistentVolumeClaimRetentionPolicy=policy)
    claim = identity.new_claims(owner, 0)[0]
    claim["metadata"]["ownerReferences"] = [{"kind": "Backup", "name": "x", "uid": "x", "controller": True}]
    assert identity.claim_owners(owner, 0, pod(0), claim) is None


def test_claims_take_the_place_of_volumes_of_their_name():
    template = {"metadata": {"name": "data"}, "spec": {}}
    owner = stateful_set(2, volumeClaimTemplates=[template])
    volumes = identity.volumes_of(owner, 1, [{"name": "data", "emptyDir": {}}, {"name": "home", "hostPath": {}}])
    assert volumes == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}},
        {"name": "home", "hostPath": {}},
    ]


async def _status(client: Client, **wanted: Any) -> bool:
    status = (await client.get(STATEFULSETS, "db", "default")).get("status") or {}
    return all(status.get(k, 0) == v for k, v in wanted.items())


async def test_rolls_out_and_back_on_a_bare_api(house: House, client: Client):
    await client.create(STATEFULSETS, stateful_set())
    async with kubelet(client), house.running(StatefulSetController):
        await until(lambda: _status(client, replicas=3, readyReplicas=3, updatedReplicas=3))
        first = (await client.get(STATEFULSETS, "db", "default"))["status"]["currentRevision"]
        image = {"spec": {"template": {"metadata": {"labels": {"app": "db", "v": "2"}}}}}
        await client.patch(STATEFULSETS, "db", image, "default")

        async def moved() -> bool:
            status = (await client.get(STATEFULSETS, "db", "default"))["status"]
            return status["currentRevision"] != first and status.get("readyReplicas") == 3

        await until(moved)
        assert {p["metadata"]["labels"]["v"] for p in await items(client, PODS)} == {"2"}
        back = {"spec": {"template": {"metadata": {"labels": {"v": None}}}}}
        await client.patch(STATEFULSETS, "db", back, "default")
        await until(lambda: _status(client, currentRevision=first, readyReplicas=3))
        assert len(await items(client, CONTROLLERREVISIONS)) == 2
    assert {p["metadata"]["labels"]["apps.kubernetes.io/pod-index"] for p in await items(client, PODS)} == set("012")


async def test_a_selector_of_expressions_finds_its_revisions_again(house: House, client: Client):
    selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["db"]}]}
    await client.create(STATEFULSETS, stateful_set(1, selector=selector))
    async with house.running(StatefulSetController) as controllers, kubelet(client):
        await until(lambda: items(client, PODS))
        await house.settle(controllers)
        (revision,) = await items(client, CONTROLLERREVISIONS)
        assert [r["name"] for r in revision["metadata"].get("ownerReferences") or ()] == ["db"]


async def test_pods_by_other_names_are_not_its_own(house: House, client: Client):
    labels = {"app": "db"}
    for name in ("db-1", "db-01", "other-2"):
        await client.create(PODS, {"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {}})
    owner = await client.create(STATEFULSETS, stateful_set(2))
    mine = [identity.controller_reference(owner, "apps/v1", "StatefulSet")]
    given = {"name": "given", "namespace": "default", "labels": labels, "ownerReferences": mine}
    await client.create(PODS, {"metadata": given, "spec": {}})
    async with kubelet(client), house.running(StatefulSetController) as controllers:
        await until(lambda: _status(client, replicas=2, readyReplicas=2))
        await house.settle(controllers)
        owners = {p["metadata"]["name"]: bool(p["metadata"].get("ownerReferences")) for p in await items(client, PODS)}
    assert owners == {"db-0": True, "db-1": True, "db-01": False, "other-2": False, "given": False}


async def test_a_claim_and_its_pod_taken_away_by_hand_come_back(house: House, client: Client):
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    await client.create(STATEFULSETS, stateful_set(1, volumeClaimTemplates=[template]))
    async with kubelet(client), house.running(StatefulSetController) as controllers:
        await until(lambda: _status(client, readyReplicas=1))
        hold = {"metadata": {"finalizers": ["test/hold"]}}
        before = await client.patch(PERSISTENTVOLUMECLAIMS, "data-db-0", hold, "default")
        await client.delete(PERSISTENTVOLUMECLAIMS, "data-db-0", "default")
        await client.delete(PODS, "db-0", "default")

        async def told() -> bool:
            messages = [e["message"] for e in await items(client, EVENTS) if e["reason"] == "FailedCreate"]
            return any("create Pod db-0" in m and "is being deleted" in m for m in messages)

        await until(told)
        assert await items(client, PODS) == [], "it would be given a claim that goes under its feet"
        await client.patch(PERSISTENTVOLUMECLAIMS, "data-db-0", {"metadata": {"finalizers": None}}, "default")
        await until(lambda: items(client, PODS))
        after = await client.get(PERSISTENTVOLUMECLAIMS, "data-db-0", "default")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        await house.settle(controllers)


async def test_the_claim_of_a_pod_that_waits_for_it_is_made_again(house: House, client: Client):
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    await client.create(STATEFULSETS, stateful_set(1, volumeClaimTemplates=[template]))
    async with house.running(StatefulSetController) as controllers:
        await until(lambda: items(client, PODS))
        await house.settle(controllers)
        await client.delete(PERSISTENTVOLUMECLAIMS, "data-db-0", "default")
        await until(lambda: items(client, PERSISTENTVOLUMECLAIMS))
        assert len(await items(client, PODS)) == 1


async def test_pods_that_are_refused_are_told_with_the_status(house: House, client: Client, api: MemoryApi):
    def fault(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/pods"):
            raise errors.forbidden("pods", "db-0", "exceeded quota")

    api.fault = fault
    await client.create(STATEFULSETS, stateful_set(2))
    async with kubelet(client), house.running(StatefulSetController):
        await until(lambda: _status(client, observedGeneration=1, replicas=0))

        async def told() -> bool:
            return "create Pod db-0 in StatefulSet db failed error: " in str(
                [e["message"] for e in await items(client, EVENTS) if e["reason"] == "FailedCreate"]
            )

        await until(told)
        api.fault = None
        await until(lambda: _status(client, readyReplicas=2))


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
async def test_a_new_template_and_a_new_size_at_once(house: House, client: Client, policy: str):
    await client.create(STATEFULSETS, stateful_set(3, podManagementPolicy=policy))
    async with kubelet(client), house.running(StatefulSetController):
        for size, version in ((5, "2"), (2, "3"), (0, "4"), (3, "5")):
            template = {"metadata": {"annotations": {"version": version}}}
            await client.patch(STATEFULSETS, "db", {"spec": {"replicas": size, "template": template}}, "default")
            await until(lambda size=size: _whole(client, size))  # type: ignore[misc]
            versions = {p["metadata"]["annotations"]["version"] for p in await items(client, PODS)}
            assert versions == ({version} if size else set())


async def _whole(client: Client, size: int) -> bool:
    owner = await client.get(STATEFULSETS, "db", "default")
    status = owner.get("status") or {}
    counts = [status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas", "currentReplicas")]
    seen = status.get("observedGeneration") == owner["metadata"]["generation"]
    return seen and counts == [size] * 4 and status["currentRevision"] == status["updateRevision"]


@pytest.mark.parametrize("deleted", [True, False], ids=["it goes", "it is kept"])
async def test_a_set_waits_for_a_stale_claim_no_longer_than_it_must(house: House, client: Client, deleted: bool):
    """Left over from a pod that was scaled away, and to be collected with it."""
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    owner = stateful_set(1, volumeClaimTemplates=[template])
    stale = identity.new_claims(owner, 0)[0]
    stale["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "db-0", "uid": "former"}]
    await client.create(PERSISTENTVOLUMECLAIMS, stale)
    await client.create(STATEFULSETS, owner)
    async with kubelet(client), house.running(StatefulSetController) as controllers:
        await until(lambda: _status(client, currentReplicas=0, observedGeneration=1))
        await house.settle(controllers)
        assert await items(client, PODS) == []
        if deleted:
            await client.delete(PERSISTENTVOLUMECLAIMS, "data-db-0", "default")
        else:
            await client.patch(PERSISTENTVOLUMECLAIMS, "data-db-0", {"metadata": {"ownerReferences": None}}, "default")
        await until(lambda: _status(client, readyReplicas=1))


async def test_on_the_real_api_server_claims_are_kept_as_asked(tmp_path: Path):
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    owner = stateful_set(2, volumeClaimTemplates=[claim])
    owner["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Retain", "whenScaled": "Delete"}
    del owner["metadata"]["uid"], owner["metadata"]["generation"]
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="statefulset-controller"), kubelet(admin):
            await admin.create(NODES, {"metadata": {"name": "n1"}})
            await admin.create(STATEFULSETS, owner)
            await until(lambda: _status(admin, readyReplicas=2, availableReplicas=2), 10)
            one = await admin.get(PODS, "db-1", "default")
            assert one["spec"]["hostname"] == "db-1" and one["spec"]["subdomain"] == "db"
            assert one["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "data-db-1"
            assert len(await items(admin, PERSISTENTVOLUMECLAIMS)) == 2
            await admin.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}}, "default")

            async def handed_over() -> bool:
                found = await admin.get(PERSISTENTVOLUMECLAIMS, "data-db-1", "default")
                return [r["kind"] for r in found["metadata"].get("ownerReferences") or ()] == ["Pod"]

            await until(handed_over)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]
