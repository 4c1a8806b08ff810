from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.conftest import House, items
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import ENDPOINTS, ENDPOINTSLICES, EVENTS, SERVICES
from shirube.client.rest import Client
from shirube.controllers.endpoint_slice_mirroring import (
    EndpointSliceMirroringController,
    invalid,
    mirrored,
    plan,
    skipped,
    wanted_slices,
)


def endpoints(*subsets: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "e", "namespace": "default", "uid": "u", **metadata}, "subsets": list(subsets)}


def test_what_is_mirrored():
    service = {"spec": {}}
    assert mirrored(endpoints(), service)
    assert not mirrored(endpoints(), {"spec": {"selector": {"a": "b"}}})
    assert not mirrored(endpoints(labels={"endpointslice.kubernetes.io/skip-mirror": "true"}), service)
    assert not mirrored(endpoints(annotations={"control-plane.alpha.kubernetes.io/leader": "x"}), service)
    assert not mirrored(endpoints(), None)


@given(st.lists(st.tuples(st.integers(1, 250), st.booleans(), st.sampled_from([80, 443])), max_size=6))
def test_a_second_plan_finds_nothing_to_do(drawn):
    subsets = []
    for last, ready, port in drawn:
        key = "addresses" if ready else "notReadyAddresses"
        subsets.append(
            {key: [{"ip": f"10.0.0.{last}"}, {"ip": "fd00::1"}], "ports": [{"port": port, "protocol": "TCP"}]}
        )
    one = endpoints(*subsets)
    todo = plan(one, [])
    assert len(todo.create) == len(wanted_slices(one))
    named = [{**s, "metadata": {**s["metadata"], "name": str(n)}} for n, s in enumerate(todo.create)]
    again = plan(one, named)
    assert not again.create and not again.delete
    by_ports = {(s["addressType"], str(s["ports"])) for s in named}
    assert again.update == [] or len(by_ports) < len(named)


def test_equal_ports_share_slices_and_no_more_than_a_thousand_are_mirrored():
    ports = [{"port": 80, "protocol": "TCP"}]
    many = {"addresses": [{"ip": f"10.0.{n // 250}.{n % 250}"} for n in range(1003)], "ports": ports}
    few = {"addresses": [{"ip": "10.1.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.0"}], "ports": ports}
    one = endpoints(many, few)
    assert [len(s["endpoints"]) for s in wanted_slices(one)] == [1000, 1]
    assert skipped(one) == 3
    assert skipped(endpoints(few)) == 0


def named(todo: Any) -> list[dict[str, Any]]:
    return [{**s, "metadata": {**s["metadata"], "name": f"s{n}"}} for n, s in enumerate(todo.create)]


def one_subset(*ips: str, port: int = 80, **more: Any) -> dict[str, Any]:
    return {"addresses": [{"ip": ip, **more} for ip in ips], "ports": [{"name": "http", "port": port}]}


