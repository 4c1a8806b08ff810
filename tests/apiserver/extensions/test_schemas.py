"""What schemas do to custom resources on the way in and out: pruning, defaults, validation, rules, ratcheting."""

from __future__ import annotations

from typing import Any

import pytest
from tests.waiting import until

from shirube.apiserver import stored

from .conftest import CRDS, CRONTABS, GROUP, crontab, definition, established, spec_schema, version

NAME = f"{CRDS}/crontabs.{GROUP}"


async def change_schema(api: Any, **properties: Any) -> None:
    """Give the definition another schema, and wait until it is the one that is served."""
    obj = await api.ok("GET", NAME)
    schema = spec_schema(**properties)
    obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    await api.ok("PUT", NAME, obj)

    async def served() -> bool:
        return api.context.table.by_path(GROUP, "v1", "crontabs").definition.schema == schema

    await until(served)


async def test_unknown_fields_are_pruned_and_told(api, install):
    await install(definition(version(schema=spec_schema(n={"type": "integer"}))))
    warned = await api.post(CRONTABS, crontab("a", spec={"n": 1, "odd": 2}, other=1))
    assert warned.status == 201
    assert warned.json["spec"] == {"n": 1}
    assert [w.split(" - ")[1] for w in warned.warnings] == [
        '"unknown field \\"spec.odd\\""',
        '"unknown field \\"other\\""',
    ]
    ignored = await api.post(f"{CRONTABS}?fieldValidation=Ignore", crontab("b", spec={"odd": 2}))
    assert (ignored.status, ignored.warnings) == (201, [])
    strict = await api.post(f"{CRONTABS}?fieldValidation=Strict", crontab("c", spec={"odd": 2}))
    assert strict.status == 400
    assert 'strict decoding error: unknown field "spec.odd"' in strict.message
    twice = b'{"apiVersion":"%b/v1","kind":"Crontab","metadata":{"name":"d"},"spec":{"n":1,"n":2}}' % GROUP.encode()
    strict = await api.post(f"{CRONTABS}?fieldValidation=Strict", raw=twice)
    assert 'duplicate field "spec.n"' in strict.message


async def test_metadata_has_the_types_of_every_object(api, install):
    await install(definition())
    bad = crontab("a")
    bad["metadata"]["labels"] = {"n": 1}
    refused = await api.post(CRONTABS, bad)
    assert refused.status == 400
    assert "cannot unmarshal number into Go struct field ObjectMeta.labels of type string" in refused.message


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
    "custom resource defaulting for requests and from storage works [Conformance]"
)
async def test_defaults_on_requests_and_from_storage(api, install):
    text = {"type": "string"}
    await install(definition(version(schema=spec_schema(a=text, b=text))))
    await api.ok("POST", CRONTABS, crontab("old", spec={}))
    await change_schema(api, a={**text, "default": "A"}, b=text)
    assert (await api.ok("GET", f"{CRONTABS}/old"))["spec"] == {"a": "A"}
    assert (await api.ok("GET", CRONTABS))["items"][0]["spec"] == {"a": "A"}
    async with api.watch(CRONTABS) as events:
        assert (await events.next())[1]["spec"] == {"a": "A"}
    resource = api.context.table.by_path(GROUP, "v1", "crontabs")
    kept = stored.decode(api.context.caches.of(resource).get(resource.key("default", "old")).data)
    assert kept["spec"] == {}  # reading stores nothing
    made = await api.ok("POST", CRONTABS, crontab("new", spec={}))
    assert made["spec"] == {"a": "A"}
    await change_schema(api, a=text, b={**text, "default": "B"})
    assert (await api.ok("GET", f"{CRONTABS}/new"))["spec"] == {"a": "A", "b": "B"}
    assert (await api.ok("GET", f"{CRONTABS}/old"))["spec"] == {"b": "B"}


