"""Definitions become resources: names, discovery, every verb, subresources, and their end."""

from __future__ import annotations

import asyncio

import pytest
from tests.waiting import until

from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance

from .conftest import CRDS, CRONTABS, GROUP, crontab, definition, established, spec_schema, version


async def test_established_definition_is_served_with_every_verb(api, install):
    made = await install(definition())
    assert made["status"]["acceptedNames"]["listKind"] == "CrontabList"
    assert made["status"]["storedVersions"] == ["v1"]
    created = await api.ok("POST", CRONTABS, crontab("a", spec={"x": {"y": 1}}))
    assert created["metadata"]["generation"] == 1
    assert created["spec"] == {"x": {"y": 1}}
    got = await api.ok("GET", f"{CRONTABS}/a")
    assert got == created
    listed = await api.ok("GET", CRONTABS)
    assert (listed["kind"], len(listed["items"])) == ("CrontabList", 1)
    got["spec"]["x"]["y"] = 2
    updated = await api.ok("PUT", f"{CRONTABS}/a", got)
    assert updated["metadata"]["generation"] == 2
    merged = (await api.patch(f"{CRONTABS}/a", {"spec": {"z": [1]}})).json
    assert merged["spec"] == {"x": {"y": 2}, "z": [1]}
    json = [{"op": "replace", "path": "/spec/z/0", "value": 5}]
    assert (await api.patch(f"{CRONTABS}/a", json, kind="json-patch+json")).json["spec"]["z"] == [5]
    assert (await api.patch(f"{CRONTABS}/a", {}, kind="strategic-merge-patch+json")).status == 415
    applied = await api.patch(f"{CRONTABS}/b?fieldManager=me", crontab("b", spec={"x": 1}), kind="apply-patch+yaml")
    assert applied.status == 201
    assert "f:x" in applied.json["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    assert (await api.delete(f"{CRONTABS}/a")).status == 200
    assert (await api.delete(CRONTABS)).status == 200
    assert (await api.ok("GET", CRONTABS))["items"] == []


async def test_update_needs_a_resource_version(api, install):
    await install(definition())
    await api.ok("POST", CRONTABS, crontab("a"))
    refused = await api.put(f"{CRONTABS}/a", crontab("a", spec={}))
    assert refused.status == 422
    assert "metadata.resourceVersion: Invalid value" in refused.message


async def test_watch_of_custom_resources(api, install):
    await install(definition())
    async with api.watch(CRONTABS) as events:
        await api.ok("POST", CRONTABS, crontab("a", spec={"n": 1}))
        kind, obj = await events.next()
        assert (kind, obj["spec"]) == ("ADDED", {"n": 1})
        await api.ok("DELETE", f"{CRONTABS}/a")
        assert (await events.next())[0] == "DELETED"


async def test_discovery_within_a_second_of_established(api, install):
    await install(definition(names={"shortNames": ["ct"], "categories": ["all"]}))
    group = await api.ok("GET", f"/apis/{GROUP}")
    assert group["preferredVersion"]["version"] == "v1"
    found = (await api.ok("GET", f"/apis/{GROUP}/v1"))["resources"]
    assert found[0]["name"] == "crontabs"
    assert found[0]["shortNames"] == ["ct"]
    assert found[0]["categories"] == ["all"]
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = (await api.get("/apis", accept=accept)).json["items"]
    mine = next(g for g in groups if g["metadata"]["name"] == GROUP)
    assert mine["versions"][0]["resources"][0]["resource"] == "crontabs"


async def test_cluster_scope(api, install):
    await install(definition(scope="Cluster"))
    path = f"/apis/{GROUP}/v1/crontabs"
    await api.ok("POST", path, crontab("a"))
    assert (await api.get(f"{path}/a")).status == 200
    assert (await api.post(CRONTABS, crontab("b"))).status == 404


async def test_status_and_scale(api, install):
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    schema = spec_schema(replicas={"type": "integer"})
    await install(definition(version(schema=schema, subresources={"status": {}, "scale": scale})))
    made = await api.ok("POST", CRONTABS, crontab("a", spec={"replicas": 2}, status={"replicas": 9}))
    assert "status" not in made
    made["status"] = {"replicas": 1, "selector": "a=b"}
    made["spec"]["replicas"] = 7
    after = await api.ok("PUT", f"{CRONTABS}/a/status", made)
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (2, 1)
    assert after["metadata"]["generation"] == 1
    got = await api.ok("GET", f"{CRONTABS}/a/scale")
    assert (got["kind"], got["spec"], got["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 1, "selector": "a=b"},
    )
    scaled = (await api.patch(f"{CRONTABS}/a/scale", {"spec": {"replicas": 5}})).json
    assert scaled["spec"]["replicas"] == 5
    assert (await api.ok("GET", f"{CRONTABS}/a"))["spec"]["replicas"] == 5


async def test_table_with_columns(api, install):
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "When", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Wide", "type": "string", "jsonPath": ".spec.missing", "priority": 1},
    ]
    await install(definition(version(additionalPrinterColumns=columns)))
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    await api.ok("POST", CRONTABS, crontab("a", spec={"size": 3}, status=status))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    table = (await api.get(CRONTABS, accept=accept)).json
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "When", "Ready", "Wide"]
    cells = table["rows"][0]["cells"]
    assert (cells[0], cells[1], cells[3], cells[4]) == ("a", 3, "True", None)
    assert cells[2].endswith("s")


