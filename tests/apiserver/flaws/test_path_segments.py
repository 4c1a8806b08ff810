"""`..` and encoded slashes in path segments (as in CVE-2020-8559's and kubectl cp's kin, and path traversal to other
keys): what is authorised and what is done must be read from the same path.
"""

from __future__ import annotations

import pytest
from tests.apiserver.conftest import CONFIGMAPS, configmap
from tests.apiserver.flaws.conftest import allow, rule

TRICKS = [
    "/api/v1/namespaces/default/../kube-system/secrets",
    "/api/v1/namespaces/default/secrets/../../kube-system/secrets",
    "/api/v1/namespaces/default/%2e%2e/kube-system/secrets",
    "/api/v1/namespaces/default/%2E%2E/kube-system/secrets",
    "/api/v1/namespaces/default%2f..%2fkube-system/secrets",
    "/api/v1/namespaces/default%2Fsecrets/kube-system/secrets/treasure",
    "/api/v1/namespaces/default/secrets/..%2f..%2fkube-system%2fsecrets%2ftreasure",
    "/api/v1/namespaces/default/secrets/%252e%252e%252fkube-system%252ftreasure",
    "/api/v1/namespaces/default/secrets/..",
    "/api/v1/namespaces/default/secrets/.",
    "/api/v1/namespaces/./secrets",
    "/api/v1/namespaces/../secrets",
    "/api/v1/namespaces//secrets",
    "/api/v1//namespaces/kube-system/secrets",
    "//api/v1/namespaces/kube-system/secrets",
    "/api/v1/namespaces/default/secrets//treasure",
    "/api/v1/namespaces/default/secrets/treasure%00.x",
    "/api/v1/namespaces/kube-system%00default/secrets",
    "/api/v1/namespaces/default/secrets/%c0%ae%c0%ae%c0%afkube-system",
    "/api/v1/namespaces/default\\..\\kube-system/secrets",
    "/apis/..%2f..%2fapi/v1/secrets",
    "/api/v1;x=y/namespaces/kube-system/secrets",
    "/livez/../api/v1/namespaces/kube-system/secrets",
    "/livez/..%2fapi%2fv1%2fnamespaces%2fkube-system%2fsecrets",
    "/version/%2e%2e/api/v1/namespaces/kube-system/secrets",
]


@pytest.fixture
async def treasure(world):
    secret = {"metadata": {"name": "treasure"}, "stringData": {"k": "gold"}}
    await world.ok("POST", "/api/v1/namespaces/kube-system/secrets", secret)
    await allow(world, "mallory", [rule("*", group="*")], "default")
    return world


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_no_spelling_leads_out_of_the_namespace(treasure, method):
    for target in TRICKS:
        answer = await treasure.call(method, target, x_test_user="mallory")
        assert answer.status in (400, 403, 404, 405) or answer.json.get("items") == [], (target, answer.raw)
        assert b"Z29sZA" not in answer.raw, target  # "gold"
        assert (await treasure.get("/api/v1/namespaces/kube-system/secrets/treasure")).status == 200, target


NAMES = ("..", ".", "a/b", "a%2fb", "%", "a\x00b", "../../kube-system/secrets/treasure")
COLLECTIONS = (
    CONFIGMAPS,
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/api/v1/namespaces",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases",
)


@pytest.mark.parametrize("name", NAMES)
async def test_no_name_in_a_body_leads_to_another_key(world, name):
    for target in COLLECTIONS:
        before = await world.context.storage.current_revision()
        answer = await world.post(target, {"metadata": {"name": name}})
        assert answer.status in (400, 403, 422), (target, answer.raw)
        answer = await world.post(target, {"metadata": {"generateName": name + "-"}})
        assert answer.status in (400, 403, 422, 201), (target, answer.raw)
        if answer.status == 201:  # roles may begin with dots
            assert "/" not in answer.json["metadata"]["name"] and "%" not in answer.json["metadata"]["name"]
        else:
            assert await world.context.storage.current_revision() == before


async def test_a_namespace_in_a_body_must_be_that_of_the_path(world):
    body = configmap("a")
    body["metadata"]["namespace"] = "kube-system"
    answer = await world.post(CONFIGMAPS, body)
    assert answer.status == 400
    for namespace in ("..", "default/../kube-system"):
        body["metadata"]["namespace"] = namespace
        assert (await world.post(CONFIGMAPS, body)).status in (400, 422)


async def test_a_name_in_a_field_selector_is_no_way_round(world):
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"], "resourceNames": ["mine"]}]
    await allow(world, "mallory", rules, "default")
    secrets = "/api/v1/namespaces/default/secrets"
    await world.ok("POST", secrets, {"metadata": {"name": "other"}})
    assert (await world.get(f"{secrets}?fieldSelector=metadata.name%3Dmine", x_test_user="mallory")).status == 200
    for selector in (
        "metadata.name%3Dother",
        "metadata.name%3Dmine,metadata.name%3Dother",
        "metadata.name!%3Dmine",
        "metadata.name%3Dmine%2f..%2fother",
        "metadata.namespace%3Ddefault",
        "",
    ):
        answer = await world.get(f"{secrets}?fieldSelector={selector}", x_test_user="mallory")
        assert answer.status in (400, 403) or answer.json["items"] == [], (selector, answer.raw)
