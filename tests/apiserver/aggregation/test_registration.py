"""APIServices of custom resources' group versions."""

from __future__ import annotations

import dataclasses

from shirube.api.gvr import GVR
from shirube.apiserver.aggregation import registration

APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


async def test_they_come_and_go_with_the_group_version(api):
    table = api.context.table
    model = table.by_path("", "v1", "configmaps")
    custom = dataclasses.replace(
        model, group="a.example.com", version="v2", storage=GVR("a.example.com", "v2", "configmaps")
    )
    table.add(custom)
    await registration.settle(api.context)
    found = await api.ok("GET", f"{APISERVICES}/v2.a.example.com")
    assert found["metadata"]["labels"] == {registration.MANAGED: "true"}
    assert found["spec"] == {
        "group": "a.example.com",
        "version": "v2",
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
    }
    assert found["status"]["conditions"][0]["reason"] == "Local"
    table.remove(custom)
    await registration.settle(api.context)
    assert (await api.get(f"{APISERVICES}/v2.a.example.com")).status == 404
    assert (await api.get(f"{APISERVICES}/v1.apps")).status == 200
