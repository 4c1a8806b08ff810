"""Creating objects, with good and bad input."""

from __future__ import annotations

import asyncio

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
YAML = "application/yaml"


def configmap(name: str, **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_an_object_gets_what_the_server_gives(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("a", x="1"), user_agent="kubectl/v1.36 (linux)")
    meta = made["metadata"]
    assert meta["namespace"] == "default"
    assert len(meta["uid"]) == 36
    assert meta["creationTimestamp"].endswith("Z")
    assert int(meta["resourceVersion"]) > 1
    assert meta["managedFields"][0]["manager"] == "kubectl"
    assert meta["managedFields"][0]["operation"] == "Update"
    assert list(made) == ["apiVersion", "kind", "metadata", "data"]
    assert (await api.get(f"{CONFIGMAPS}/a")).json == made


async def test_system_fields_from_clients_are_ignored(api):
    obj = configmap("a")
    obj["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "deletionTimestamp": None}
    meta = (await api.ok("POST", CONFIGMAPS, obj))["metadata"]
    assert meta["uid"] != "mine"
    assert not meta["creationTimestamp"].startswith("2001")


async def test_a_name_is_taken_once(api):
    answers = await asyncio.gather(*(api.post(CONFIGMAPS, configmap("a")) for _ in range(10)))
    assert sorted(a.status for a in answers) == [201] + [409] * 9
    refused = next(a for a in answers if a.status == 409)
    assert refused.json["reason"] == "AlreadyExists"
    assert refused.message == 'configmaps "a" already exists'


async def test_generate_name_makes_names_and_tries_again_when_they_are_taken(api):
    obj = {"metadata": {"generateName": "x-"}}
    names = {(await api.ok("POST", CONFIGMAPS, obj))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(n.startswith("x-") and len(n) == 7 for n in names)

    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    api.context.chance.suffix = lambda length=5: next(suffixes)
    first = await api.ok("POST", CONFIGMAPS, obj)
    second = await api.ok("POST", CONFIGMAPS, obj)
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("x-aaaaa", "x-bbbbb")

    api.context.chance.suffix = lambda length=5: "aaaaa"
    refused = await api.post(CONFIGMAPS, obj)
    assert refused.status == 409
    assert "not able to generate a unique name" in refused.message
    assert refused.header("retry-after") == ["1"]


async def test_dry_run_does_everything_but_store(api):
    made = await api.ok("POST", f"{CONFIGMAPS}?dryRun=All", configmap("a", x="1"))
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"]
    assert (await api.get(f"{CONFIGMAPS}/a")).status == 404
    await api.ok("POST", CONFIGMAPS, configmap("a"))
    assert (await api.post(f"{CONFIGMAPS}?dryRun=All", configmap("a"))).status == 409
    assert (await api.post(f"{CONFIGMAPS}?dryRun=Some", configmap("b"))).status == 422


async def test_field_validation(api):
    obj = configmap("a") | {"spec": {"x": 1}, "metadata": {"name": "a", "nme": "b"}}
    warned = await api.post(CONFIGMAPS, obj)
    assert warned.status == 201
    assert warned.warnings == ['299 - "unknown field \\"metadata.nme\\""', '299 - "unknown field \\"spec\\""']
    assert "spec" not in warned.json
    strict = await api.post(f"{CONFIGMAPS}?fieldValidation=Strict", configmap("b") | {"spec": {}})
    assert strict.status == 400
    assert strict.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "spec"'
    )
    ignored = await api.post(f"{CONFIGMAPS}?fieldValidation=Ignore", configmap("b") | {"spec": {}})
    assert (ignored.status, ignored.warnings) == (201, [])
    assert (await api.post(f"{CONFIGMAPS}?fieldValidation=strict", configmap("c"))).status == 422


async def test_duplicate_fields_are_told(api):
    raw = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}'
    warned = await api.call("POST", CONFIGMAPS, raw=raw)
    assert warned.warnings == ['299 - "duplicate field \\"data.x\\""']
    assert warned.json["data"] == {"x": "2"}
    strict = await api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", raw=raw)
    assert strict.status == 400
    assert 'duplicate field "data.x"' in strict.message


async def test_yaml_bodies(api):
    raw = b"metadata:\n  name: a\ndata:\n  x: 'yes'\n"
    assert (await api.call("POST", CONFIGMAPS, raw=raw, content_type=YAML)).json["data"] == {"x": "yes"}
    bad = await api.call("POST", CONFIGMAPS, raw=b"a: [", content_type=YAML)
    assert (bad.status, bad.json["reason"]) == (400, "BadRequest")


async def test_bodies_that_cannot_be_read(api):
    for raw, status in (
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"metadata":{"name":"a"},"data":{"x":1}}', 400),
        (b'{"metadata":[]}', 400),
        (b'{"apiVersion":"v2","metadata":{"name":"a"}}', 400),
        (b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"a"}}', 400),
        (b'{"metadata":{"name":"a"},"data":{"x":"' + b"y" * 3_200_000 + b'"}}', 413),
    ):
        answer = await api.call("POST", CONFIGMAPS, raw=raw)
        assert answer.status == status, (raw[:40], answer.raw)
        assert answer.json["kind"] == "Status"
        assert b"Traceback" not in answer.raw
    unsupported = await api.call("POST", CONFIGMAPS, raw=b"<a/>", content_type="text/xml")
    assert (unsupported.status, unsupported.json["reason"]) == (415, "UnsupportedMediaType")


