"""Tables: columns of every resource, rows that carry what was asked for."""

from __future__ import annotations

import pytest

from shirube.api.gvr import GVR
from shirube.api.printers import PRINTERS
from shirube.api.resources import BUILTIN, OPTIONAL, Resource
from shirube.api.table import columns, printer_of, table

SHOWN = [r for r in (*BUILTIN, *OPTIONAL) if "list" in r.verbs]
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}},
    "spec": {"containers": []},
    "status": {"phase": "Pending"},
}
PODS = BUILTIN.by_path("", "v1", "pods")
# kinds that upstream shows with name and creation only
PLAIN = {"limitranges", "customresourcedefinitions", "clusterroles", "roles", "csistoragecapacities"}


@pytest.mark.parametrize("resource", SHOWN, ids=[f"{r.group_version}/{r.name}" for r in SHOWN])
def test_every_resource_has_columns_and_as_many_cells(resource):
    made = table(resource, [{"metadata": {"name": "x"}}], 0.0)
    heads = made["columnDefinitions"]
    assert heads == columns(resource)
    assert len(made["rows"][0]["cells"]) == len(heads)
    assert all(h["name"] and h["description"] and h["type"] in ("string", "integer", "boolean", "date") for h in heads)
    assert any(h["format"] == "name" for h in heads)
    assert ((resource.group, resource.name) in PRINTERS) == (resource.name not in PLAIN)


def test_no_printer_is_left_over():
    assert set(PRINTERS) <= {(r.group, r.name) for r in SHOWN}


def test_columns_of_pods():
    assert [(c["name"], c["priority"]) for c in columns(PODS)] == [
        ("Name", 0),
        ("Ready", 0),
        ("Status", 0),
        ("Restarts", 0),
        ("Age", 0),
        ("IP", 1),
        ("Node", 1),
        ("Nominated Node", 1),
        ("Readiness Gates", 1),
    ]


def test_rows_carry_what_was_asked_for():
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": POD["metadata"]}
    assert table(PODS, [POD], 0.0)["rows"][0]["object"] == partial
    assert table(PODS, [POD], 0.0, include="Object")["rows"][0]["object"] == POD
    assert table(PODS, [POD], 0.0, include="None")["rows"][0]["object"] is None


def test_an_empty_table_has_its_columns():
    made = table(PODS, [], 0.0)
    assert (made["kind"], made["apiVersion"], made["rows"]) == ("Table", "meta.k8s.io/v1", [])
    assert made["columnDefinitions"]


def test_custom_resources_show_name_and_age():
    widgets = Resource(
        "example.com", "v1", "widgets", "Widget", "widget", True, ("get",), storage=GVR("example.com", "v1", "widgets")
    )
    assert [(c["name"], c["type"]) for c in columns(widgets)] == [("Name", "string"), ("Age", "date")]
    cells = printer_of(widgets).cells({"metadata": {"name": "w", "creationTimestamp": "1970-01-01T00:00:00Z"}}, 5.0)
    assert cells == ["w", "5s"]
