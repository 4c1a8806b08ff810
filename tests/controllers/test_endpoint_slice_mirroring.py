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