async def test_validation_causes(api, install):
    limits = {"n": {"type": "integer", "maximum": 5}, "e": {"type": "string", "enum": ["x"]}}
    await install(definition(version(schema=spec_schema(**limits))))
    refused = await api.post(CRONTABS, crontab("a", spec={"n": 9, "e": "y"}))
    assert refused.status == 422
    assert refused.message == (
        f'Crontab.{GROUP} "a" is invalid: [spec.n: Invalid value: 9: spec.n in body should be less than or equal to 5, '
        'spec.e: Unsupported value: "y": supported values: "x"]'
    )
    assert refused.json["details"]["causes"][0]["field"] == "spec.n"
    wrong = await api.post(CRONTABS, crontab("a", spec={"n": "x"}))
    assert 'spec.n in body must be of type integer: "string"' in wrong.message


async def test_stricter_schemas_leave_what_exists_alone(api, install):
    number = {"type": "integer"}
    await install(definition(version(schema=spec_schema(n=number, m=number))))
    await api.ok("POST", CRONTABS, crontab("a", spec={"n": 9, "m": 1}))
    await change_schema(api, n={**number, "maximum": 5}, m={**number, "maximum": 5})
    assert (await api.patch(f"{CRONTABS}/a", {"spec": {"m": 2}})).json["spec"] == {"n": 9, "m": 2}
    assert (await api.patch(f"{CRONTABS}/a", {"spec": {"n": 8}})).status == 422


async def test_rules_and_transitions(api, install):
    schema = spec_schema(n={"type": "integer"}, m={"type": "integer"})
    schema["properties"]["spec"]["x-kubernetes-validations"] = [
        {"rule": "self.n <= self.m", "message": "n must not exceed m"},
        {"rule": "self.m == oldSelf.m", "message": "m is fixed"},
    ]
    await install(definition(version(schema=schema)))
    refused = await api.post(CRONTABS, crontab("a", spec={"n": 3, "m": 2}))
    assert refused.message == f'Crontab.{GROUP} "a" is invalid: spec: Invalid value: n must not exceed m'
    await api.ok("POST", CRONTABS, crontab("a", spec={"n": 1, "m": 2}))
    assert "m is fixed" in (await api.patch(f"{CRONTABS}/a", {"spec": {"m": 3}})).message
    assert (await api.patch(f"{CRONTABS}/a", {"spec": {"n": 2}})).status == 200
    blocked = await api.post(CRONTABS, crontab("b", spec={"n": "x", "m": 1}))
    assert "some validation rules were not checked because the object was invalid" in blocked.message


async def test_definitions_whose_rules_do_not_compile_are_refused(api):
    schema = spec_schema(n={"type": "integer"})
    schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.nope > 0"}]
    refused = await api.post(CRDS, definition(version(schema=schema)))
    assert refused.status == 422
    assert (
        "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value: "
        in refused.message
    )
    assert "undefined field 'nope'" in refused.message


async def test_apply_merges_lists_by_their_keys(api, install):
    items = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        },
    }
    tags = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    await install(definition(version(schema=spec_schema(items=items, tags=tags))))

    async def apply(manager: str, **spec: Any) -> Any:
        target = f"{CRONTABS}/a?fieldManager={manager}"
        return await api.patch(target, crontab("a", spec=spec), kind="apply-patch+yaml")

    assert (await apply("one", items=[{"name": "x", "port": 1}], tags=["a"])).status == 201
    both = await apply("two", items=[{"name": "y", "port": 2}], tags=["b"])
    assert both.json["spec"] == {"items": [{"name": "x", "port": 1}, {"name": "y", "port": 2}], "tags": ["a", "b"]}
    conflict = await apply("two", items=[{"name": "x", "port": 9}])
    assert conflict.status == 409
    assert conflict.json["details"]["causes"][0]["field"] == '.spec.items[name="x"].port'
    less = await apply("one", tags=["a"])
    assert less.json["spec"]["items"] == [{"name": "y", "port": 2}]