def test_what_of_endpoints_is_mirrored():
    hosted = {"hostname": "db-0", "nodeName": "n1", "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"}}
    described = {
        "labels": {"team": "a", "kubernetes.io/service-name": "bad", "endpointslice.kubernetes.io/managed-by": "bad"},
        "annotations": {
            "mine": "yes",
            "endpoints.kubernetes.io/last-change-trigger-time": "x",
            "kubectl.kubernetes.io/last-applied-configuration": "y",
        },
    }
    (made,) = wanted_slices(endpoints(one_subset("10.0.0.1", **hosted), **described))
    assert made["endpoints"] == [{"addresses": ["10.0.0.1"], "conditions": {"ready": True}, **hosted}]
    assert made["ports"] == [{"name": "http", "port": 80}]
    assert made["metadata"]["annotations"] == {"mine": "yes"}
    assert made["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "e",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_families_and_ports_make_slices_of_their_own():
    found = wanted_slices(endpoints(one_subset("10.0.0.1", "fd00::1"), one_subset("10.0.0.2", port=81)))
    shown = sorted((s["addressType"], s["ports"][0]["port"], len(s["endpoints"])) for s in found)
    assert shown == [("IPv4", 80, 1), ("IPv4", 81, 1), ("IPv6", 80, 1)]
    assert wanted_slices(endpoints()) == []
    assert wanted_slices(endpoints({"ports": [{"port": 80}]})) == []


def test_one_address_with_two_names_is_two_endpoints():
    two = {"addresses": [{"ip": "10.0.0.1", "hostname": h} for h in ("a", "b", "a")]}
    (made,) = wanted_slices(endpoints(two))
    assert [e["hostname"] for e in made["endpoints"]] == ["a", "b"]


def test_addresses_in_older_spelling_and_such_as_are_none():
    odd = endpoints(one_subset("010.000.0.1", "10.0.0.2", "10.0.0.300", "nonsense"))
    (made,) = wanted_slices(odd)
    assert [e["addresses"] for e in made["endpoints"]] == [["10.0.0.1"], ["10.0.0.2"]]
    assert (invalid(odd), skipped(odd)) == (2, 0)


def test_other_ports_are_one_write_of_the_same_slice():
    have = named(plan(endpoints(one_subset("10.0.0.1")), []))
    todo = plan(endpoints(one_subset("10.0.0.1", port=81), labels={"team": "b"}), have)
    assert (len(todo.create), len(todo.update), len(todo.delete)) == (0, 1, 0)
    assert todo.update[0]["metadata"]["name"] == "s0" and todo.update[0]["ports"][0]["port"] == 81
    assert todo.update[0]["metadata"]["labels"]["team"] == "b"
    assert plan(endpoints(one_subset("10.0.0.1", port=81), labels={"team": "b"}), todo.update).empty


def test_endpoints_that_were_made_again_own_their_slices():
    have = named(plan(endpoints(one_subset("10.0.0.1")), []))
    todo = plan(endpoints(one_subset("10.0.0.1"), uid="another"), have)
    assert [s["metadata"]["ownerReferences"][0]["uid"] for s in todo.update] == ["another"]


def test_a_change_of_labels_or_annotations_alone_is_mirrored():
    have = named(plan(endpoints(one_subset("10.0.0.1")), []))
    for change in ({"labels": {"a": "b"}}, {"annotations": {"a": "b"}}):
        assert len(plan(endpoints(one_subset("10.0.0.1"), **change), have).update) == 1
    moment = {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "now"}}
    assert plan(endpoints(one_subset("10.0.0.1"), **moment), have).empty


def test_of_several_slices_with_equal_ports_one_stays():
    have = named(plan(endpoints(one_subset("10.0.0.1")), []))
    have.append({**have[0], "metadata": {**have[0]["metadata"], "name": "s1"}})
    assert len(plan(endpoints(one_subset("10.0.0.1")), have).delete) == 1


async def mirrors(client: Client) -> list[str]:
    found = await items(client, ENDPOINTSLICES)
    return sorted(a for s in found for e in s["endpoints"] for a in e["addresses"])


