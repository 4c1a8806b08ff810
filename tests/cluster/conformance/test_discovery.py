"""What a client learns about the server before it asks for anything."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import refused

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# The groups that upstream's test wants to find, whatever else is served.
EXPECTED = {
    "admissionregistration.k8s.io/v1": "validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1": "customresourcedefinitions",
    "apiregistration.k8s.io/v1": "apiservices",
    "apps/v1": "deployments",
    "authentication.k8s.io/v1": "tokenreviews",
    "authorization.k8s.io/v1": "selfsubjectaccessreviews",
    "autoscaling/v1": "horizontalpodautoscalers",
    "autoscaling/v2": "horizontalpodautoscalers",
    "batch/v1": "jobs",
    "certificates.k8s.io/v1": "certificatesigningrequests",
    "coordination.k8s.io/v1": "leases",
    "discovery.k8s.io/v1": "endpointslices",
    "events.k8s.io/v1": "events",
    "networking.k8s.io/v1": "ingresses",
    "node.k8s.io/v1": "runtimeclasses",
    "policy/v1": "poddisruptionbudgets",
    "scheduling.k8s.io/v1": "priorityclasses",
    "storage.k8s.io/v1": "storageclasses",
}


@pytest.mark.conformance("[sig-api-machinery] server version should find the server version [Conformance]")
def test_version(api):
    found = api.get("/version")
    assert found["major"] == "1" and found["minor"].isdigit()


@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]"
)
def test_preferred_versions(api):
    groups = api.get("/apis")["groups"]
    assert groups
    for group in groups:
        alone = api.get(f"/apis/{group['name']}")
        assert alone["preferredVersion"] == group["preferredVersion"]
        assert alone["preferredVersion"] in alone["versions"]
        assert all(v["groupVersion"] == f"{group['name']}/{v['version']}" for v in alone["versions"])


@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
)
def test_each_group_version_has_resources(api):
    for version, resource in EXPECTED.items():
        found = api.get(f"/apis/{version}")
        assert (found["kind"], found["groupVersion"]) == ("APIResourceList", version)
        assert resource in [r["name"] for r in found["resources"]]


def aggregated(api, path: str) -> dict:
    answer = api.call("GET", path, headers={"Accept": AGGREGATED})
    assert answer.code == 200
    assert answer.headers["Content-Type"] == AGGREGATED
    return {
        (group["metadata"].get("name", ""), version["version"], resource["resource"])
        for group in answer.json()["items"]
        for version in group["versions"]
        for resource in version["resources"]
    }


BUILT_IN = {(*version.split("/"), resource) for version, resource in EXPECTED.items()}


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers "
    "[Conformance]"
)
def test_aggregated_discovery_by_accept_header(api):
    assert aggregated(api, "/apis") >= BUILT_IN
    assert aggregated(api, "/api") >= {("", "v1", "pods"), ("", "v1", "namespaces"), ("", "v1", "services")}
    # The client that does not ask for it gets the old documents.
    assert api.get("/apis")["kind"] == "APIGroupList"
    assert api.get("/api")["kind"] == "APIVersions"


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"
)
def test_aggregated_discovery_agrees_with_the_single_documents(api):
    accept = {"Accept": f"{AGGREGATED},application/json"}
    for root in ("/api", "/apis"):
        for group in api.ask("GET", root, headers=accept)["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                alone = api.get(f"{root}/{name}/{version['version']}" if name else f"{root}/{version['version']}")
                single = {r["name"]: r for r in alone["resources"] if "/" not in r["name"]}
                for resource in version["resources"]:
                    one = single.pop(resource["resource"])
                    assert resource["responseKind"]["kind"] == one["kind"]
                    assert resource["singularResource"] == one["singularName"]
                    assert (resource["scope"] == "Namespaced") == one["namespaced"]
                    assert sorted(resource["verbs"]) == sorted(one["verbs"])
                assert not single, f"{name}/{version['version']} lacks {sorted(single)}"


@pytest.mark.conformance(
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery "
    "documents [Conformance]"
)
def test_webhook_resources_are_discovered(api):
    _discovered(
        api, "admissionregistration.k8s.io", "v1", {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"}
    )


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource "
    "definition resources in discovery documents [Conformance]"
)
def test_custom_resource_definitions_are_discovered(api):
    _discovered(api, "apiextensions.k8s.io", "v1", {"customresourcedefinitions"})


def _discovered(api, group: str, version: str, resources: set[str]) -> None:
    groups = {g["name"]: g for g in api.get("/apis")["groups"]}
    wanted = {"groupVersion": f"{group}/{version}", "version": version}
    assert wanted in groups[group]["versions"]
    assert wanted in api.get(f"/apis/{group}")["versions"]
    assert resources <= {r["name"] for r in api.get(f"/apis/{group}/{version}")["resources"]}


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does "
    "not implement metadata [Conformance]"
)
def test_no_table_of_what_has_no_metadata(api):
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}},
    }
    with refused(406, "NotAcceptable"):
        api.ask(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            review,
            headers={"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
        )