async def test_embedded_resources_and_int_or_string(api, install):
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await install(definition(version(schema=spec_schema(o=embedded, p={"x-kubernetes-int-or-string": True}))))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"free": 1}}
    made = await api.ok("POST", CRONTABS, crontab("a", spec={"o": inner, "p": "50%"}))
    assert made["spec"] == {"o": {**inner, "metadata": {"name": "p"}}, "p": "50%"}
    refused = await api.post(CRONTABS, crontab("b", spec={"o": {"kind": "Pod"}, "p": 1}))
    assert "spec.o.apiVersion: Required value: must not be empty" in refused.message


async def test_dry_run_stores_nothing(api, install):
    await install(definition())
    assert (await api.post(f"{CRONTABS}?dryRun=All", crontab("a"))).status == 201
    assert (await api.get(f"{CRONTABS}/a")).status == 404


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "removes definition from spec when one version gets changed to not be served [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of same group but different versions [Conformance]"
)
async def test_openapi_follows_served_versions(api, install):
    schema = spec_schema(n={"type": "integer"})
    await install(definition(version("v2", schema), version("v3", schema, storage=False)))

    async def published() -> set[str]:
        found = (await api.ok("GET", "/openapi/v2"))["definitions"]
        return {name for name in found if name.endswith("Crontab")}

    assert await published() == {"com.example.stable.v2.Crontab", "com.example.stable.v3.Crontab"}
    obj = await api.ok("GET", NAME)
    obj["spec"]["versions"][1]["served"] = False
    await api.ok("PUT", NAME, obj)

    async def gone() -> bool:
        return await published() == {"com.example.stable.v2.Crontab"}

    await until(gone)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "updates the published spec when one version gets renamed [Conformance]"
)
async def test_openapi_follows_a_renamed_version(api, install):
    schema = spec_schema(n={"type": "integer"})
    await install(definition(version("v2", schema), version("v3", schema, storage=False)))
    patch = [{"op": "test", "path": "/spec/versions/1/name", "value": "v3"},
             {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}]  # fmt: skip
    assert (await api.patch(NAME, patch, kind="json-patch+json")).status == 200

    async def renamed() -> bool:
        found = (await api.ok("GET", "/openapi/v2"))["definitions"]
        names = {name for name in found if name.endswith("Crontab")}
        return names == {"com.example.stable.v2.Crontab", "com.example.stable.v4.Crontab"}

    await until(renamed)
    served = (await api.ok("GET", f"/openapi/v3/apis/{GROUP}/v4"))["components"]["schemas"]
    assert "com.example.stable.v4.Crontab" in served


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for multiple CRDs of same group and version but different kinds [Conformance]"
)
async def test_openapi_of_several_kinds(api, install):
    schema = spec_schema(n={"type": "integer"})
    await install(definition(version(schema=schema)))
    await install(definition(version(schema=schema), plural="others"))
    found = (await api.ok("GET", "/openapi/v2"))["definitions"]
    assert {"com.example.stable.v1.Crontab", "com.example.stable.v1.Other"} <= set(found)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
    "Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works "
    "[Conformance]"
)
async def test_status_of_a_definition(api, install):
    obj = await install(definition())
    assert (await api.ok("GET", f"{NAME}/status"))["status"] == obj["status"]
    more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "set"}
    obj["status"]["conditions"].append(more)
    await api.ok("PUT", f"{NAME}/status", obj)

    async def conditions() -> set[str]:
        return {c["type"] for c in (await api.ok("GET", NAME))["status"]["conditions"]}

    assert "StatusUpdate" in await conditions()
    status = (await api.ok("GET", NAME))["status"]
    status["conditions"].append({**more, "type": "StatusPatched"})
    assert (await api.patch(f"{NAME}/status", {"status": {"conditions": status["conditions"]}})).status == 200
    assert {"StatusUpdate", "StatusPatched"} <= await conditions()


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] "
    "Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]"
)
async def test_labelled_definitions_are_listed_and_deleted_together(api, install):
    for n in range(10):
        obj = definition(plural=f"k{'abcdefghij'[n]}s")
        obj["metadata"]["labels"] = {"e2e": "mine"}
        await install(obj)
    await install(definition())
    listed = await api.ok("GET", f"{CRDS}?labelSelector=e2e%3Dmine")
    assert len(listed["items"]) == 10
    assert (await api.delete(f"{CRDS}?labelSelector=e2e%3Dmine")).status == 200

    async def gone() -> bool:
        return len((await api.ok("GET", CRDS))["items"]) == 1

    await until(gone)
    assert (await established(api, f"crontabs.{GROUP}"))["metadata"]["name"] == f"crontabs.{GROUP}"


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] "
    "CustomResourceDefinition Watch watch on custom resource definition objects [Conformance]"
)
async def test_watch_of_custom_resources_by_name(api, install):
    await install(definition(scope="Cluster"))
    path = f"/apis/{GROUP}/v1/crontabs"
    for name in ("name1", "name2"):
        async with api.watch(f"{path}?fieldSelector=metadata.name%3D{name}") as events:
            await api.ok("POST", path, crontab(name))
            assert (await events.next())[0] == "ADDED"
            await api.patch(f"{path}/{name}", {"spec": {"n": 1}})
            assert (await events.next())[0] == "MODIFIED"
            await api.delete(f"{path}/{name}")
            assert (await events.next())[0] == "DELETED"


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]"
)
async def test_duplicates_among_preserved_fields(api, install):
    await install(definition())
    text = f"""
apiVersion: {GROUP}/v1
kind: Crontab
metadata:
  name: a
spec:
  unknown: one
  dupe: one
  dupe: two
"""
    target = f"{CRONTABS}/a?fieldManager=m&fieldValidation=Strict"
    refused = await api.patch(target, raw=text.encode(), kind="apply-patch+yaml")
    assert refused.status == 400
    assert 'line 9: key "dupe" already set in map' in refused.message
    assert (await api.get(f"{CRONTABS}/a")).status == 404


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of "
    "a CR [Conformance]"
)
async def test_unknown_metadata_at_the_root_and_embedded(api, install):
    meta = {"type": "object", "properties": {"name": {"type": "string"}}}
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {"metadata": meta}}
    await install(definition(version(schema=spec_schema(template=embedded))))
    inner = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "unknownSub": "x"}}
    body = crontab("a", spec={"template": inner})
    body["metadata"]["unknownMeta"] = "y"
    target = f"{CRONTABS}/a?fieldManager=m&fieldValidation=Strict"
    refused = await api.patch(target, body, kind="apply-patch+yaml")
    assert refused.status == 400
    assert 'unknown field "metadata.unknownMeta"' in refused.message
    assert 'unknown field "spec.template.metadata.unknownSub"' in refused.message


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no "
    "validation schema [Conformance]"
)
async def test_strict_writes_without_a_schema(api, install):
    await install(definition())
    body = crontab("a", spec={"extra": "x"})
    assert (await api.post(f"{CRONTABS}?fieldValidation=Strict", body)).status == 201
    target = f"{CRONTABS}/a?fieldManager=m&fieldValidation=Strict&force=true"
    assert (await api.patch(target, body, kind="apply-patch+yaml")).status == 200


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with "
    "validation schema [Conformance]"
)
async def test_strict_writes_with_a_schema(api, install):
    await install(definition(version(schema=spec_schema(n={"type": "integer"}))))
    target = f"{CRONTABS}/a?fieldManager=m&fieldValidation=Strict&force=true"
    good, bad = crontab("a", spec={"n": 1}), crontab("b", spec={"n": 1, "extra": 2})
    assert (await api.post(f"{CRONTABS}?fieldValidation=Strict", good)).status == 201
    assert (await api.patch(target, good, kind="apply-patch+yaml")).status == 200
    for answer in (
        await api.post(f"{CRONTABS}?fieldValidation=Strict", bad),
        await api.patch(target.replace("/a?", "/b?"), bad, kind="apply-patch+yaml"),
    ):
        assert answer.status == 400
        assert 'unknown field "spec.extra"' in answer.message
