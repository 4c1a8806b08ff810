"""What stands behind Services, with the real API server: Endpoints, slices, mirrors and ranges together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import ENDPOINTS, ENDPOINTSLICES, SERVICECIDRS, SERVICES
from shirube.controllers import service_cidr

BACKENDS = "endpoints-controller,endpointslice-controller,endpointslice-mirroring-controller"
MIRROR, OWN = "endpointslicemirroring-controller.k8s.io", "endpointslice-controller.k8s.io"


async def slices(house: Live, name: str) -> dict[str, int]:
    """How many by whom."""
    found = (await house.admin.list(ENDPOINTSLICES, "default", label_selector=f"kubernetes.io/service-name={name}"))[
        "items"
    ]
    by = [s["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] for s in found]
    return {who: by.count(who) for who in by}


def subset(*ips: str, **port: Any) -> dict[str, Any]:
    return {"addresses": [{"ip": ip} for ip in ips], "ports": [port]}


async def test_mirrors_and_selectors(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only=BACKENDS):
            ports = {"ports": [{"port": 80}]}
            await admin.create(SERVICES, {"metadata": {"name": "one"}, "spec": ports}, "default")
            same = [subset("10.1.0.1", name="a", port=80), subset("10.1.0.1", name="b", port=90)]
            await admin.create(ENDPOINTS, {"metadata": {"name": "one"}, "subsets": same}, "default")
            await until(lambda: _is(house, "one", {MIRROR: 1}), 10, "an address with two ports is one slice")

            await admin.create(SERVICES, {"metadata": {"name": "two"}, "spec": ports}, "default")
            different = [subset("10.1.0.1", name="a", port=80), subset("10.1.0.2", name="b", port=90)]
            await admin.create(ENDPOINTS, {"metadata": {"name": "two"}, "subsets": different}, "default")
            await until(lambda: _is(house, "two", {MIRROR: 2}), 10)

            await admin.create(ENDPOINTS, {"metadata": {"name": "alone"}, "subsets": different}, "default")

            await admin.patch(SERVICES, "two", {"spec": {"selector": {"a": "b"}}}, "default")
            await until(lambda: _is(house, "two", {OWN: 1}), 10, "a selector takes over")
            await admin.patch(SERVICES, "two", {"spec": {"selector": None}}, "default")
            mine = [subset("10.1.0.3", port=80)]
            await admin.patch(ENDPOINTS, "two", {"subsets": mine}, "default")
            await until(lambda: _is(house, "two", {OWN: 1, MIRROR: 1}), 10, "people's again")
            assert await slices(house, "alone") == {}


async def _is(house: Live, name: str, wanted: dict[str, int]) -> bool:
    return await slices(house, name) == wanted


async def test_a_range_goes_when_nobody_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service_cidr, "GRACE_SECONDS", 0.0)
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="service-cidr-controller"):

            async def ready(name: str) -> str:
                try:
                    found = await admin.get(SERVICECIDRS, name)
                except ApiError as error:
                    assert error.code == 404
                    return "gone"
                conditions = (found.get("status") or {}).get("conditions") or ()
                return next((c["status"] for c in conditions if c["type"] == "Ready"), "")

            async def made(name: str, *cidrs: str) -> None:
                await admin.create(SERVICECIDRS, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})
                await until(lambda: _equals(ready(name), "True"), 10, f"{name} is ready")

            await made("narrow", "10.200.0.0/24")
            spec = {"clusterIP": "10.200.0.7", "ports": [{"port": 80}]}
            await admin.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec}, "default")
            await made("wide", "10.200.0.0/16")
            await admin.delete(SERVICECIDRS, "narrow")
            await until(lambda: _equals(ready("narrow"), "gone"), 10, "the wider one has its addresses")
            await admin.delete(SERVICECIDRS, "wide")
            await until(lambda: _equals(ready("wide"), "False"), 10, "nobody else has them")
            await made("again", "10.200.0.0/28")
            await until(lambda: _equals(ready("wide"), "gone"), 10, "now somebody has")
            await made("beside", "10.200.0.0/20")
            for name in ("again", "beside"):
                await admin.delete(SERVICECIDRS, name)
            await until(lambda: _equals(ready("beside"), "False"), 10, "two that go do not count on each other")
            left = [n for n in ("again", "beside") if await ready(n) != "gone"]
            assert "beside" in left
            await admin.delete(SERVICES, "s", "default")
            for name in ("again", "beside"):
                await until(lambda name=name: _equals(ready(name), "gone"), 10)  # type: ignore[misc]


async def _equals(found: Any, wanted: str) -> bool:
    return bool(await found == wanted)
