"""CustomResourceDefinitions and what they define: their API, discovery, defaults, watching."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import MERGE, refused
from tests.cluster.conformance.custom import V1, custom, defined, definition, established, objects_of, version
from tests.cluster.conformance.objects import condition
from tests.waiting import eventually

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture
def definitions(api):
    return api.at(V1, "customresourcedefinitions")


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "creating/deleting custom resource definition objects works [Conformance]"
)
def test_create_and_delete(api, definitions):
    made = definition()
    name = made["metadata"]["name"]
    established(api, made)
    definitions.delete(name)
    eventually(lambda: definitions.find(name) is None, "it is gone", 15)
    group = made["spec"]["group"]
    eventually(lambda: api.call("GET", f"/apis/{group}/v1").code == 404, "its group is no longer served", 15)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "listing custom resource definition objects works [Conformance]"
)
def test_list_and_delete_collection(definitions, ns):
    names = set()
    for _ in range(10):
        made = definition()
        made["metadata"]["labels"] = {"e2e-list-test": ns}
        names.add(definitions.create(made)["metadata"]["name"])
    other = definitions.create(definition())["metadata"]["name"]
    label = f"e2e-list-test={ns}"
    assert {d["metadata"]["name"] for d in definitions.items(label)} == names
    definitions.delete_all(label)
    eventually(lambda: definitions.items(label) == [], "the labelled ones are gone", 15)
    assert definitions.get(other)
    definitions.delete(other)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition "
    "getting/updating/patching custom resource definition status sub-resource works [Conformance]"
)
def test_status(api, definitions):
    with defined(api) as made:
        name = made["metadata"]["name"]
        found = definitions.get(name, "status")
        assert condition(found, "Established")["status"] == "True"
        more = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}
        updated = definitions.edit(name, lambda o: o["status"]["conditions"].append(more), "status")
        assert condition(updated, "StatusUpdate")["message"] == "Set from an e2e test"
        patched = definitions.patch(name, {"metadata": {"annotations": {"patched": "true"}}}, MERGE, "status")
        assert condition(patched, "StatusUpdate")
        kept = [c for c in patched["status"]["conditions"] if c["type"] != "StatusUpdate"]
        definitions.patch(name, {"status": {"conditions": kept}}, MERGE, "status")
        assert condition(definitions.get(name), "StatusUpdate") is None


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch "
    "on custom resource definition objects [Conformance]"
)
def test_watch(api, ns):
    with defined(api) as made:
        objects = objects_of(api, made, ns)
        with (
            objects.watch(fieldSelector="metadata.name=name1") as first,
            objects.watch(fieldSelector="metadata.name=name2") as second,
        ):
            for name in ("name1", "name2"):
                objects.create(custom(made, name, num={"num1": 1}))
            for name in ("name1", "name2"):
                objects.patch(name, {"dummy": "test"})
            for name in ("name1", "name2"):
                objects.delete(name)
            for watch, name in ((first, "name1"), (second, "name2")):
                seen = [watch.next() for _ in range(3)]
                assert [e["type"] for e in seen] == ["ADDED", "MODIFIED", "DELETED"]
                assert {e["object"]["metadata"]["name"] for e in seen} == {name}
                assert seen[1]["object"]["dummy"] == "test"


def with_defaults(**defaults: str):
    fields = {name: {"type": "string"} for name in ("a", "b")}
    for name, value in defaults.items():
        fields[name]["default"] = value
    return {"type": "object", "properties": fields}


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for "
    "requests and from storage works [Conformance]"
)
def test_defaulting(api, ns, definitions):
    with defined(api, version("v1", with_defaults())) as made:
        name, objects = made["metadata"]["name"], objects_of(api, made, ns)
        assert "a" not in objects.create(custom(made, "first"))

        def set_schema(**defaults: str) -> None:
            versions = [version("v1", with_defaults(**defaults))]
            definitions.patch(name, {"spec": {"versions": versions}}, MERGE)

        set_schema(a="A")
        # What is stored without it gets it when it is read.
        eventually(lambda: objects.get("first").get("a") == "A", "the default applies to what was stored", 15)
        assert objects.create(custom(made, "second"))["a"] == "A"
        set_schema(b="B")
        eventually(lambda: objects.get("second").get("b") == "B", "the other default applies", 15)
        # What a request was given stays; what was only read with it is gone.
        assert objects.get("second")["a"] == "A"
        assert "a" not in objects.get("first")


def _discovered(api, made) -> set[tuple[str, str, str]]:
    items = api.ask("GET", "/apis", headers={"Accept": AGGREGATED})["items"]
    return {
        (v["version"], r["resource"], r["responseKind"]["kind"])
        for g in items
        if g["metadata"]["name"] == made["spec"]["group"]
        for v in g["versions"]
        for r in v["resources"]
    }


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]"
)
def test_aggregated_discovery(api):
    with defined(api) as made:
        eventually(lambda: _discovered(api, made) == {("v1", "e2etests", "E2eTest")}, "it is discovered", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]"
)
def test_aggregated_discovery_by_kubectl(api, cluster):
    """kubectl discovers through that interface: what it lists is what came that way."""
    with defined(api) as made:
        group = made["spec"]["group"]
        eventually(lambda: _discovered(api, made), "it is discovered", 10)
        printed = cluster.kubectl("api-resources", f"--api-group={group}", "--cached=false", "--no-headers")
        assert printed.split() == ["e2etests", f"{group}/v1", "true", "E2eTest"]


VALIDATED = {
    "type": "object",
    "description": "Foo CRD for Testing",
    "properties": {
        "spec": {
            "type": "object",
            "description": "Specification of Foo",
            "properties": {
                "bars": {
                    "type": "array",
                    "description": "List of Bars and their specs.",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "description": "Name of Bar."},
                            "age": {"type": "string", "description": "Age of Bar."},
                        },
                    },
                }
            },
        },
        "status": {"type": "object", "description": "Status of Foo", "x-kubernetes-preserve-unknown-fields": True},
    },
}


def text(made, name: str, body: str) -> bytes:
    """JSON as people write it: with a `body` that no dict can hold."""
    spec = made["spec"]
    kind = f'"apiVersion": "{spec["group"]}/v1", "kind": "{spec["names"]["kind"]}"'
    return f'{{{kind}, "metadata": {{"name": "{name}"}}, {body}}}'.encode()


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation "
    "schema [Conformance]"
)
def test_no_schema(api, ns):
    with defined(api) as made:
        objects = objects_of(api, made, ns)
        applied = objects.apply(custom(made, "mytest", spec={"anything": 1}), fieldValidation="Strict")
        assert applied["spec"] == {"anything": 1}


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]"
)
def test_valid(api, ns):
    with defined(api, version("v1", VALIDATED)) as made:
        objects = objects_of(api, made, ns)
        good = {"bars": [{"name": "test"}]}
        assert objects.create(custom(made, "created", spec=good), fieldValidation="Strict")["spec"] == good
        assert objects.apply(custom(made, "applied", spec=good), fieldValidation="Strict")["spec"] == good


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with "
    "validation schema [Conformance]"
)
def test_extra_properties(api, ns):
    with defined(api, version("v1", VALIDATED)) as made:
        objects = objects_of(api, made, ns)
        extra = custom(made, "mytest", spec={"bars": [{"name": "test"}], "extraProperty": "arbitrary-value"})
        with refused(400, "BadRequest", 'unknown field "spec.extraProperty"'):
            objects.create(extra, fieldValidation="Strict")
        created = objects.create(extra, fieldValidation="Ignore")
        assert "extraProperty" not in created["spec"]


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]"
)
def test_duplicates(api, ns):
    with defined(api) as made:
        path = objects_of(api, made, ns).path
        with refused(400, "BadRequest", 'duplicate field "spec.foo"'):
            api.ask("POST", path, text(made, "d", '"spec": {"foo": 1, "foo": 2}'), fieldValidation="Strict")
        assert api.call("GET", f"{path}/d").code == 404


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of "
    "a CR [Conformance]"
)
def test_unknown_metadata(api, ns):
    template = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string"}}}},
    }
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"template": template}}},
    }
    with defined(api, version("v1", schema)) as made:
        objects = objects_of(api, made, ns)
        inner = {"apiVersion": "v1", "kind": "Sample", "metadata": {"name": "inner", "namespace": ns}}
        root = custom(made, "root", spec={"template": inner})
        root["metadata"]["unknownMeta"] = "metaVal"
        with refused(400, "BadRequest", 'unknown field "metadata.unknownMeta"'):
            objects.create(root, fieldValidation="Strict")
        del root["metadata"]["unknownMeta"]
        inner["metadata"]["unknownMetaEmbedded"] = "bar"
        with refused(400, "BadRequest", 'unknown field "spec.template.metadata.unknownMetaEmbedded"'):
            objects.create(root, fieldValidation="Strict")
        del inner["metadata"]["unknownMetaEmbedded"]
        made_one = objects.create(root, fieldValidation="Strict")
        assert made_one["spec"]["template"]["metadata"]["namespace"] == ns
