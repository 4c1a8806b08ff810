"""The laws notice what breaks them, and only that."""

from __future__ import annotations

from typing import Any

import orjson

from shirube.simulation.laws import Laws
from shirube.storage.types import Event


class Teller:
    """Tells the laws of objects, as a store would."""

    def __init__(self) -> None:
        self.laws = Laws()

    def put(self, where: str, obj: dict[str, Any]) -> None:
        self.laws([Event("PUT", f"/registry/{where}", orjson.dumps(obj), 1, 1, None)])

    def pod(self, name: str, *, node: str = "", owner: str = "", ready: bool = False, **more: Any) -> None:
        metadata: dict[str, Any] = {"name": name, "namespace": "ns", "uid": "u-" + name}
        if more.pop("leaving", False):
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            metadata["deletionGracePeriodSeconds"] = more.pop("grace", 0)
        if created := more.pop("created", ""):
            metadata["creationTimestamp"] = created
        if owner:
            metadata["ownerReferences"] = [{"controller": True, "uid": owner}]
        spec = {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": more.pop("cpu", "1")}}}]}
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        if more.pop("evicted", False):
            conditions.append({"type": "DisruptionTarget", "status": "True"})
        status = {"phase": more.pop("phase", "Running"), "conditions": conditions}
        self.put(f"core/pods/ns/{name}", {"metadata": metadata, "spec": spec, "status": status})

    def node(self, name: str, cpu: str) -> None:
        allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "3"}
        self.put(f"core/nodes/{name}", {"metadata": {"name": name}, "status": {"allocatable": allocatable}})

    def deployment(self, replicas: int, surge: int, unavailable: int, available: int = 0) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        self.put(
            "apps/deployments/ns/web",
            {
                "metadata": {"name": "web", "uid": "d"},
                "spec": {"replicas": replicas, "strategy": strategy},
                "status": {"availableReplicas": available},
            },
        )

    def replica_set(self, name: str, replicas: int) -> None:
        metadata = {"name": name, "uid": name, "ownerReferences": [{"controller": True, "uid": "d"}]}
        self.put(f"apps/replicasets/ns/{name}", {"metadata": metadata, "spec": {"replicas": replicas}})

    def whole(self) -> None:
        """A Deployment of two that may not have fewer, and says that it has them."""
        self.deployment(2, 1, 0)
        self.replica_set("old", 2)
        for name in "ab":
            self.pod(name, owner="old", ready=True)
        self.deployment(2, 1, 0, available=2)

    @property
    def told(self) -> str:
        return "\n".join(self.laws.violations)


def test_a_node_that_is_given_too_much():
    teller = Teller()
    teller.node("n", "2")
    teller.pod("a", node="n")
    teller.pod("b", node="n")
    assert not teller.told
    teller.pod("b", node="n", phase="Succeeded")
    teller.pod("c", node="n")
    assert not teller.told
    teller.pod("d", node="n", cpu="10m")
    assert "cpu 2010m of 2000m" in teller.told


def test_too_many_pods_on_a_node():
    teller = Teller()
    teller.node("n", "64")
    for name in "abcd":
        teller.pod(name, node="n")
    assert "has 4 pods, 3 allowed" in teller.told


def test_a_quota_that_is_exceeded():
    teller = Teller()
    teller.put("core/resourcequotas/ns/q", {"spec": {"hard": {"pods": "2", "requests.cpu": "10"}}})
    teller.pod("a")
    teller.pod("b")
    assert not teller.told
    teller.pod("c")
    assert "pods is 3000m of 2000m" in teller.told


def test_pods_that_should_have_gone_are_not_counted_by_quotas():
    teller = Teller()
    teller.put("core/resourcequotas/ns/q", {"spec": {"hard": {"pods": "2", "requests.cpu": "2"}}})
    teller.pod("a")
    teller.pod("b", leaving=True, grace=30)  # until 00:00:30
    teller.pod("c", created="2026-01-01T00:00:31Z")
    assert not teller.told
    teller.pod("d", created="2026-01-01T00:00:32Z")
    assert "pods is 4000m of 2000m" in teller.told


