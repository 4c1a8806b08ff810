"""ResourceQuota: what is counted, what is refused, and that deletions give back."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, refused
from tests.cluster.conformance.objects import config_map, container, pod, workload
from tests.waiting import eventually

NAME = "test-quota"


@pytest.fixture
def quotas(api, ns):
    return api.at("v1", "resourcequotas", ns)


def hard(name: str = NAME, scopes=None, **amounts: str):
    made = {"metadata": {"name": name}, "spec": {"hard": amounts}}
    if scopes:
        made["spec"]["scopes"] = scopes
    return made


def used(quotas, name: str = NAME, **expected: str) -> None:
    """Waits until the quota's status says that this much is used."""

    def same() -> bool:
        found = quotas.get(name).get("status", {})
        assert {k: found.get("used", {}).get(k) for k in expected} == expected, found
        return True

    eventually(same, f"{name} says {expected} used", 15)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated. "
    "[Conformance]"
)
def test_status_is_prompt(quotas):
    quotas.create(hard(cpu="1", memory="500Mi", pods="5", services="10", configmaps="10", secrets="10"))
    used(quotas, cpu="0", memory="0", pods="0", services="0", secrets="0")
    assert quotas.get(NAME)["status"]["hard"] == quotas.get(NAME)["spec"]["hard"]


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota. [Conformance]"
)
def test_update_and_delete(quotas):
    made = quotas.create(hard(cpu="1", memory="500Mi"))
    assert quotas.get(NAME)["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"} == made["spec"]["hard"]
    updated = quotas.edit(NAME, lambda o: o["spec"]["hard"].update(cpu="2", memory="1Gi"))
    assert updated["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"} == quotas.get(NAME)["spec"]["hard"]
    quotas.delete(NAME)
    with refused(404, "NotFound"):
        quotas.get(NAME)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota [Conformance]"
)
def test_lifecycle(quotas, ns):
    label = f"e2e={ns}"
    made = hard(cpu="1", memory="500Mi")
    made["metadata"]["labels"] = {"e2e": ns}
    quotas.create(made)
    assert quotas.get(NAME)["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
    assert len(quotas.everywhere().items(label)) == 1
    patched = quotas.patch(NAME, {"metadata": {"labels": {NAME: "patched"}}, "spec": {"hard": {"memory": "750Mi"}}})
    assert patched["metadata"]["labels"][NAME] == "patched"
    assert patched["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
    quotas.delete_all(f"{NAME}=patched")
    assert quotas.everywhere().items(label) == []


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should apply changes to a resourcequota status [Conformance]"
)
def test_status_changes(quotas, ns):
    quotas.create(hard(cpu="500m", memory="500Mi"))
    eventually(lambda: quotas.get(NAME)["status"].get("hard") == {"cpu": "500m", "memory": "500Mi"}, "its status")
    quotas.edit(NAME, lambda o: o["status"].update(hard={"cpu": "1", "memory": "1Gi"}), "status")

    def settled(amounts):
        return lambda: quotas.get(NAME, "status")["status"]["hard"] == amounts

    # The controller puts the status right again: hard follows the spec.
    eventually(settled({"cpu": "500m", "memory": "500Mi"}), "the status follows the spec", 20)
    with quotas.watch() as watch:
        quotas.patch(NAME, {"spec": {"hard": {"cpu": "1500m", "memory": "1Gi"}}})
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == {"cpu": "1500m", "memory": "1Gi"})
        patched = quotas.patch(NAME, {"status": {"hard": {"cpu": "2", "memory": "2Gi"}}}, MERGE, "status")
        assert patched["status"]["hard"] == {"cpu": "2", "memory": "2Gi"}
        assert patched["spec"]["hard"] == {"cpu": "1500m", "memory": "1Gi"}
        watch.until("MODIFIED", lambda o: o["status"]["hard"]["cpu"] == "2")
        watch.until("MODIFIED", lambda o: o["status"]["hard"] == {"cpu": "1500m", "memory": "1Gi"}, 20)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap. [Conformance]"
)
def test_config_map(api, ns, quotas):
    maps = api.at("v1", "configmaps", ns)
    eventually(lambda: maps.find("kube-root-ca.crt"), "the root CA's map")
    quotas.create(hard(configmaps="3"))
    used(quotas, configmaps="1")
    maps.create(config_map("counted"))
    used(quotas, configmaps="2")
    maps.delete("counted")
    used(quotas, configmaps="1")


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret. [Conformance]"
)
def test_secret(api, ns, quotas):
    secrets = api.at("v1", "secrets", ns)
    quotas.create(hard(secrets="2"))
    used(quotas, secrets="0")
    secrets.create({"metadata": {"name": "counted"}, "stringData": {"a": "b"}})
    used(quotas, secrets="1")
    secrets.create({"metadata": {"name": "second"}})
    with refused(403, "Forbidden", "exceeded quota: test-quota"):
        secrets.create({"metadata": {"name": "one-too-many"}})
    secrets.delete("second")
    secrets.delete("counted")
    used(quotas, secrets="0")


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service. [Conformance]"
)
def test_service(api, ns, quotas):
    services = api.at("v1", "services", ns)

    def service(name: str, kind: str):
        return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}], "selector": {"a": "b"}}}

    quotas.create(hard(**{"services": "10", "services.nodeports": "1", "services.loadbalancers": "1"}))
    used(quotas, **{"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"})
    services.create(service("test-service", "ClusterIP"))
    services.create(service("test-service-np", "NodePort"))
    with refused(403, "Forbidden", "exceeded quota"):
        services.create(service("test-service-lb", "LoadBalancer"))
    used(quotas, **{"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})
    services.delete("test-service")
    services.delete("test-service-np")
    used(quotas, **{"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"})


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a "
    "replica set. [Conformance]"
)
def test_replica_set(api, ns, quotas):
    _counted(api.at("apps/v1", "replicasets", ns), quotas, "count/replicasets.apps", "ReplicaSet")


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a "
    "replication controller. [Conformance]"
)
def test_replication_controller(api, ns, quotas):
    _counted(api.at("v1", "replicationcontrollers", ns), quotas, "replicationcontrollers", "ReplicationController")