async def test_selectable_fields(api, install):
    schema = spec_schema(color={"type": "string"})
    await install(definition(version(schema=schema, selectableFields=[{"jsonPath": ".spec.color"}])))
    for name, color in (("a", "red"), ("b", "blue")):
        await api.ok("POST", CRONTABS, crontab(name, spec={"color": color}))
    found = await api.ok("GET", f"{CRONTABS}?fieldSelector=spec.color%3Dblue")
    assert [o["metadata"]["name"] for o in found["items"]] == ["b"]
    assert (await api.get(f"{CRONTABS}?fieldSelector=spec.size%3D1")).status == 400


async def test_deletion_removes_instances_first(api, install):
    await install(definition())
    await api.ok("POST", CRONTABS, crontab("a"))
    held = crontab("b")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.ok("POST", CRONTABS, held)
    await api.ok("DELETE", f"{CRDS}/crontabs.{GROUP}")

    async def only_the_held_is_left() -> bool:
        return len((await api.ok("GET", CRONTABS))["items"]) == 1

    await until(only_the_held_is_left)
    left = await api.ok("GET", f"{CRDS}/crontabs.{GROUP}")
    conditions = {c["type"]: (c["status"], c["reason"]) for c in left["status"]["conditions"]}
    assert conditions["Terminating"] == ("True", "InstanceDeletionInProgress")
    assert (await api.post(CRONTABS, crontab("c"))).status == 405
    server = api.server.context
    await api.server.context.store.guaranteed_update(
        server.table.by_kind(GROUP, "v1", "Crontab").gvr,
        "default",
        "b",
        lambda o: {**o, "metadata": {**o["metadata"], "finalizers": []}},
    )

    async def gone() -> bool:
        return (await api.get(f"{CRDS}/crontabs.{GROUP}")).status == 404

    await until(gone)

    async def unserved() -> bool:
        return (await api.get(CRONTABS)).status == 404

    await until(unserved)
    assert (await api.get(f"/apis/{GROUP}")).status == 404


async def test_objects_of_versions_that_are_served_no_more_are_deleted_too(api, install):
    await install(definition())
    await api.ok("POST", CRONTABS, crontab("a"))
    resource = api.context.table.by_path(GROUP, "v1", "crontabs")
    obj = await api.ok("GET", f"{CRDS}/crontabs.{GROUP}")
    obj["spec"]["versions"][0]["served"] = False
    await api.ok("PUT", f"{CRDS}/crontabs.{GROUP}", obj)
    await api.ok("DELETE", f"{CRDS}/crontabs.{GROUP}")

    async def gone() -> bool:
        return (await api.get(f"{CRDS}/crontabs.{GROUP}")).status == 404

    await until(gone)
    assert (await api.context.storage.range(resource.prefix())).items == []


async def test_definition_made_again_under_its_name(api, install):
    await install(definition())
    await api.ok("POST", CRONTABS, crontab("a"))
    await api.ok("DELETE", f"{CRDS}/crontabs.{GROUP}")

    async def gone() -> bool:
        return (await api.get(f"{CRDS}/crontabs.{GROUP}")).status == 404

    await until(gone)
    await install(definition(scope="Cluster"))

    async def listed() -> bool:
        return (await api.get(f"/apis/{GROUP}/v1/crontabs")).json.get("items") == []

    await until(listed)
    assert (await api.post(f"/apis/{GROUP}/v1/crontabs", crontab("b"))).status == 201


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
    "Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]"
)
async def test_a_definition_comes_and_goes(api, install):
    await install(definition())
    assert (await api.delete(f"{CRDS}/crontabs.{GROUP}")).status == 200

    async def gone() -> bool:
        return (await api.get(f"{CRDS}/crontabs.{GROUP}")).status == 404

    await until(gone)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
    "should include custom resource definition resources in discovery documents [Conformance]"
)
async def test_definitions_are_discovered(api):
    groups = (await api.ok("GET", "/apis"))["groups"]
    mine = next(g for g in groups if g["name"] == "apiextensions.k8s.io")
    assert [v["groupVersion"] for v in mine["versions"]] == ["apiextensions.k8s.io/v1"]
    group = await api.ok("GET", "/apis/apiextensions.k8s.io")
    assert group["preferredVersion"]["version"] == "v1"
    resources = (await api.ok("GET", "/apis/apiextensions.k8s.io/v1"))["resources"]
    assert "customresourcedefinitions" in [r["name"] for r in resources]


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of different groups [Conformance]"
)
async def test_openapi_of_several_groups(api, install):
    schema = spec_schema(n={"type": "integer"})
    await install(definition(version(schema=schema)))
    other = definition(version(schema=schema))
    other["spec"]["group"] = "other.example.com"
    other["metadata"]["name"] = "crontabs.other.example.com"
    await install(other)
    found = (await api.ok("GET", "/openapi/v2"))["definitions"]
    assert {"com.example.stable.v1.Crontab", "com.example.other.v1.Crontab"} <= set(found)


