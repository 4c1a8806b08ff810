from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items, kubelet
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import CONTROLLERREVISIONS, NODES, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from shirube.client.rest import Client
from shirube.controllers import stateful_set_identity as identity
from shirube.controllers.stateful_set import StatefulSetController
from shirube.controllers.stateful_set_plan import plan, status_of


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