def _counted(collection, quotas, resource: str, kind: str) -> None:
    quotas.create(hard(**{resource: "1"}))
    used(quotas, **{resource: "0"})
    collection.create(workload(kind, "counted", {"app": "counted"}, 0))
    used(quotas, **{resource: "1"})
    with refused(403, "Forbidden", "exceeded quota"):
        collection.create(workload(kind, "one-too-many", {"app": "counted"}, 0))
    collection.delete("counted", propagationPolicy="Background")
    used(quotas, **{resource: "0"})


def _pod(name: str, requests=None, limits=None, **spec):
    resources = {k: v for k, v in (("requests", requests), ("limits", limits)) if v}
    # A class of nodes that does not exist keeps them pending, which counts as well and costs nothing.
    return pod(name, container(resources=resources), nodeSelector={"no": "node"}, **spec)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod. [Conformance]"
)
def test_pod(api, ns, quotas):
    pods, gpu = api.pods(ns), "requests.example.com/dongle"
    amounts = {"cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi", "requests.ephemeral-storage": "50Gi"}
    quotas.create(hard(**{"pods": "5", gpu: "3", **amounts}))
    zero = {"pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0", gpu: "0"}
    used(quotas, **zero)
    dongles = {"example.com/dongle": "2"}
    requests = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", **dongles}
    pods.create(_pod("fits", requests, dongles))
    counted = {"pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", gpu: "2"}
    used(quotas, **counted)
    with refused(403, "Forbidden", "exceeded quota"):
        pods.create(_pod("too-much-cpu", {"cpu": "600m", "memory": "100Mi", "ephemeral-storage": "1Gi"}))
    with refused(403, "Forbidden", "exceeded quota"):
        more = {"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi", **dongles}
        pods.create(_pod("too-many-dongles", more, dongles))
    # Resources of a pod are immutable, metadata is not, and neither changes what is counted.
    with refused(422, "Invalid"):
        pods.edit("fits", lambda o: o["spec"]["containers"][0]["resources"]["requests"].update(cpu="100m"))
    pods.patch("fits", {"metadata": {"labels": {"some": "label"}}})
    used(quotas, **counted)
    pods.delete("fits", gracePeriodSeconds=0)
    used(quotas, **zero)


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope. [Conformance]"
)
def test_best_effort(api, ns, quotas):
    pods = api.pods(ns)
    quotas.create(hard("best", ["BestEffort"], pods="5"))
    quotas.create(hard("not-best", ["NotBestEffort"], pods="5"))
    used(quotas, "best", pods="0")
    used(quotas, "not-best", pods="0")
    pods.create(_pod("careless"))
    used(quotas, "best", pods="1")
    used(quotas, "not-best", pods="0")
    pods.delete("careless", gracePeriodSeconds=0)
    used(quotas, "best", pods="0")
    pods.create(_pod("careful", {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}))
    used(quotas, "not-best", pods="1")
    used(quotas, "best", pods="0")
    pods.delete("careful", gracePeriodSeconds=0)
    used(quotas, "not-best", pods="0")


@pytest.mark.conformance(
    "[sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes. [Conformance]"
)
def test_terminating(api, ns, quotas):
    pods = api.pods(ns)
    amounts = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    quotas.create(hard("terminating", ["Terminating"], **amounts))
    quotas.create(hard("not-terminating", ["NotTerminating"], **amounts))
    zero = dict.fromkeys(amounts, "0")
    requests, limits = {"cpu": "500m", "memory": "200Mi"}, {"cpu": "1", "memory": "400Mi"}
    counted = {
        "pods": "1",
        **{f"requests.{k}": v for k, v in requests.items()},
        **{f"limits.{k}": v for k, v in limits.items()},
    }
    for name in ("terminating", "not-terminating"):
        used(quotas, name, **zero)
    for name, other, more in (
        ("not-terminating", "terminating", {}),
        ("terminating", "not-terminating", {"activeDeadlineSeconds": 3600}),
    ):
        pods.create(_pod("counted", requests, limits, **more))
        used(quotas, name, **counted)
        used(quotas, other, **zero)
        pods.delete("counted", gracePeriodSeconds=0)
        used(quotas, name, **zero)