async def test_mirrors_come_and_go_with_the_selector_the_label_and_the_service(house: House, client: Client):
    plain = {"metadata": {"name": "e", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    mine = {"metadata": {"name": "e", "namespace": "default"}, "subsets": [one_subset("10.0.0.1")]}
    await client.create(ENDPOINTS, mine)
    async with house.running(EndpointSliceMirroringController) as controllers:
        await house.settle(controllers)
        assert await mirrors(client) == [], "without a Service nobody reads them"
        await client.create(SERVICES, plain)

        async def shown(*addresses: str) -> bool:
            return await mirrors(client) == list(addresses)

        await until(lambda: shown("10.0.0.1"))
        for gvr, there, gone in (
            (SERVICES, {"spec": {"selector": {"a": "b"}}}, {"spec": {"selector": None}}),
            (
                ENDPOINTS,
                {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}}},
                {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": None}}},
            ),
            (
                ENDPOINTS,
                {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": "x"}}},
                {"metadata": {"annotations": {"control-plane.alpha.kubernetes.io/leader": None}}},
            ),
        ):
            await client.patch(gvr, "e", there, "default")
            await until(shown)
            await client.patch(gvr, "e", gone, "default")
            await until(lambda: shown("10.0.0.1"))
        await client.delete(SERVICES, "e", "default")
        await until(shown)


async def test_a_mirror_that_somebody_deletes_or_takes_away_comes_back(house: House, client: Client):
    await client.create(
        SERVICES, {"metadata": {"name": "e", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    )
    mine = {"metadata": {"name": "e", "namespace": "default"}, "subsets": [one_subset("10.0.0.1")]}
    async with house.running(EndpointSliceMirroringController):
        await client.create(ENDPOINTS, mine)
        for label in (None, "endpointslice.kubernetes.io/managed-by", "kubernetes.io/service-name"):

            async def mirror() -> dict[str, Any] | None:
                mine = "endpointslicemirroring-controller.k8s.io"
                for one in await items(client, ENDPOINTSLICES):
                    labels = one["metadata"]["labels"]
                    if (
                        labels["endpointslice.kubernetes.io/managed-by"] == mine
                        and labels.get("kubernetes.io/service-name") == "e"
                    ):
                        return one
                return None

            one = await until(mirror)
            name, uid = one["metadata"]["name"], one["metadata"]["uid"]
            if label is None:
                await client.delete(ENDPOINTSLICES, name, "default")
            else:
                await client.patch(ENDPOINTSLICES, name, {"metadata": {"labels": {label: "another"}}}, "default")

            async def another(old: str = uid) -> bool:
                found = await mirror()
                return found is not None and found["metadata"]["uid"] != old

            await until(another)


async def test_endpoints_that_are_going_away_keep_their_mirror_and_get_no_new_one(house: House, client: Client):
    await client.create(
        SERVICES, {"metadata": {"name": "e", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    )
    meta = {"name": "e", "namespace": "default", "finalizers": ["example.com/hold"]}
    await client.create(ENDPOINTS, {"metadata": meta, "subsets": [one_subset("10.0.0.1")]})
    async with house.running(EndpointSliceMirroringController) as controllers:
        await until(lambda: mirrors(client))
        await client.delete(ENDPOINTS, "e", "default")
        await client.patch(ENDPOINTS, "e", {"subsets": [one_subset("10.0.0.2")]}, "default")

        async def follows() -> bool:
            return await mirrors(client) == ["10.0.0.2"]

        await until(follows)
        (one,) = await items(client, ENDPOINTSLICES)
        await client.delete(ENDPOINTSLICES, one["metadata"]["name"], "default")
        await house.settle(controllers)
        assert await mirrors(client) == []


async def test_addresses_that_are_none_are_told(house: House, client: Client):
    await client.create(
        SERVICES, {"metadata": {"name": "e", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    )
    odd = {"metadata": {"name": "e", "namespace": "default"}, "subsets": [one_subset("10.0.0.2", "nonsense")]}
    async with house.running(EndpointSliceMirroringController):
        await client.create(ENDPOINTS, odd)
        (event,) = await until(lambda: items(client, EVENTS))
    assert (event["reason"], event["involvedObject"]["name"]) == ("InvalidIPAddress", "e")
    assert event["message"] == "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"


async def test_what_is_left_out_is_told(house: House, client: Client):
    await client.create(
        SERVICES, {"metadata": {"name": "e", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    )
    many = {"addresses": [{"ip": f"10.0.{n // 250}.{n % 250}"} for n in range(1003)]}
    async with house.running(EndpointSliceMirroringController):
        await client.create(ENDPOINTS, {"metadata": {"name": "e", "namespace": "default"}, "subsets": [many]})
        (event,) = await until(lambda: items(client, EVENTS))
        assert event["reason"] == "TooManyAddressesToMirror"
        assert event["message"].endswith("per Endpoints subset. 3 addresses were skipped")


@pytest.mark.conformance(
    "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete "
    "[Conformance]"
)
async def test_on_the_real_api_server(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        groups = {g["name"]: g for g in orjson.loads(await admin.raw("GET", "/apis"))["groups"]}
        assert {"groupVersion": "discovery.k8s.io/v1", "version": "v1"} in groups["discovery.k8s.io"]["versions"]
        served = orjson.loads(await admin.raw("GET", "/apis/discovery.k8s.io/v1"))["resources"]
        assert "endpointslices" in {r["name"] for r in served}
        async with house.controllers(only="endpointslice-mirroring-controller"):
            await admin.create(SERVICES, {"metadata": {"name": "e"}, "spec": {"ports": [{"port": 80}]}}, "default")
            subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80}]}
            await admin.create(ENDPOINTS, {"metadata": {"name": "e"}, "subsets": [subset]}, "default")

            async def shown(*addresses: str) -> bool:
                found = await admin.list(ENDPOINTSLICES, "default", label_selector="kubernetes.io/service-name=e")
                return sorted(a for s in found["items"] for e in s["endpoints"] or () for a in e["addresses"]) == list(
                    addresses
                )

            await until(lambda: shown("10.1.2.3"), 10)
            subset["addresses"].append({"ip": "10.1.2.4"})  # type: ignore[attr-defined]
            await admin.patch(ENDPOINTS, "e", {"subsets": [subset]}, "default")
            await until(lambda: shown("10.1.2.3", "10.1.2.4"), 10)
            await admin.delete(ENDPOINTS, "e", "default")
            await until(lambda: shown(), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]
