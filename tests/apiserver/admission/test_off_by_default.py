"""The plugins that are off by default, turned on by name."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import PODS, pod

from shirube.apiserver.admission.pod_toleration_restriction import covers, merged

NS = "/api/v1/namespaces/default"
SERVICES = f"{NS}/services"


# -- images -------------------------------------------------------------------------------------------------


async def test_images_are_always_pulled(start):
    async with start("AlwaysPullImages") as api:
        volumes = [{"name": "v", "image": {"reference": "r", "pullPolicy": "Never"}}]
        containers = [{"name": "c", "image": "i:1", "imagePullPolicy": "Never"}, {"name": "d", "image": "i:2"}]
        body = pod("p", containers=containers, initContainers=[{"name": "e", "image": "i:3"}], volumes=volumes)
        made = (await api.ok("POST", PODS, body))["spec"]
        every = made["containers"] + made["initContainers"]
        assert [c["imagePullPolicy"] for c in every] == ["Always"] * 3
        assert made["volumes"][0]["image"]["pullPolicy"] == "Always"
        debug = {"spec": {"ephemeralContainers": [{"name": "x", "image": "i:9", "imagePullPolicy": "Never"}]}}
        patched = await api.patch(f"{PODS}/p/ephemeralcontainers", debug, kind="strategic-merge-patch+json")
        assert patched.json["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "Always"


async def test_pods_from_before_can_still_be_written(start):
    async with start("AlwaysPullImages") as api:
        (plugin,) = (p for p in api.context.admission._plugins if p.name == "AlwaysPullImages")
        plugin.operations = frozenset()
        await api.ok("POST", PODS, pod("p", containers=[{"name": "c", "image": "i:1", "imagePullPolicy": "Never"}]))
        del plugin.operations
        api.context.admission._steps.clear()
        assert (await api.patch(f"{PODS}/p", {"metadata": {"labels": {"x": "y"}}})).status == 200


# -- services, affinity, namespaces -------------------------------------------------------------------------


async def test_external_addresses(start):
    def service(name, *addresses):
        return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "externalIPs": list(addresses)}}

    async with start() as api:
        await api.ok("POST", SERVICES, service("old", "192.0.2.1", "192.0.2.2"))
    async with start("DenyServiceExternalIPs") as api:
        answer = await api.post(SERVICES, service("new", "192.0.2.1"))
        assert answer.status == 403
        assert answer.message == 'services "new" is forbidden: Use of external IPs is denied by admission control'
        assert (await api.post(SERVICES, service("plain"))).status == 201
        assert (await api.patch(f"{SERVICES}/old", {"spec": {"externalIPs": ["192.0.2.2"]}})).status == 200
        assert (await api.patch(f"{SERVICES}/old", {"spec": {"externalIPs": ["192.0.2.1"]}})).status == 403


@pytest.fixture(autouse=True)
def fresh_account(monkeypatch):
    """`start` may be used twice in a test, on the same store."""
    import tests.apiserver.conftest as parent

    plain = parent.Api.ok

    async def ok(self, method, target, body=None, **more):
        if target.endswith("/serviceaccounts") and (await self.get(f"{target}/default")).status == 200:
            return None
        return await plain(self, method, target, body, **more)

    monkeypatch.setattr(parent.Api, "ok", ok)


async def test_anti_affinity_keeps_others_from_the_node_alone(start):
    def affinity(key):
        term = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": key}
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    async with start("LimitPodHardAntiAffinityTopology") as api:
        assert (await api.post(PODS, pod("a", affinity=affinity("kubernetes.io/hostname")))).status == 201
        answer = await api.post(PODS, pod("b", affinity=affinity("topology.kubernetes.io/zone")))
        assert answer.status == 403
        assert answer.message == (
            'pods "b" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey '
            "topology.kubernetes.io/zone but only key kubernetes.io/hostname is allowed"
        )


async def test_namespaces_come_when_they_are_needed(start):
    body = {"metadata": {"name": "c"}}
    async with start("NamespaceAutoProvision") as api:
        dry = await api.post("/api/v1/namespaces/new/configmaps?dryRun=All", body)
        assert (dry.status, (await api.get("/api/v1/namespaces/new")).status) == (404, 404)
        assert (await api.post("/api/v1/namespaces/new/configmaps", body)).status == 201
        made = await api.ok("GET", "/api/v1/namespaces/new")
        assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "new"}
        assert made["status"]["phase"] == "Active"
        assert (await api.get("/api/v1/namespaces/other/configmaps")).status == 200
        assert (await api.get("/api/v1/namespaces/other")).status == 404, "a look makes none"
        wrong = await api.post("/api/v1/namespaces/No_Name/configmaps", body)
        assert wrong.status == 403 and "cannot make namespace No_Name: " in wrong.message


async def test_a_namespace_must_exist(start):
    async with start("NamespaceExists", off="NamespaceLifecycle") as api:
        answer = await api.post("/api/v1/namespaces/none/configmaps", {"metadata": {"name": "x"}})
        assert (answer.status, answer.message) == (404, 'namespaces "none" not found')
        assert (await api.post(f"{NS}/configmaps", {"metadata": {"name": "x"}})).status == 201


async def test_always(start):
    async with start("AlwaysAdmit") as api:
        await api.ok("POST", f"{NS}/configmaps", {"metadata": {"name": "x"}})
    async with start("AlwaysDeny,AlwaysAdmit") as api:
        answer = await api.delete(f"{NS}/configmaps/x")
        assert answer.status == 403
        assert answer.message == 'configmaps "x" is forbidden: admission control is denying all modifications'
        assert (await api.get(f"{NS}/configmaps/x")).status == 200


# -- where pods go ------------------------------------------------------------------------------------------


async def annotate(api, **annotations):
    notes = {f"scheduler.alpha.kubernetes.io/{key}": value for key, value in annotations.items()}
    await api.ok(
        "PATCH",
        "/api/v1/namespaces/default",
        {"metadata": {"annotations": notes}},
        content_type="application/merge-patch+json",
    )


async def test_node_selectors_of_namespaces(start):
    config = {"clusterDefaultNodeSelector": "pool=shared, disk=hdd", "default": "pool=shared,disk=hdd,zone=a"}
    async with start(PodNodeSelector={"podNodeSelectorPluginConfig": config}) as api:
        made = await api.ok("POST", PODS, pod("a", nodeSelector={"zone": "a"}))
        assert made["spec"]["nodeSelector"] == {"pool": "shared", "disk": "hdd", "zone": "a"}
        answer = await api.post(PODS, pod("b", nodeSelector={"pool": "own"}))
        assert answer.status == 403
        assert answer.message == (
            'pods "b" is forbidden: pod node label selector conflicts with its namespace node label selector'
        )
        answer = await api.post(PODS, pod("b", nodeSelector={"zone": "b"}))
        assert answer.message.endswith("pod node label selector labels conflict with its namespace whitelist")
        await annotate(api, **{"node-selector": "zone=a"})
        assert (await api.ok("POST", PODS, pod("b")))["spec"]["nodeSelector"] == {"zone": "a"}
        await annotate(api, **{"node-selector": ""})
        assert "nodeSelector" not in (await api.ok("POST", PODS, pod("c")))["spec"]
        await annotate(api, **{"node-selector": "zone"})
        answer = await api.post(PODS, pod("d"))
        assert answer.status == 403 and "of namespace default: invalid selector: zone" in answer.message


async def test_node_selectors_without_a_configuration(start):
    async with start("PodNodeSelector") as api:
        assert "nodeSelector" not in (await api.ok("POST", PODS, pod("a")))["spec"]
        await annotate(api, **{"node-selector": "pool=own"})
        assert (await api.ok("POST", PODS, pod("b")))["spec"]["nodeSelector"] == {"pool": "own"}


SPOT = {"effect": "NoSchedule", "key": "spot", "operator": "Exists"}
RESTRICTION = {"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration"}
PRESSURE = {"effect": "NoSchedule", "key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}


async def test_tolerations_of_namespaces(start):
    allowed = [
        SPOT,
        {"key": "node.kubernetes.io/", "operator": "Exists"},
        {"effect": "NoExecute", "operator": "Exists"},
    ]
    config = {**RESTRICTION, "default": [SPOT], "whitelist": [*allowed, PRESSURE]}
    async with start(PodTolerationRestriction=config) as api:
        made = await api.ok("POST", PODS, pod("a"))
        assert SPOT in made["spec"]["tolerations"] and PRESSURE not in made["spec"]["tolerations"]
        containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
        made = await api.ok("POST", PODS, pod("b", containers=containers))
        assert PRESSURE in made["spec"]["tolerations"], "who asks for resources tolerates pressure"
        other = {**SPOT, "key": "gpu"}
        answer = await api.post(PODS, pod("c", tolerations=[other]))
        assert answer.status == 403
        conflict = "pod tolerations (possibly merged with namespace default tolerations) conflict with its"
        assert answer.message == f'pods "c" is forbidden: {conflict} cluster whitelist'
        await annotate(
            api, defaultTolerations="[]", tolerationsWhitelist=orjson.dumps([{"operator": "Exists"}]).decode()
        )
        made = await api.ok("POST", PODS, pod("c", tolerations=[other]))
        assert SPOT not in made["spec"]["tolerations"] and other in made["spec"]["tolerations"]
        await annotate(api, tolerationsWhitelist=orjson.dumps([SPOT]).decode())
        assert (await api.post(PODS, pod("d"))).message.endswith(f"{conflict} namespace whitelist")
        assert (await api.patch(f"{PODS}/a", {"metadata": {"labels": {"x": "y"}}})).status == 403, "as upstream"
        await annotate(api, tolerationsWhitelist="nonsense")
        assert "tolerationsWhitelist of namespace default: " in (await api.post(PODS, pod("d"))).message


tolerations = st.builds(
    lambda **parts: {name: value for name, value in parts.items() if value not in ("", None)},
    key=st.sampled_from(("", "a", "b")),
    operator=st.sampled_from(("", "Exists", "Equal")),
    value=st.sampled_from(("", "x")),
    effect=st.sampled_from(("", "NoSchedule", "NoExecute")),
    tolerationSeconds=st.sampled_from((None, 1, 5)),
)


@given(st.lists(tolerations, max_size=5), st.lists(tolerations, max_size=5))
def test_merged_tolerations(first, second):
    """Nothing is lost, nothing comes from elsewhere, and merging again changes nothing."""
    found = merged(first, second)
    assert all(one in first + second for one in found)
    assert all(any(covers(kept, one) for kept in found) for one in first + second)
    assert merged(found, []) == found


@given(tolerations, tolerations, tolerations)
def test_covering_is_an_order(a, b, c):
    assert covers(a, a)
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


async def test_who_asks_for_devices_tolerates_their_taint(start):
    async with start("ExtendedResourceToleration") as api:
        limits = {"limits": {"example.com/gpu": "1", "cpu": "1"}}
        containers = [{"name": "c", "image": "i", "resources": limits}]
        init = [{"name": "d", "image": "i", "resources": {"limits": {"example.com/fpga": "1"}}}]
        made = await api.ok("POST", PODS, pod("p", containers=containers, initContainers=init))
        keys = [t["key"] for t in made["spec"]["tolerations"] if t["effect"] == "NoSchedule"]
        assert keys == ["example.com/fpga", "example.com/gpu"]
        made = await api.ok("POST", PODS, pod("q"))
        assert not [t for t in made["spec"]["tolerations"] if t["effect"] == "NoSchedule"]
