"""What becomes of addresses and ports that do not fit their Services, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from tests.apiserver.conftest import ADMIN, Admins, Api
from tests.waiting import until

from shirube.api.gvr import GVR, IPADDRESSES
from shirube.api.gvr import SERVICES as SERVICES_GVR
from shirube.apiserver.allocation import repair
from shirube.apiserver.allocation.ledger import PORTS_PREFIX
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance
from shirube.foundation.clock import ManualClock, rfc3339
from shirube.storage.types import Compare, Put, StorageUnavailable

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"


class House:
    """A server whose repairs happen when the test says so, on the test's own clock."""

    def __init__(self, api: Api, clock: ManualClock) -> None:
        self.api, self.clock = api, clock
        self.repair = repair.Repair(api.context)

    async def look(self) -> list[str]:
        """One look; what has been told so far, oldest first."""
        await self.repair.look()
        await self.repair.close()
        listed = await self.api.ok("GET", "/api/v1/events")
        events = sorted(listed["items"], key=lambda e: e["eventTime"] + e["metadata"]["name"])
        return [f"{e['type']} {e['reason']} {e['message']}" for e in events if "repair" in e["reportingComponent"]]

    async def put(self, key: str, obj: Any) -> None:
        kv = await self.api.context.storage.get(key)
        compare = Compare(key, kv.mod_revision if kv is not None else 0)
        await self.api.context.storage.commit([compare], [Put(key, orjson.dumps(obj))])

    async def service(
        self, name: str, *addresses: str, ports: list[Any] | None = None, age: float = -1, **spec: Any
    ) -> None:
        """As a restored backup or another version would have left it: no number is asked for."""
        meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "creationTimestamp": self._ago(age)}
        families = ["IPv6" if ":" in a else "IPv4" for a in addresses]
        spec = {
            "type": "ClusterIP",
            "clusterIPs": list(addresses),
            "ipFamilies": families,
            "ports": ports or [],
            **spec,
        }
        if addresses:
            spec["clusterIP"] = addresses[0]
        obj = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}
        await self.put(self._key(SERVICES_GVR, "default", name), obj)

    async def address(self, name: str, service: str, *, age: float = 0, labels: Any = None, **parent: Any) -> None:
        family = "IPv6" if ":" in name else "IPv4"
        if labels is None:
            labels = {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            }
        meta = {"name": name, "uid": f"uid-{name}", "creationTimestamp": self._ago(age), "labels": labels}
        parent = {"resource": "services", "namespace": "default", "name": service, **parent}
        obj = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": meta,
            "spec": {"parentRef": parent},
        }
        await self.put(self._key(IPADDRESSES, None, name), obj)

    async def range(self, name: str, *cidrs: str) -> None:
        await self.api.ok("POST", CIDRS, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})

    async def parents(self) -> dict[str, str]:
        listed = await self.api.ok("GET", ADDRESSES)
        return {o["metadata"]["name"]: o["spec"]["parentRef"]["name"] for o in listed["items"]}

    async def ports(self) -> dict[int, str]:
        found = (await self.api.context.storage.range(PORTS_PREFIX)).items
        return {int(kv.key.removeprefix(PORTS_PREFIX)): orjson.loads(kv.value).get("service", "") for kv in found}

    def _key(self, gvr: GVR, namespace: str | None, name: str) -> str:
        resource = self.api.context.table.by_gvr(gvr)
        assert resource is not None
        return resource.key(namespace, name)

    def _ago(self, seconds: float) -> str:
        return rfc3339(self.clock.now() - seconds)