async def test_wrong_types_are_named(api):
    answer = await api.call("POST", CONFIGMAPS, raw=b'{"metadata":{"name":"a"},"data":{"x":1}}')
    assert answer.message.startswith(
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal'
    )


async def test_names_and_namespaces_must_fit(api):
    invalid = await api.post(CONFIGMAPS, configmap("Not Valid"))
    assert (invalid.status, invalid.json["reason"]) == (422, "Invalid")
    assert invalid.json["details"]["causes"][0]["field"] == "metadata.name"
    nameless = await api.post(CONFIGMAPS, {"metadata": {}})
    assert nameless.status == 422
    assert "name or generateName is required" in nameless.message
    elsewhere = configmap("a")
    elsewhere["metadata"]["namespace"] = "kube-system"
    mismatch = await api.post(CONFIGMAPS, elsewhere)
    assert mismatch.status == 400
    assert "does not match the namespace" in mismatch.message
    missing = await api.post("/api/v1/namespaces/nowhere/configmaps", configmap("a"))
    assert (missing.status, missing.message) == (404, 'namespaces "nowhere" not found')


async def test_a_resource_version_cannot_be_created(api):
    obj = configmap("a")
    obj["metadata"]["resourceVersion"] = "5"
    answer = await api.post(CONFIGMAPS, obj)
    assert answer.message == "resourceVersion should not be set on objects to be created"


async def test_cluster_scoped_and_collection_paths(api):
    assert (await api.post("/api/v1/namespaces", {"metadata": {"name": "team"}})).status == 201
    assert (await api.post("/api/v1/configmaps", configmap("a"))).status == 405
    assert (await api.post("/api/v1/namespaces/default/nodes", {"metadata": {"name": "a"}})).status == 404
    assert (await api.post("/apis/apps/v1/namespaces/default/unknowns", {})).status == 404


async def test_a_service_gets_an_address_that_nobody_else_has(api):
    path = "/api/v1/namespaces/default/services"
    body = {"spec": {"ports": [{"port": 80}], "type": "NodePort"}}
    made = [await api.ok("POST", path, body | {"metadata": {"name": f"s{i}"}}) for i in range(5)]
    assert len({s["spec"]["clusterIP"] for s in made}) == 5
    assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 5
    taken = await api.post(
        path, {"metadata": {"name": "t"}, "spec": body["spec"] | {"clusterIP": made[0]["spec"]["clusterIP"]}}
    )
    assert taken.status == 422
    await api.ok("DELETE", f"{path}/s0")
    again = {"ports": [{"port": 80}], "clusterIP": made[0]["spec"]["clusterIP"]}
    assert (await api.post(path, {"metadata": {"name": "t"}, "spec": again})).status == 201


async def test_a_generated_name_that_is_taken_gives_its_address_back(api):
    path = "/api/v1/namespaces/default/services"
    obj = {"metadata": {"generateName": "s-"}, "spec": {"ports": [{"port": 80}]}}
    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    api.context.chance.suffix = lambda length=5: next(suffixes)
    first, second = await api.ok("POST", path, obj), await api.ok("POST", path, obj)
    assert second["metadata"]["name"] == "s-bbbbb"
    assert first["spec"]["clusterIP"] != second["spec"]["clusterIP"]
