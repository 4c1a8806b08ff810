"""Shapes of the discovery documents."""

from __future__ import annotations

import pytest

from shirube.api import discovery
from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, Resource


def entry(group: str, version: str, name: str) -> dict:
    resources = discovery.api_resource_list(BUILTIN, group, version)["resources"]
    return next(r for r in resources if r["name"] == name)


def test_groups_list_versions_with_the_preferred_first() -> None:
    groups = {g["name"]: g for g in discovery.api_group_list(BUILTIN)["groups"]}
    assert "" not in groups
    assert [v["version"] for v in groups["autoscaling"]["versions"]] == ["v2", "v1"]
    assert groups["autoscaling"]["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}


def test_a_group_by_itself() -> None:
    group = discovery.api_group(BUILTIN, "apps")
    assert (group["kind"], group["apiVersion"], group["name"]) == ("APIGroup", "v1", "apps")
    with pytest.raises(KeyError):
        discovery.api_group(BUILTIN, "nothing")
    with pytest.raises(KeyError):
        discovery.api_resource_list(BUILTIN, "apps", "v2")


def test_a_resource_says_all_that_kubectl_needs() -> None:
    pods = entry("", "v1", "pods")
    assert pods == {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["po"],
        "categories": ["all"],
        "storageVersionHash": "xPOwRZ+Yhw8=",
    }


def test_a_subresource_of_another_group_names_it() -> None:
    assert entry("apps", "v1", "deployments/scale") == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }


def test_reviews_have_no_storage_version() -> None:
    assert "storageVersionHash" not in entry("authorization.k8s.io", "v1", "subjectaccessreviews")


def test_aggregated_holds_the_same_as_the_classic_documents() -> None:
    document = discovery.aggregated(BUILTIN)
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    for item in document["items"]:
        group = item["metadata"].get("name", "")
        for version in item["versions"]:
            assert version["freshness"] == "Current"
            classic = discovery.api_resource_list(BUILTIN, group, version["version"])["resources"]
            names = []
            for resource in version["resources"]:
                names.append(resource["resource"])
                names += [f"{resource['resource']}/{s['subresource']}" for s in resource.get("subresources", ())]
                assert resource["responseKind"].keys() == {"group", "version", "kind"}
                assert resource["scope"] in ("Namespaced", "Cluster")
            assert names == [r["name"] for r in classic]


def test_aggregated_by_root() -> None:
    core = discovery.aggregated(BUILTIN, core=True)["items"]
    named = discovery.aggregated(BUILTIN, core=False, version="v2beta1")
    assert [item["metadata"] for item in core] == [{}]
    assert [item["metadata"]["name"] for item in named["items"]] == BUILTIN.groups()[1:]
    assert named["apiVersion"] == "apidiscovery.k8s.io/v2beta1"


def test_custom_resources_appear() -> None:
    table = BUILTIN.copy()
    verbs = ("get", "list", "watch")
    gvr = GVR("example.com", "v1beta1", "crons")
    table.add(Resource(*gvr[:2], "crons", "Cron", "cron", False, verbs, ("cr",), storage=gvr))
    assert discovery.api_group_list(table)["groups"][-1]["name"] == "example.com"
    assert discovery.aggregated(table)["items"][-1]["versions"][0]["resources"][0]["scope"] == "Cluster"
