"""Services that change what they are: which numbers they keep, get and give back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apiserver.allocation.test_allocation import MERGE, SERVICES, addresses, ports, service


async def change(api: Any, name: str = "a", kind: str = MERGE, **spec: Any) -> Any:
    return (await api.ok("PATCH", f"{SERVICES}/{name}", {"spec": spec}, content_type=kind))["spec"]


def node_ports(spec: Any) -> list[int]:
    return [p.get("nodePort", 0) for p in spec["ports"]]


TWO = [{"name": "one", "port": 80}, {"name": "two", "port": 81}]


async def test_a_load_balancer_without_node_ports(api):
    made = (await api.ok("POST", SERVICES, service("a", type="LoadBalancer", allocateLoadBalancerNodePorts=False)))[
        "spec"
    ]
    assert node_ports(made) == [0] and await ports(api) == set()
    made = await change(api, allocateLoadBalancerNodePorts=True)
    assert set(node_ports(made)) == await ports(api) and 0 not in node_ports(made)


async def test_from_cluster_ip_without_node_ports(api):
    await api.ok("POST", SERVICES, service("a"))
    made = await change(api, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert node_ports(made) == [0] and await ports(api) == set()


async def test_node_ports_stay_until_they_are_given_up(api):
    made = (await api.ok("POST", SERVICES, service("a", type="LoadBalancer", ports=TWO)))["spec"]
    had = node_ports(made)
    assert node_ports(await change(api, allocateLoadBalancerNodePorts=False)) == had
    one = [{**made["ports"][0], "nodePort": 0}, made["ports"][1]]
    assert node_ports(await change(api, ports=one)) == [0, had[1]]
    assert await ports(api) == {had[1]}


async def test_one_of_two_is_given_up_by_a_strategic_patch(api):
    made = (await api.ok("POST", SERVICES, service("a", type="LoadBalancer", ports=TWO)))["spec"]
    patch = {"allocateLoadBalancerNodePorts": False, "ports": [{"port": 80, "nodePort": None}]}
    after = await change(api, kind="application/strategic-merge-patch+json", **patch)
    assert node_ports(after) == [0, node_ports(made)[1]]
    assert await ports(api) == {node_ports(made)[1]}


async def test_the_class_of_a_load_balancer_is_for_good(api):
    await api.ok("POST", SERVICES, service("a", type="LoadBalancer", loadBalancerClass="test.com/test"))
    await api.ok("POST", SERVICES, service("b", type="LoadBalancer"))
    for name in ("a", "b"):
        body = {"spec": {"loadBalancerClass": "test.com/other"}}
        answer = await api.call("PATCH", f"{SERVICES}/{name}", body, content_type=MERGE)
        assert answer.status == 422 and "loadBalancerClass" in answer.message
    assert "loadBalancerClass" not in await change(api, type="ClusterIP")


async def test_two_protocols_of_one_port(api):
    mixed = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    made = (await api.ok("POST", SERVICES, service("a", type="LoadBalancer", ports=mixed)))["spec"]
    assert len(set(node_ports(made))) == 1


async def test_another_port_keeps_what_the_balancer_said(api):
    await api.ok("POST", SERVICES, service("a", type="LoadBalancer"))
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
    told = await api.ok("PATCH", f"{SERVICES}/a/status", ingress, content_type=MERGE)
    assert told["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    after = await api.ok("PATCH", f"{SERVICES}/a", {"spec": {"ports": [{"port": 443}]}}, content_type=MERGE)
    assert after["status"] == told["status"]


async def test_an_external_name_gives_up_what_only_services_have(api):
    external = {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "foo.bar.com"}}
    for more in ({}, {"internalTrafficPolicy": "Cluster"}):
        external["metadata"]["name"] = f"e{len(more)}"
        made = await api.ok("POST", SERVICES, {**external, "spec": {**external["spec"], **more}})
        assert "internalTrafficPolicy" not in made["spec"]
    first = (await api.ok("POST", SERVICES, service("a", selector={"foo": "bar"})))["spec"]
    assert first["internalTrafficPolicy"] == "Cluster"
    full = await api.ok("GET", f"{SERVICES}/a")
    full["spec"] |= {"type": "ExternalName", "externalName": "foo.bar.com"}
    after = (await api.ok("PUT", f"{SERVICES}/a", full))["spec"]
    assert not after.keys() & {"internalTrafficPolicy", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"}
    assert await addresses(api) == set()
    back = await change(api, type="ClusterIP", externalName=None)
    assert await addresses(api) == {back["clusterIP"]}


async def test_external_addresses_and_the_policy_for_them(api):
    made = (await api.ok("POST", SERVICES, service("a", externalIPs=["1.1.1.1"])))["spec"]
    assert made["externalTrafficPolicy"] == "Cluster"
    assert "externalTrafficPolicy" not in await change(api, externalIPs=[])
    assert (await change(api, externalIPs=["1.1.1.1"]))["externalTrafficPolicy"] == "Cluster"


async def test_headless_services_are_found_by_their_address(api):
    await api.ok("POST", SERVICES, service("none", clusterIP="None", selector={"a": "b"}))
    await api.ok("POST", SERVICES, service("some"))

    async def found(selector: str) -> list[str]:
        listed = await api.ok("GET", f"/api/v1/services?fieldSelector={selector}")
        return sorted(o["metadata"]["name"] for o in listed["items"])

    assert await found("spec.clusterIP!=None") == ["kubernetes", "some"]
    assert await found("spec.clusterIP=None") == ["none"]
    full = await api.ok("GET", f"{SERVICES}/none")
    full["spec"] |= {"type": "ExternalName", "externalName": "test"}
    await api.ok("PUT", f"{SERVICES}/none", full)
    assert await found("spec.clusterIP!=None") == ["kubernetes", "none", "some"]
    back = await change(api, "none", type="ClusterIP", externalName=None)
    assert back["clusterIP"] not in ("", "None")


async def test_a_health_port_comes_and_goes_with_the_policy(api):
    await api.ok("POST", SERVICES, service("a", type="LoadBalancer", externalTrafficPolicy="Local"))
    assert len(await ports(api)) == 2
    assert "healthCheckNodePort" not in await change(api, externalTrafficPolicy="Cluster")
    assert len(await ports(api)) == 1
    again = await change(api, externalTrafficPolicy="Local")
    assert again["healthCheckNodePort"] in await ports(api) and len(await ports(api)) == 2


async def test_a_port_that_moves_between_two_ports_of_a_service(api):
    made = (await api.ok("POST", SERVICES, service("a", type="NodePort", ports=TWO)))["spec"]
    first, second = node_ports(made)
    swapped = [{**made["ports"][0], "nodePort": second}, {**made["ports"][1], "nodePort": first}]
    assert node_ports(await change(api, ports=swapped)) == [second, first]
    assert await ports(api) == {first, second}


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
async def test_a_service_that_is_refused_late_keeps_nothing(api, kind):
    taken = node_ports((await api.ok("POST", SERVICES, service("a", type="NodePort")))["spec"])[0]
    before = await addresses(api), await ports(api)
    wrong = [{"name": "one", "port": 80}, {"name": "two", "port": 81, "nodePort": taken}]
    assert (await api.post(SERVICES, service("b", type=kind, ports=wrong))).status == 422
    assert (await addresses(api), await ports(api)) == before


async def test_endpoints_are_kept_packed(api):
    def subset(ip: str, name: str, port: int) -> dict[str, Any]:
        return {"addresses": [{"ip": ip}], "ports": [{"name": name, "port": port}]}

    path = "/api/v1/namespaces/default/endpoints"
    body = {"metadata": {"name": "e"}, "subsets": [subset("10.1.0.1", "a", 80), subset("10.1.0.1", "b", 90)]}
    made = await api.ok("POST", path, body)
    (one,) = made["subsets"]
    assert [p["name"] for p in one["ports"]] == ["a", "b"] and one["addresses"] == [{"ip": "10.1.0.1"}]
    made["subsets"] = [subset("10.1.0.2", "a", 80), subset("10.1.0.1", "a", 80)]
    again = await api.ok("PUT", f"{path}/e", made)
    assert [a["ip"] for a in again["subsets"][0]["addresses"]] == ["10.1.0.1", "10.1.0.2"]
    wrong = await api.call(
        "PUT", f"{path}/e", {**again, "subsets": [subset("10.1.0.2", "a", 80), subset("x", "a", 80)]}
    )
    assert wrong.status == 422 and "subsets[1].addresses[0].ip" in wrong.message, "told of as it was sent"
