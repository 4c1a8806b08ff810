"""The table of resources: lookups, order, storage keys, changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, Resource, ResourceTable, version_priority


def resource(group: str, version: str, name: str, kind: str) -> Resource:
    verbs = ("create", "delete", "get", "list", "watch")
    return Resource(group, version, name, kind, kind.lower(), True, verbs, storage=GVR(group, version, name))


def test_lookups_agree() -> None:
    for found in BUILTIN:
        assert BUILTIN.by_path(found.group, found.version, found.name) is found
        assert BUILTIN.by_kind(found.group, found.version, found.kind) is found
        assert BUILTIN.by_gvr(found.gvr) is found
    assert BUILTIN.by_path("", "v1", "nothing") is None
    assert BUILTIN.by_kind("apps", "v2", "Deployment") is None


def test_groups_and_versions_are_in_upstreams_order() -> None:
    groups = BUILTIN.groups()
    assert groups[:4] == ["", "apiregistration.k8s.io", "apps", "events.k8s.io"]
    assert groups[-1] == "flowcontrol.apiserver.k8s.io"
    assert BUILTIN.versions("autoscaling") == ["v2", "v1"]
    assert BUILTIN.versions("nothing.example.com") == []


def test_storage_keys() -> None:
    pods = BUILTIN.by_path("", "v1", "pods")
    nodes = BUILTIN.by_path("", "v1", "nodes")
    deployments = BUILTIN.by_path("apps", "v1", "deployments")
    assert pods and nodes and deployments
    assert pods.prefix() == "/registry/core/pods/"
    assert pods.prefix("a") == "/registry/core/pods/a/"
    assert pods.key("a", "b") == "/registry/core/pods/a/b"
    assert nodes.key(None, "n") == nodes.key("ignored", "n") == "/registry/core/nodes/n"
    assert deployments.key("a", "b") == "/registry/apps/deployments/a/b"


def test_versions_of_one_kind_share_their_keys() -> None:
    old = BUILTIN.by_path("autoscaling", "v1", "horizontalpodautoscalers")
    new = BUILTIN.by_path("autoscaling", "v2", "horizontalpodautoscalers")
    events, core_events = BUILTIN.by_path("events.k8s.io", "v1", "events"), BUILTIN.by_path("", "v1", "events")
    assert old and new and events and core_events
    assert old.key("a", "b") == new.key("a", "b")
    assert events.key("a", "b") == core_events.key("a", "b") == "/registry/core/events/a/b"


def test_no_two_stored_resources_share_a_prefix_by_accident() -> None:
    prefixes: dict[str, GVR] = {}
    for found in BUILTIN:
        assert prefixes.setdefault(found.prefix(), found.storage) == found.storage


@pytest.mark.parametrize(
    ("name", "virtual"),
    [("pods", False), ("bindings", True), ("componentstatuses", True), ("namespaces", False)],
)
def test_virtual(name: str, virtual: bool) -> None:
    found = BUILTIN.by_path("", "v1", name)
    assert found
    assert found.virtual is virtual


def test_names_in_messages() -> None:
    pods, deployments = BUILTIN.by_path("", "v1", "pods"), BUILTIN.by_path("apps", "v1", "deployments")
    assert pods and deployments
    assert (pods.group_resource, pods.list_kind, pods.api_version) == ("pods", "PodList", "v1")
    assert (deployments.group_resource, deployments.api_version) == ("deployments.apps", "apps/v1")


def test_custom_groups_follow_by_name_and_leave_with_their_last_resource() -> None:
    table = BUILTIN.copy()
    before, generation = table.groups(), table.generation
    zebra = resource("zoo.example.com", "v1", "zebras", "Zebra")
    ant = resource("ants.example.com", "v1", "ants", "Ant")
    table.add(zebra)
    table.add(ant)
    assert table.groups() == [*before, "ants.example.com", "zoo.example.com"]
    assert table.generation > generation
    table.remove(zebra)
    assert table.groups() == [*before, "ants.example.com"]
    assert table.by_kind("zoo.example.com", "v1", "Zebra") is None
    assert BUILTIN.groups() == before


def test_adding_again_replaces() -> None:
    table = ResourceTable([resource("g", "v1", "things", "Thing")])
    table.add(resource("g", "v1", "things", "Renamed"))
    assert table.by_kind("g", "v1", "Thing") is None
    assert len(table) == 1


def test_version_priority() -> None:
    ordered = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(ordered, key=version_priority, reverse=True) == ordered


@given(st.lists(st.from_regex(r"\A(v[1-9](alpha|beta)?[1-9]?|[a-c]{1,3})\Z"), unique=True))
def test_version_priority_is_a_total_order(versions: list[str]) -> None:
    keys = [version_priority(v) for v in versions]
    assert len(set(keys)) == len(keys)
