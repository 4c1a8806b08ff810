"""Selectors of devices are compiled when they are written."""

from __future__ import annotations

import pytest

RESOURCES = "/apis/resource.k8s.io/v1"
CLASSES, CLAIMS = f"{RESOURCES}/deviceclasses", f"{RESOURCES}/namespaces/default/resourceclaims"
GOOD = (
    'device.driver == "d.example.com"',
    'device.capacity["d.example.com"].memory.compareTo(quantity("1Gi")) >= 0',
    'cel.bind(own, device.attributes["d.example.com"], has(own.model) && own.model.startsWith("x"))',
    'device.attributes["d.example.com"].version.isGreaterThan(semver("1.0.0"))',
    'device.attributes.exists(name, name == "d.example.com")',
)


def selecting(text: str) -> dict:
    return {"selectors": [{"cel": {"expression": text}}]}


def claim(request: dict) -> dict:
    return {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", **request}]}}}


@pytest.mark.parametrize(("text", "why"), [("device.", "compilation failed: "), ("devise.driver == 'd'", "'devise'")])
async def test_what_does_not_compile(api, text, why):
    refused = await api.post(CLASSES, {"metadata": {"name": "c"}, "spec": selecting(text)})
    assert refused.status == 422 and why in refused.message
    assert 'DeviceClass.resource.k8s.io "c" is invalid: spec.selectors[0].cel.expression: Invalid' in refused.message
    exactly = {"deviceClassName": "c", **selecting(text)}
    refused = await api.post(CLAIMS, claim({"exactly": exactly}))
    assert "spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: " in refused.message
    refused = await api.post(CLAIMS, claim({"firstAvailable": [{"name": "s", **exactly}]}))
    assert "spec.devices.requests[0].firstAvailable[0].selectors[0].cel.expression: Invalid" in refused.message
    template = {"metadata": {"name": "t"}, "spec": {"spec": claim({"exactly": exactly})["spec"]}}
    refused = await api.post(CLAIMS.replace("claims", "claimtemplates"), template)
    assert "spec.spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid" in refused.message


async def test_what_drivers_publish_can_be_asked_for(api):
    for number, text in enumerate(GOOD):
        await api.ok("POST", CLASSES, {"metadata": {"name": f"c{number}"}, "spec": selecting(text)})
