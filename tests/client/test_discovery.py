from __future__ import annotations

import orjson
from tests.client.memory_api import MemoryAnswer, MemoryApi

from shirube.api.gvr import CONFIGMAPS, DEPLOYMENTS, NODES
from shirube.client.discovery import discover
from shirube.client.rest import Client


async def test_aggregated(api: MemoryApi, client: Client):
    api.served = [(CONFIGMAPS, "ConfigMap", True), (NODES, "Node", False), (DEPLOYMENTS, "Deployment", True)]
    served = await discover(client)
    assert {r.gvr for r in served.resources} == {CONFIGMAPS, NODES, DEPLOYMENTS}
    found = served.by_kind("apps/v1beta1", "Deployment")
    assert found is not None, "a reference of another version of the group still finds it"
    assert found.gvr == DEPLOYMENTS
    assert served.by_kind("v1", "Deployment") is None
    assert not served.by_kind("v1", "Node").namespaced  # type: ignore[union-attr]


class Classic(MemoryApi):
    documents = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {
            "resources": [
                {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]},
                {"name": "pods/log", "kind": "Pod", "namespaced": True, "verbs": ["get"]},
            ]
        },
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {
                    "name": "x.io",
                    "versions": [
                        {"version": "v1", "groupVersion": "x.io/v1"},
                        {"version": "v2", "groupVersion": "x.io/v2"},
                    ],
                    "preferredVersion": {"version": "v2", "groupVersion": "x.io/v2"},
                }
            ],
        },
        "/apis/x.io/v2": {"resources": [{"name": "xs", "kind": "X", "namespaced": False, "verbs": ["list"]}]},
    }

    def _serve(self, method, path, params, body, strategic):
        if path in self.documents:
            return MemoryAnswer(200, orjson.dumps(self.documents[path]))
        return MemoryAnswer(503, b"{}")


async def test_classic_with_a_group_that_does_not_answer():
    served = await discover(Client(Classic(), "test"))
    assert [(r.gvr.version, r.kind) for r in served.resources] == [("v1", "Pod"), ("v2", "X")]
    assert served.failed == ["x.io/v1"]
