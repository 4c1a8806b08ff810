"""OpenAPI documents: complete, with references that lead somewhere, for built-in and custom resources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shirube.api import openapi
from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, Resource, ResourceTable, Subresource

WIDGETS = GVR("example.com", "v1", "widgets")


def with_widgets() -> ResourceTable:
    table = BUILTIN.copy()
    verbs = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    status = {"status": Subresource("status", "Widget", ("get", "patch", "update"))}
    table.add(
        Resource("example.com", "v1", "widgets", "Widget", "widget", True, verbs, subresources=status, storage=WIDGETS)
    )
    return table


SCHEMAS = {
    ("example.com", "v1", "Widget"): {
        "type": "object",
        "description": "A widget.",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"x-kubernetes-int-or-string": True, "anyOf": []}}}
        },
    }
}


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*(references(child) for child in node))
    return set()


def resolve(document: Any, ref: str) -> Any:
    assert ref.startswith("#/")
    for step in ref[2:].split("/"):
        document = document[step]
    return document


@pytest.fixture(scope="module")
def v2() -> dict:
    return json.loads(openapi.v2(BUILTIN))


def test_v2_references_lead_somewhere(v2: dict) -> None:
    for ref in references(v2):
        assert resolve(v2, ref)


def test_v2_operations_are_unique(v2: dict) -> None:
    ids = [op["operationId"] for item in v2["paths"].values() for m, op in item.items() if m != "parameters"]
    assert len(ids) == len(set(ids))


def test_v2_has_a_path_for_every_resource_and_subresource(v2: dict) -> None:
    for resource in BUILTIN:
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        base = f"{'/apis' if resource.group else '/api'}/{resource.group_version}{scope}/{resource.name}"
        assert base in v2["paths"]
        for name in resource.subresources:
            assert f"{base}/{{name}}/{name}" in v2["paths"]


def test_v2_path_parameters_are_declared(v2: dict) -> None:
    for path, item in v2["paths"].items():
        declared = {(resolve(v2, p["$ref"]) if "$ref" in p else p)["name"] for p in item.get("parameters", [])}
        for part in path.split("/"):
            if part.startswith("{"):
                assert part[1:-1] in declared, path


def test_v2_patch_is_ready_for_server_side_dry_run(v2: dict) -> None:
    item = v2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    names = [p.get("name") for p in item["patch"]["parameters"]]
    assert "dryRun" in names
    assert item["patch"]["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "application/apply-patch+yaml" in item["patch"]["consumes"]


def test_v3_index_names_documents_that_exist() -> None:
    paths = openapi.v3_index(BUILTIN)["paths"]
    assert {"api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"} <= paths.keys()
    for name, entry in paths.items():
        assert entry["serverRelativeURL"].startswith(f"/openapi/v3/{name}?hash=")
        document = json.loads(openapi.v3(BUILTIN, name))
        assert document["openapi"] == "3.0.0"
        for ref in references(document):
            assert resolve(document, ref) is not None


@pytest.mark.parametrize(
    "name", ["", "api/v2", "apis/", "apis/nothing", "apis/apps/v9", "x", "../../index", "apis/apps/v1/x"]
)
def test_v3_of_what_is_not_served(name: str) -> None:
    with pytest.raises(KeyError):
        openapi.v3(BUILTIN, name)


def test_v3_explains_kinds() -> None:
    document = json.loads(openapi.v3(BUILTIN, "apis/apps/v1"))
    kinds = {
        gvk["kind"]: schema
        for schema in document["components"]["schemas"].values()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
        if gvk["group"] == "apps"
    }
    assert {"Deployment", "DeploymentList", "StatefulSet", "ControllerRevision"} <= kinds.keys()
    spec = kinds["Deployment"]["properties"]["spec"]
    assert spec["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert spec["description"]
    restart = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"]
    assert restart["enum"] == ["Always", "Never", "OnFailure"]


def test_custom_resources_join_v2() -> None:
    document = json.loads(openapi.v2(with_widgets(), SCHEMAS))
    assert set(json.loads(openapi.v2(BUILTIN))["paths"]) < set(document["paths"])
    item = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]
    assert item["get"]["responses"]["200"]["schema"] == {"$ref": "#/definitions/com.example.v1.Widget"}
    assert "application/strategic-merge-patch+json" not in item["patch"]["consumes"]
    widget = document["definitions"]["com.example.v1.Widget"]
    assert widget["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert widget["properties"]["spec"]["properties"]["size"] == {"x-kubernetes-int-or-string": True}
    for ref in references(document):
        assert resolve(document, ref)


def test_custom_resources_have_a_v3_document_of_their_own() -> None:
    table = with_widgets()
    index = openapi.v3_index(table, SCHEMAS)["paths"]
    assert "apis/example.com/v1" in index
    assert index["apis/apps/v1"] == openapi.v3_index(BUILTIN)["paths"]["apis/apps/v1"]
    document = json.loads(openapi.v3(table, "apis/example.com/v1", SCHEMAS))
    assert document["components"]["schemas"]["com.example.v1.Widget"]["description"] == "A widget."
    assert "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status" in document["paths"]
    for ref in references(document):
        assert resolve(document, ref) is not None
    assert json.loads(openapi.v3(table, "apis/example.com"))["paths"].keys() == {"/apis/example.com/"}


def test_a_group_that_is_not_served_is_not_described() -> None:
    table = BUILTIN.copy()
    for resource in list(table.resources("batch", "v1")):
        table.remove(resource)
    assert not [p for p in json.loads(openapi.v2(table))["paths"] if p.startswith("/apis/batch/")]
    assert "apis/batch/v1" not in openapi.v3_index(table)["paths"]


def test_a_custom_kind_in_a_builtin_group_version_joins_it() -> None:
    table = BUILTIN.copy()
    gadgets = GVR("batch", "v1", "gadgets")
    table.add(Resource("batch", "v1", "gadgets", "Gadget", "gadget", True, ("get", "list", "watch"), storage=gadgets))
    document = json.loads(openapi.v3(table, "apis/batch/v1"))
    assert "/apis/batch/v1/namespaces/{namespace}/gadgets" in document["paths"]
    assert "io.k8s.api.batch.v1.Job" in document["components"]["schemas"]
    for ref in references(document):
        assert resolve(document, ref) is not None
