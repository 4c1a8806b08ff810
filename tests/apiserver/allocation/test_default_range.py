"""The ServiceCIDR that the server keeps for its own range."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.apiserver.conftest import ADMIN, Admins, Api

from shirube.apiserver.allocation import default_range
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance

CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
MERGE = {"content_type": "application/merge-patch+json"}


@pytest.fixture
async def api(tmp_path: Any, signing_key: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async def nothing(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(default_range, "keep", nothing)
    options = Options(data_dir=tmp_path, service_account_key=signing_key, service_cidr="10.0.0.0/16")
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield Api(server)


async def look(api: Api, times: int = 1) -> list[str]:
    """So many looks; what has been told."""
    default = default_range.DefaultRange(api.context)
    for _ in range(times):
        await default.look()
    await default.close()
    events = (await api.ok("GET", "/api/v1/namespaces/default/events"))["items"]
    mine = [e for e in events if e["source"].get("component") == default_range.COMPONENT]
    assert all(e["involvedObject"]["kind"] == "ServiceCIDR" for e in mine)
    return [f"{e['type']} {e['reason']} {e['message']}" for e in mine]


async def block(api: Api) -> tuple[list[str], str]:
    found = await api.ok("GET", f"{CIDRS}/kubernetes")
    conditions = (found.get("status") or {}).get("conditions") or []
    return found["spec"]["cidrs"], "".join(c["status"] for c in conditions if c["type"] == "Ready")


async def test_it_is_ready_from_the_first_second(api: Api):
    assert await block(api) == (["10.0.0.0/16"], "True")
    assert await look(api) == []


async def test_it_is_ready_where_nobody_said_otherwise(api: Api):
    await api.ok("PATCH", f"{CIDRS}/kubernetes/status", {"status": {"conditions": None}}, **MERGE)
    assert await block(api) == (["10.0.0.0/16"], "")
    assert await look(api, 2) == []
    assert await block(api) == (["10.0.0.0/16"], "True")
    revision = (await api.ok("GET", f"{CIDRS}/kubernetes"))["metadata"]["resourceVersion"]
    await look(api)
    assert (await api.ok("GET", f"{CIDRS}/kubernetes"))["metadata"]["resourceVersion"] == revision


async def test_it_comes_back(api: Api):
    await api.ok("DELETE", f"{CIDRS}/kubernetes")
    assert await look(api) == []
    assert await block(api) == (["10.0.0.0/16"], "True")


async def test_it_gets_a_second_family(api: Api):
    api.context.options.service_cidr = "10.0.0.0/16,fd00:10:96::/112"
    assert await look(api, 2) == []
    assert await block(api) == (["10.0.0.0/16", "fd00:10:96::/112"], "True")


async def test_another_range_is_told_of_once_and_left(api: Api):
    api.context.options.service_cidr = "10.96.0.0/12"
    assert await look(api, 3) == [
        "Warning KubernetesDefaultServiceCIDRInconsistent The default ServiceCIDR [10.0.0.0/16] does not match the "
        "controller flag configurations [10.96.0.0/12]"
    ]
    assert await block(api) == (["10.0.0.0/16"], "True")


async def test_one_that_somebody_says_is_not_ready_is_told_of_and_left(api: Api):
    said = {"type": "Ready", "status": "False", "reason": "Broken", "message": "it leaks"}
    said["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    await api.ok("PATCH", f"{CIDRS}/kubernetes/status", {"status": {"conditions": [said]}}, **MERGE)
    assert await look(api, 2) == ["Warning Broken Configuration matches, but it leaks"]
    assert (await block(api))[1] == "False"


async def test_one_on_its_way_out_is_the_controllers(api: Api):
    finalizer = {"metadata": {"finalizers": ["networking.k8s.io/service-cidr-finalizer"]}}
    await api.ok("PATCH", f"{CIDRS}/kubernetes", finalizer, **MERGE)
    await api.ok("DELETE", f"{CIDRS}/kubernetes")
    await api.ok("PATCH", f"{CIDRS}/kubernetes/status", {"status": {"conditions": None}}, **MERGE)
    assert await look(api) == []
    assert (await block(api))[1] == ""


async def test_a_second_family_that_is_refused_is_told_of(api: Api):
    api.context.options.service_cidr = "10.0.0.0/16,10.1.0.0/16"
    (told,) = await look(api, 2)
    start = "Warning KubernetesDefaultServiceCIDRError The default ServiceCIDR can not be upgraded from 10.0.0.0/16 to "
    assert told.startswith(start + "dual stack [10.0.0.0/16 10.1.0.0/16] : ")