@pytest.fixture
async def house(tmp_path: Any, signing_key: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    async def nothing(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(repair, "keep", nothing)
    clock = ManualClock()
    options = Options(data_dir=tmp_path, service_account_key=signing_key, service_cidr="10.0.0.0/16,2001:db8::/64")
    async with in_process(options, clock=clock, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield House(Api(server), clock)


OWN = {"10.0.0.1": "kubernetes"}


async def test_what_fits_is_left_alone(house: House):
    await house.range("more", "192.168.0.0/24", "2001:db8:a:b::/64")
    await house.service("a", "10.0.1.1", "2001:db8::10")
    await house.address("10.0.1.1", "a")
    await house.address("2001:db8::10", "a")
    await house.service("b", "192.168.0.1", "2001:db8:a:b::10")
    await house.address("192.168.0.1", "b")
    await house.address("2001:db8:a:b::10", "b")
    await house.service("c", clusterIP="None", clusterIPs=["None"])
    await house.service("d", type="ExternalName", externalName="example.com")
    before = await house.parents()
    assert await house.look() == []
    house.clock.advance(200)
    assert await house.look() == []
    assert await house.parents() == before


async def test_addresses_without_a_record_get_one(house: House):
    await house.service("a", "10.0.1.1", "2001:db8::10")
    assert await house.look() == [
        "Warning ClusterIPNotAllocated Cluster IP [IPv4]: 10.0.1.1 is not allocated; repairing",
        "Warning ClusterIPNotAllocated Cluster IP [IPv6]: 2001:db8::10 is not allocated; repairing",
    ]
    assert await house.parents() == {**OWN, "10.0.1.1": "a", "2001:db8::10": "a"}
    (made, _) = [o for o in (await house.api.ok("GET", ADDRESSES))["items"] if o["metadata"]["name"] != "10.0.0.1"]
    assert made["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"] == "ipallocator.k8s.io"
    assert len(await house.look()) == 2, "mended once"


async def test_events_are_those_of_a_component_of_the_newer_api(house: House):
    await house.service("a", "192.0.2.1")
    await house.look()
    (event,) = (await house.api.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events"))["items"]
    assert event["reportingController"] == "ipallocator-repair-controller"
    assert (event["action"], event["type"]) == ("ClusterIPAllocation", "Warning")
    assert (event["regarding"]["kind"], event["regarding"]["name"], event["regarding"]["uid"]) == (
        "Service",
        "a",
        "uid-a",
    )


async def test_what_lasts_is_counted(house: House):
    await house.service("a", "192.0.2.1")
    for _ in range(3):
        told = await house.look()
        house.clock.advance(repair.INTERVAL * 1.1 + 1)
    assert len(told) == 1
    (event,) = (await house.api.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events"))["items"]
    assert event["series"]["count"] == 3


@pytest.mark.parametrize("parent", [{}, {"resource": "gateways", "group": "gateway.networking.k8s.io"}])
async def test_a_wrong_parent_is_mended(house: House, parent: dict[str, str]):
    await house.service("a", "10.0.1.1")
    await house.address("10.0.1.1", "gone", **parent)
    assert await house.look() == [
        "Warning ClusterIPNotAllocated the ClusterIP [IPv4]: 10.0.1.1 for Service default/a has a wrong reference; "
        "repairing"
    ]
    made = await house.api.ok("GET", f"{ADDRESSES}/10.0.1.1")
    assert made["spec"]["parentRef"] == {"resource": "services", "namespace": "default", "name": "a"}
    assert made["metadata"]["uid"] != "uid-10.0.1.1", "another object"


async def test_a_parent_that_does_not_claim_it_is_a_wrong_one(house: House):
    await house.service("a", "10.0.1.1")
    await house.service("b", "10.0.1.2")
    await house.address("10.0.1.1", "b")
    await house.address("10.0.1.2", "b")
    (told,) = await house.look()
    assert told.endswith("10.0.1.1 for Service default/a has a wrong reference; repairing")
    assert await house.parents() == {**OWN, "10.0.1.1": "a", "10.0.1.2": "b"}


async def test_labels_that_are_lost_come_back(house: House):
    await house.service("a", "10.0.1.1")
    await house.address("10.0.1.1", "a", labels={})
    assert await house.look() == []
    made = await house.api.ok("GET", f"{ADDRESSES}/10.0.1.1")
    assert made["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"] == "IPv4"


async def test_one_address_of_two_services(house: House):
    await house.service("a", "10.0.1.1")
    await house.service("b", "10.0.1.1")
    await house.address("10.0.1.1", "b")
    assert await house.look() == [
        "Warning ClusterIPAlreadyAllocated Cluster IP [IPv4]:10.0.1.1 was assigned to multiple services; "
        "please recreate service"
    ]
    (event,) = (await house.api.ok("GET", "/api/v1/events"))["items"]
    assert event["involvedObject"]["name"] == "a"
    assert (await house.parents())["10.0.1.1"] == "b", "who has it keeps it"
    await house.api.ok("DELETE", f"{SERVICES}/b")
    assert len(await house.look()) == 2
    assert (await house.parents())["10.0.1.1"] == "a", "the other may have it then"


@pytest.mark.parametrize(
    ("address", "family"),
    [("192.168.1.1", "IPv4"), ("10.0.0.0", "IPv4"), ("10.0.255.255", "IPv4"), ("2001:db8::", "IPv6")],
)
async def test_out_of_range(house: House, address: str, family: str):
    await house.service("a", address)
    await house.address(address, "a")
    assert await house.look() == [
        f"Warning ClusterIPOutOfRange Cluster IP [{family}]: {address} is not within any configured Service CIDR; "
        "please recreate service"
    ]
    assert address in await house.parents()


async def test_the_last_address_of_ipv6_is_as_good_as_any(house: House):
    await house.service("a", "2001:db8::ffff:ffff:ffff:ffff")
    await house.address("2001:db8::ffff:ffff:ffff:ffff", "a")
    assert await house.look() == []


async def test_no_address_at_all(house: House):
    await house.service("a", "10.0.0.256", "2001:db8::10")
    told = await house.look()
    assert told[0] == "Warning ClusterIPNotValid Cluster IP 10.0.0.256 is not a valid IP; please recreate Service"
    assert "2001:db8::10 is not allocated; repairing" in told[1], "the other is looked at all the same"


async def test_leaked_addresses_go_after_their_time(house: House):
    await house.address("10.0.1.1", "gone")
    await house.address("10.0.255.255", "gone")
    assert await house.look() == []
    house.clock.advance(59)
    assert await house.look() == []
    house.clock.advance(2)
    assert await house.look() == [
        f"Warning IPAddressNotAllocated IPAddress: {name} for Service default/gone appears to have leaked: cleaning up"
        for name in ("10.0.1.1", "10.0.255.255")
    ]
    assert await house.parents() == OWN
    (event, _) = (await house.api.ok("GET", "/api/v1/events"))["items"]
    assert (event["involvedObject"]["kind"], event["metadata"]["namespace"]) == ("IPAddress", "default")


async def test_old_ones_are_looked_at_twice(house: House):
    """A Service that is deleted gives its addresses back a moment later."""
    await house.address("10.0.1.1", "gone", age=3600)
    assert await house.look() == []
    house.clock.advance(4)
    assert await house.look() == []
    assert "10.0.1.1" in await house.parents()
    house.clock.advance(2)
    assert len(await house.look()) == 1
    assert await house.parents() == OWN


async def test_a_service_that_comes_late_finds_its_address(house: House):
    await house.address("10.0.1.1", "late")
    await house.look()
    house.clock.advance(30)
    await house.service("late", "10.0.1.1")
    assert await house.look() == []
    house.clock.advance(300)
    assert await house.look() == []
    assert (await house.parents())["10.0.1.1"] == "late"


async def test_addresses_that_their_service_does_not_claim_go(house: House):
    await house.service("a", "10.0.1.1")
    await house.address("10.0.1.1", "a")
    await house.address("10.0.1.2", "a")
    assert await house.look() == [], "its second family may be on its way"
    house.clock.advance(5)
    assert await house.look() == [
        "Warning IPAddressWrongReference IPAddress: 10.0.1.2 for Service default/a has a wrong reference; cleaning up"
    ]
    assert await house.parents() == {**OWN, "10.0.1.1": "a"}


async def test_of_the_allocator_but_not_of_a_service(house: House):
    await house.address("10.0.1.1", "web", resource="gateways", group="gateway.networking.k8s.io", namespace="bar")
    assert await house.look() == [
        "Warning IPAddressNotAllocated IPAddress 10.0.1.1 appears to have been modified, not referencing a Service "
        "&ParentReference{Group:gateway.networking.k8s.io,Resource:gateways,Namespace:bar,Name:web,}: cleaning up"
    ]
    assert await house.parents() == OWN


async def test_others_addresses_are_none_of_its_business(house: House):
    labels = {"ipaddress.kubernetes.io/managed-by": "controller-foo", "ipaddress.kubernetes.io/ip-family": "IPv6"}
    await house.address("2001:db8::11", "foo", labels=labels, resource="gateways", group="g.example.com", age=3600)
    assert await house.look() == []
    house.clock.advance(300)
    assert await house.look() == []
    assert "2001:db8::11" in await house.parents()


async def test_ordinary_lives_are_never_told(house: House):
    spec = {"ports": [{"port": 80}], "type": "NodePort", "ipFamilyPolicy": "PreferDualStack"}
    merge = {"content_type": "application/merge-patch+json"}
    for turn in range(3):
        for n in range(3):
            await house.api.ok("POST", SERVICES, {"metadata": {"name": f"s{n}"}, "spec": spec})
            await house.look()
        await house.api.ok("PATCH", f"{SERVICES}/s0", {"spec": {"ipFamilyPolicy": "SingleStack"}}, **merge)
        await house.look()
        await house.api.ok("PATCH", f"{SERVICES}/s0", {"spec": {"ipFamilyPolicy": "RequireDualStack"}}, **merge)
        external = {"type": "ExternalName", "externalName": "example.com", "clusterIP": None, "clusterIPs": None}
        await house.api.ok("PATCH", f"{SERVICES}/s1", {"spec": external}, **merge)
        house.clock.advance(100 * (turn + 1))
        await house.look()
        for n in range(3):
            await house.api.ok("DELETE", f"{SERVICES}/s{n}")
            await house.look()
    assert await house.look() == []
    assert (await house.parents(), await house.ports()) == (OWN, {})


def node_port(*numbers: int, protocol: str = "TCP") -> list[dict[str, Any]]:
    return [{"port": 80 + i, "nodePort": n, "protocol": protocol} for i, n in enumerate(numbers)]


async def test_ports_without_a_record_get_one(house: House):
    await house.service("a", type="NodePort", ports=node_port(30001, 30002))
    await house.service("b", type="NodePort", ports=[*node_port(30003), *node_port(30003, protocol="UDP")])
    assert await house.look() == [
        f"Warning PortNotAllocated Port {port} is not allocated; repairing" for port in (30001, 30002, 30003)
    ]
    assert await house.ports() == {30001: "a", 30002: "a", 30003: "b"}
    (event, *_) = (await house.api.ok("GET", "/api/v1/events"))["items"]
    assert (event["reportingComponent"], event["action"]) == ("portallocator-repair-controller", "PortAllocation")
    house.clock.advance(200)
    assert len(await house.look()) == 3


async def test_one_port_of_two_services(house: House):
    await house.service("a", type="NodePort", ports=node_port(30001))
    await house.service("b", type="NodePort", ports=node_port(30001))
    await house.put(f"{PORTS_PREFIX}30001", {"namespace": "default", "service": "b"})
    message = "Port 30001 was assigned to multiple services; please recreate service"
    assert await house.look() == [f"Warning PortAlreadyAllocated {message}"]
    (event,) = (await house.api.ok("GET", "/api/v1/events"))["items"]
    assert event["involvedObject"]["name"] == "a", "who is recorded keeps it"
    assert await house.ports() == {30001: "b"}


async def test_one_port_twice_for_one_protocol(house: House):
    await house.service("a", type="NodePort", ports=node_port(30001, 30001))
    assert [told.split()[1] for told in await house.look()] == ["PortAlreadyAllocated", "PortNotAllocated"]


async def test_ports_out_of_range(house: House):
    await house.service("a", type="NodePort", ports=node_port(8080))
    await house.service("b", type="LoadBalancer", healthCheckNodePort=8081)
    assert await house.look() == [
        f"Warning PortOutOfRange Port {port} is not within the port range 30000-32767; please recreate service"
        for port in (8080, 8081)
    ]
    assert await house.ports() == {}


async def test_leaked_ports_go_at_the_third_look(house: House):
    await house.put(f"{PORTS_PREFIX}30001", {})
    await house.service("a", type="NodePort", ports=node_port(30002))
    await house.put(f"{PORTS_PREFIX}30002", {"namespace": "default", "service": "gone"})
    for _ in range(2):
        assert await house.look() == []
        assert await house.ports() == {30001: "", 30002: "a"}, "it may belong to a Service that is about to be stored"
        house.clock.advance(200)
    await house.look()
    assert await house.ports() == {30002: "a"}


async def test_a_port_that_was_given_anew_is_not_the_one_that_leaked(house: House):
    for owner in ("x", "x", "y", "y"):
        if (await house.ports()).get(30001) != owner:
            await house.put(f"{PORTS_PREFIX}30001", {"namespace": "default", "service": owner})
        await house.look()
        house.clock.advance(200)
    assert await house.ports() == {30001: "y"}
    await house.look()
    assert await house.ports() == {}


async def test_a_store_that_fails_is_an_unknown_error(house: House, monkeypatch: pytest.MonkeyPatch):
    await house.service("a", "10.0.1.1")
    storage = house.api.context.storage
    commit, failures = storage.commit, [1]

    async def failing(compares: Any, ops: Any) -> int:
        if failures and "ipaddresses" in ops[0].key:
            failures.pop()
            raise StorageUnavailable("away")
        return await commit(compares, ops)

    monkeypatch.setattr(storage, "commit", failing)
    with pytest.raises(StorageUnavailable):
        await house.look()
    told = await house.look()
    assert told[0] == "Warning UnknownError Unable to allocate ClusterIP [IPv4]: 10.0.1.1 due to an unknown error"
    assert told[1].endswith("10.0.1.1 is not allocated; repairing"), "tried again at the next look"


async def test_a_record_that_somebody_deletes_is_back_at_once(api: Api):
    """The server's own loop, on real time."""
    made = (await api.ok("POST", SERVICES, {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}))["spec"]
    path = f"{ADDRESSES}/{made['clusterIP']}"
    first = await api.ok("GET", path)
    await api.ok("DELETE", path)

    async def back() -> bool:
        found = await api.get(path)
        return found.status == 200 and found.json["metadata"]["uid"] != first["metadata"]["uid"]

    await until(back, 10)

    async def told() -> list[str]:
        return [e["reason"] for e in (await api.ok("GET", "/api/v1/namespaces/default/events"))["items"]]

    assert await until(told, 10) == ["ClusterIPNotAllocated"]