def test_pods_that_leave_in_time_are_counted_by_quotas():
    teller = Teller()
    teller.put("core/resourcequotas/ns/q", {"spec": {"hard": {"pods": "1"}}})
    teller.pod("a", leaving=True, grace=30)
    teller.pod("b", created="2026-01-01T00:00:20Z")
    assert "pods is 2000m of 1000m" in teller.told


def test_a_finished_pod_that_changes_says_nothing_of_quotas():
    """It was let in long ago: what had gone by then is not what has gone by now."""
    teller = Teller()
    teller.put("core/resourcequotas/ns/q", {"spec": {"hard": {"pods": "1"}}})
    teller.pod("old", created="2025-12-31T23:59:00Z")
    teller.pod("old", created="2025-12-31T23:59:00Z", phase="Succeeded")
    teller.pod("a", leaving=True, grace=30)
    teller.pod("b", created="2026-01-01T00:00:31Z")
    teller.pod("old", created="2025-12-31T23:59:00Z", phase="Succeeded", ready=True)
    assert not teller.told


def test_a_finished_pod_that_lives_again():
    teller = Teller()
    teller.pod("a", phase="Failed")
    teller.pod("a", phase="Failed", leaving=True)
    assert not teller.told
    teller.pod("a", phase="Running")
    assert "core/pods/ns/a was finished and lives again" in teller.told


def test_a_deployment_that_asks_for_too_much():
    teller = Teller()
    teller.deployment(2, 1, 0)
    teller.replica_set("old", 2)
    teller.replica_set("new", 1)
    assert not teller.told
    teller.replica_set("new", 2)
    assert "ask for 4, allowed 3" in teller.told


def test_a_deployment_may_shrink_in_its_own_time():
    teller = Teller()
    teller.deployment(4, 1, 0)
    teller.replica_set("old", 4)
    teller.deployment(2, 1, 0)
    teller.replica_set("new", 1)
    assert not teller.told


def test_a_deployment_that_takes_a_ready_pod_too_many():
    teller = Teller()
    teller.whole()
    teller.pod("a", owner="old", ready=True, leaving=True)
    assert "1 ready are left of 2" in teller.told


def test_a_deployment_may_take_what_it_cannot_know_to_be_ready():
    teller = Teller()
    teller.deployment(2, 1, 0)
    teller.replica_set("old", 2)
    teller.pod("a", owner="old", ready=True)
    teller.deployment(2, 1, 0, available=1)
    teller.pod("b", owner="old", ready=True)
    teller.pod("b", owner="old", ready=True, leaving=True)
    assert not teller.told


def test_what_others_do_is_not_its_fault():
    teller = Teller()
    teller.whole()
    teller.pod("a", owner="old", ready=True, leaving=True, evicted=True)
    teller.pod("b", owner="old", ready=True, leaving=True)  # its owner's doing, but it is hurt already
    assert not teller.told


def test_who_is_deleted_may_go():
    teller = Teller()
    teller.whole()
    teller.put("core/namespaces/ns", {"metadata": {"name": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    teller.pod("a", owner="old", ready=True, leaving=True)
    assert not teller.told


def test_who_was_hurt_is_whole_again_once_it_says_so():
    teller = Teller()
    teller.whole()
    teller.pod("a", owner="old", ready=False)
    teller.pod("a", owner="old", ready=True)
    teller.deployment(2, 1, 0, available=1)
    teller.deployment(2, 1, 0, available=2)
    teller.pod("a", owner="old", ready=True, leaving=True)
    assert "1 ready are left of 2" in teller.told


def test_a_job_with_too_many_at_work():
    teller = Teller()
    teller.put("batch/jobs/ns/j", {"metadata": {"name": "j", "uid": "j"}, "spec": {"parallelism": 1}})
    teller.pod("a", owner="j")
    assert not teller.told
    teller.pod("b", owner="j")
    assert "has 2 pods at work, 1 allowed" in teller.told