async def test_names_belong_to_who_came_first(api, install):
    await install(definition(names={"shortNames": ["ct"]}))
    other = definition(plural="others", names={"shortNames": ["ct"]})
    await api.ok("POST", CRDS, other)

    async def refused() -> dict | None:
        obj = await api.ok("GET", f"{CRDS}/others.{GROUP}")
        return {c["type"]: c for c in obj["status"]["conditions"]} or None

    conditions = await until(refused)
    assert conditions["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert conditions["NamesAccepted"]["message"] == '"ct" is already in use'
    assert conditions["Established"]["status"] == "False"
    await api.ok("DELETE", f"{CRDS}/crontabs.{GROUP}")
    await established(api, f"others.{GROUP}")


async def test_served_again_after_a_restart(api, install, tmp_path, signing_key):
    await install(definition())
    await api.ok("POST", CRONTABS, crontab("a", spec={"n": 1}))
    options = Options(data_dir=tmp_path, service_account_key=signing_key)
    async with in_process(options, chance=Chance(2), storage=api.context.storage) as server:
        server.context.authenticator = api.context.authenticator
        assert (await type(api)(server).ok("GET", f"{CRONTABS}/a"))["spec"] == {"n": 1}


async def test_what_is_in_order_is_shown_as_it_is_stored(api, install):
    text = {"type": "string"}
    await install(definition(version(schema=spec_schema(a=text))))
    await api.ok("POST", CRONTABS, crontab("whole", spec={"a": "x"}))
    await api.ok("POST", CRONTABS, crontab("lacks", spec={}))
    obj = await api.ok("GET", f"{CRDS}/crontabs.{GROUP}")
    obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = spec_schema(a={**text, "default": "d"})
    await api.ok("PUT", f"{CRDS}/crontabs.{GROUP}", obj)

    async def defaulted() -> bool:
        return [o["spec"].get("a") for o in (await api.ok("GET", CRONTABS))["items"]] == ["d", "x"]

    await until(defaulted)
    resource = api.context.table.by_path(GROUP, "v1", "crontabs")
    cache = api.context.caches.of(resource)
    whole, lacks = (cache.get(resource.key("default", name)) for name in ("whole", "lacks"))
    assert resource.definition.current(whole.data, whole.revision)
    assert not resource.definition.current(lacks.data, lacks.revision)


async def test_version_no_longer_served(api, install):
    made = await install(definition(version("v1"), version("v2", storage=False)))
    v2 = CRONTABS.replace("/v1/", "/v2/")
    await api.ok("POST", CRONTABS, crontab("a", spec={"n": 1}))
    assert (await api.ok("GET", f"{v2}/a"))["apiVersion"] == f"{GROUP}/v2"
    made = await api.ok("GET", f"{CRDS}/crontabs.{GROUP}")
    made["spec"]["versions"][1]["served"] = False
    await api.ok("PUT", f"{CRDS}/crontabs.{GROUP}", made)

    async def unserved() -> bool:
        return (await api.get(v2)).status == 404

    await until(unserved)
    assert (await api.get(CRONTABS)).status == 200


async def test_deprecated_version_warns(api, install):
    await install(definition(version(deprecated=True)))
    assert "is deprecated" in (await api.get(CRONTABS)).warnings[0]


async def test_openapi_is_published_live(api, install):
    await install(definition(version(schema=spec_schema(n={"type": "integer", "description": "how many"}))))
    v3 = await api.ok("GET", f"/openapi/v3/apis/{GROUP}/v1")
    assert "com.example.stable.v1.Crontab" in v3["components"]["schemas"]
    v2 = await api.ok("GET", "/openapi/v2")
    spec = v2["definitions"]["com.example.stable.v1.Crontab"]["properties"]["spec"]
    assert spec["properties"]["n"]["description"] == "how many"
    await asyncio.sleep(0)
