"""Addresses and ports of services: given once, kept, returned."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.apiserver.allocation import families
from shirube.apiserver.allocation.bands import address_range, port_range
from shirube.foundation.chance import Chance

SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"


def service(name, **spec):
    ports = spec.pop("ports", [{"name": "http", "port": 80}])
    return {"metadata": {"name": name}, "spec": {"ports": ports, **spec}}


async def addresses(api):
    listed = await api.ok("GET", "/apis/networking.k8s.io/v1/ipaddresses")
    return {o["metadata"]["name"] for o in listed["items"]} - {"10.96.0.1"}


async def ports(api):
    return {int(kv.key.rpartition("/")[2]) for kv in (await api.context.storage.range("/registry/shirube/")).items}


def test_bands():
    addresses = address_range("10.96.0.0/12")
    assert addresses.dynamic - addresses.first == 256
    assert addresses.last - addresses.first + 1 == 2**20 - 2
    nodes = port_range(30000, 32767)
    assert (nodes.first, nodes.dynamic, nodes.last) == (30000, 30086, 32767)


@given(st.integers(24, 30), st.integers(0, 1000))
def test_candidates_are_the_whole_range_once(bits, seed):
    numbers = address_range(f"10.0.0.0/{bits}")
    tried = list(numbers.candidates(Chance(seed)))
    assert sorted(tried) == list(range(numbers.first, numbers.last + 1))
    upper = numbers.last - numbers.dynamic + 1
    assert all(n >= numbers.dynamic for n in tried[:upper])


async def test_cluster_ip(api):
    made = (await api.ok("POST", SERVICES, service("a")))["spec"]
    assert made["clusterIPs"] == [made["clusterIP"]]
    assert (made["ipFamilies"], made["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert await addresses(api) == {made["clusterIP"]}
    await api.ok("DELETE", f"{SERVICES}/a")
    assert await addresses(api) == set()


async def test_chosen_ip(api):
    await api.ok("POST", SERVICES, service("a", clusterIP="10.96.0.10"))
    answer = await api.post(SERVICES, service("b", clusterIP="10.96.0.10"))
    assert answer.status == 422
    assert answer.message == (
        'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: '
        "provided IP is already allocated"
    )
    answer = await api.post(SERVICES, service("c", clusterIP="192.0.2.1"))
    assert answer.message.endswith(
        "failed to allocate IP 192.0.2.1: the provided network does not match the current range"
    )
    answer = await api.post(SERVICES, service("d", clusterIP="10.96.0.0"))
    assert "(10.96.0.0) is not in the valid range. The range of valid IPs is 10.96.0.0/12" in answer.message


async def test_headless_and_external_need_none(api):
    made = (await api.ok("POST", SERVICES, service("a", clusterIP="None", selector={"a": "b"})))["spec"]
    assert (made["clusterIP"], made["ipFamilies"]) == ("None", ["IPv4"])
    external = {"metadata": {"name": "b"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    made = (await api.ok("POST", SERVICES, external))["spec"]
    assert "clusterIP" not in made
    assert await addresses(api) == set()


async def test_two_of_a_name_keep_one_address(api):
    answers = await asyncio.gather(*(api.post(SERVICES, service("a")) for _ in range(8)))
    assert sorted(a.status for a in answers) == [201] + [409] * 7
    assert len(await addresses(api)) == 1


async def test_many_at_once_share_nothing(api):
    made = await asyncio.gather(*(api.ok("POST", SERVICES, service(f"s{i}", type="NodePort")) for i in range(40)))
    assert len({s["spec"]["clusterIP"] for s in made}) == 40
    assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 40
    assert len(await ports(api)) == 40


async def test_node_ports(api):
    made = (await api.ok("POST", SERVICES, service("a", type="NodePort")))["spec"]
    port = made["ports"][0]["nodePort"]
    assert 30086 <= port <= 32767
    taken = [{"port": 80, "nodePort": port}]
    answer = await api.post(SERVICES, service("b", type="NodePort", ports=taken))
    assert answer.message == (
        f'Service "b" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated'
    )
    outside = [{"port": 80, "nodePort": 80}]
    answer = await api.post(SERVICES, service("c", type="NodePort", ports=outside))
    assert "The range of valid ports is 30000-32767" in answer.message
    assert len(await addresses(api)) == 1, "who is refused keeps nothing"


async def test_one_number_for_two_protocols(api):
    two = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    made = (await api.ok("POST", SERVICES, service("dns", type="NodePort", ports=two)))["spec"]["ports"]
    assert made[0]["nodePort"] == made[1]["nodePort"]
    assert len(await ports(api)) == 1


async def test_update_keeps_what_it_leaves_out(api):
    made = (await api.ok("POST", SERVICES, service("a", type="NodePort")))["spec"]
    two = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    again = (await api.ok("PUT", f"{SERVICES}/a", service("a", type="NodePort", ports=two)))["spec"]
    assert again["clusterIP"] == made["clusterIP"]
    assert again["ports"][0]["nodePort"] == made["ports"][0]["nodePort"]
    assert len(await ports(api)) == 2


async def test_type_changes_return_numbers(api):
    await api.ok("POST", SERVICES, service("a", type="NodePort"))
    changed = await api.ok("PATCH", f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}},
                           content_type="application/merge-patch+json")  # fmt: skip
    assert "nodePort" not in changed["spec"]["ports"][0]
    assert await ports(api) == set()
    external = {"type": "ExternalName", "externalName": "example.com", "clusterIP": None, "clusterIPs": None}
    await api.ok("PATCH", f"{SERVICES}/a", {"spec": external}, content_type="application/merge-patch+json")
    assert await addresses(api) == set()


async def test_load_balancer_health_port(api):
    made = await api.ok("POST", SERVICES, service("a", type="LoadBalancer", externalTrafficPolicy="Local"))
    assert made["spec"]["healthCheckNodePort"] in await ports(api)
    assert len(await ports(api)) == 2
    await api.ok("DELETE", f"{SERVICES}/a")
    assert await ports(api) == set()


async def test_a_taken_health_port_is_not_a_wrong_field(api):
    made = await api.ok("POST", SERVICES, service("a", type="LoadBalancer", externalTrafficPolicy="Local"))
    port = made["spec"]["healthCheckNodePort"]
    asked = service("b", type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port)
    answer = await api.post(SERVICES, asked)
    why = f"failed to allocate requested HealthCheck NodePort {port}: provided port is already allocated"
    assert (answer.status, answer.message) == (500, f"Internal error occurred: {why}")


async def test_dry_run_takes_nothing(api):
    await api.ok("POST", f"{SERVICES}?dryRun=All", service("a", type="NodePort"))
    assert (await addresses(api), await ports(api)) == (set(), set())


async def test_small_range_runs_out(api):
    api.context.options.service_cidr = "10.200.0.0/29"
    for index in range(6):
        await api.ok("POST", SERVICES, service(f"s{index}"))
    answer = await api.post(SERVICES, service("more"))
    assert (answer.status, answer.message) == (
        500,
        "Internal error occurred: failed to allocate a serviceIP: range is full",
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, "not configured on this cluster"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families"),
    ],
)
def test_families_refused(spec, message):
    (cause,) = families.complete({"spec": spec}, None, ("IPv4",))[:1]
    assert message in cause.message


@pytest.mark.parametrize(
    ("spec", "policy", "expected"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
        ({"clusterIP": "None"}, "RequireDualStack", ["IPv4", "IPv6"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, "SingleStack", ["IPv4"]),
    ],
)
def test_families_completed(spec, policy, expected):
    made = {"spec": dict(spec)}
    assert families.complete(made, None, ("IPv4",)) == []
    assert (made["spec"]["ipFamilyPolicy"], made["spec"]["ipFamilies"]) == (policy, expected)


TWO = ("IPv4", "IPv6")


@pytest.mark.parametrize(
    ("configured", "spec", "expected"),
    [
        (TWO, {}, ["IPv4"]),
        (TWO, {"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"]),
        (TWO, {"ipFamilyPolicy": "RequireDualStack"}, ["IPv4", "IPv6"]),
        (TWO, {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"]),
        (TWO, {"ipFamilies": ["IPv6"]}, ["IPv6"]),
        (TWO, {"clusterIP": "fd00:10:96::7", "clusterIPs": ["fd00:10:96::7"]}, ["IPv6"]),
        (TWO, {"clusterIP": "None", "selector": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"]),
        (("IPv6", "IPv4"), {}, ["IPv6"]),
        (("IPv6",), {}, ["IPv6"]),
    ],
)
def test_families_of_clusters_with_two(configured, spec, expected):
    made = {"spec": dict(spec)}
    assert families.complete(made, None, configured) == []
    assert made["spec"]["ipFamilies"] == expected


@pytest.fixture
def dual(api):
    api.context.options.service_cidr = "10.96.0.0/12,fd00:10:96::/112"
    return api


async def test_an_address_of_each_family(dual):
    made = (await dual.ok("POST", SERVICES, service("a", ipFamilyPolicy="RequireDualStack")))["spec"]
    assert made["ipFamilies"] == ["IPv4", "IPv6"]
    assert [":" in a for a in made["clusterIPs"]] == [False, True] and made["clusterIP"] == made["clusterIPs"][0]
    assert await addresses(dual) == set(made["clusterIPs"])
    chosen = service("b", clusterIP="fd00:10:96::7", ipFamilyPolicy="PreferDualStack")
    made = (await dual.ok("POST", SERVICES, chosen))["spec"]
    assert made["ipFamilies"] == ["IPv6", "IPv4"] and made["clusterIPs"][0] == "fd00:10:96::7"
    answer = await dual.post(SERVICES, service("c", clusterIP="fd00:10:97::7"))
    assert "the provided network does not match the current range" in answer.message


async def test_to_two_families_and_back(dual):
    first = (await dual.ok("POST", SERVICES, service("a")))["spec"]
    merge = {"content_type": "application/merge-patch+json"}
    both = (await dual.ok("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "PreferDualStack"}}, **merge))["spec"]
    assert both["clusterIPs"][0] == first["clusterIP"] and len(both["clusterIPs"]) == 2
    assert await addresses(dual) == set(both["clusterIPs"])
    one = (await dual.ok("PATCH", f"{SERVICES}/a", {"spec": {"ipFamilyPolicy": "SingleStack"}}, **merge))["spec"]
    assert one["clusterIPs"] == [first["clusterIP"]] and one["ipFamilies"] == ["IPv4"]
    assert await addresses(dual) == {first["clusterIP"]}


async def test_further_ranges_give_addresses(api):
    cidr = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}}
    cidr["spec"] = {"cidrs": ["203.0.113.0/28"]}
    await api.ok("POST", "/apis/networking.k8s.io/v1/servicecidrs", cidr)
    made = (await api.ok("POST", SERVICES, service("a", clusterIP="203.0.113.7")))["spec"]
    assert made["clusterIPs"] == ["203.0.113.7"]
    api.context.options.service_cidr = "10.96.0.0/30"  # two addresses, then the others
    for number in range(3):
        made = (await api.ok("POST", SERVICES, service(f"s{number}")))["spec"]
    assert made["clusterIP"].startswith("203.0.113.")


async def test_ranges_that_are_not_ready_give_nothing(api):
    cidrs = "/apis/networking.k8s.io/v1/servicecidrs"
    await api.ok("POST", cidrs, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.250.0.0/28"]}})
    await api.ok("POST", SERVICES, service("a", clusterIP="10.250.0.3"))
    leaving = {"type": "Ready", "status": "False", "reason": "Terminating", "message": ""}
    leaving["lastTransitionTime"] = "2024-01-01T00:00:00Z"
    await api.ok("PATCH", f"{cidrs}/more/status", {"status": {"conditions": [leaving]}}, content_type=MERGE)
    answer = await api.post(SERVICES, service("b", clusterIP="10.250.0.4"))
    assert answer.message.endswith("the provided network does not match the current range")
    back = {"status": {"conditions": [{**leaving, "status": "True", "reason": "Ready"}]}}
    await api.ok("PATCH", f"{cidrs}/more/status", back, content_type=MERGE)
    await api.ok("POST", SERVICES, service("b", clusterIP="10.250.0.4"))


def two(old=None, **spec):
    made, before = (
        {"spec": {"type": "ClusterIP", **spec}},
        None if old is None else {"spec": {"type": "ClusterIP", **old}},
    )
    causes = families.complete(made, before, ("IPv4", "IPv6"))
    return made["spec"], [str(c) for c in causes]


BOTH = {"clusterIPs": ["10.0.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]}


def test_giving_up_the_second_family_is_said_with_the_policy():
    spec, causes = two({**BOTH, "ipFamilyPolicy": "RequireDualStack"}, **BOTH, ipFamilyPolicy="SingleStack")
    assert (causes, spec["clusterIPs"], spec["ipFamilies"]) == ([], ["10.0.0.1"], ["IPv4"])
    one = {"clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "RequireDualStack"}
    _, causes = two({**BOTH, "ipFamilyPolicy": "RequireDualStack"}, **one)
    field = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary"
    assert causes == [f"{field} cluster IP", f"{field} IP family"]


def test_who_preferred_two_is_not_upgraded_by_another_change():
    one = {"clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"}
    assert two(one, **one)[0]["ipFamilies"] == ["IPv4"]
    assert two({**one, "ipFamilyPolicy": "SingleStack"}, **one)[0]["ipFamilies"] == ["IPv4", "IPv6"]
