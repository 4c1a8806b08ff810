"""Custom resources in the published OpenAPI, and what kubectl makes of them."""

from __future__ import annotations

import json

import pytest
from tests.cluster.conformance.api import MERGE
from tests.cluster.conformance.custom import ANYTHING, V1, custom, defined, version
from tests.cluster.conformance.test_custom_resources import VALIDATED
from tests.waiting import eventually


def published(api, group: str) -> dict[tuple[str, str], dict]:
    """(version, kind) -> definition, of one group, as OpenAPI v2 has them."""
    found = {}
    for name, one in api.get("/openapi/v2")["definitions"].items():
        for kind in one.get("x-kubernetes-group-version-kind", []):
            if kind["group"] == group and not name.endswith("List"):
                found[kind["version"], kind["kind"]] = one
    return found


def wait_for(api, made, *wanted: tuple[str, str]):
    group = made["spec"]["group"]
    eventually(lambda: published(api, group).keys() == set(wanted), f"{wanted} of {group} are published", 15)
    return published(api, group)


SECOND = {"type": "object", "properties": {"other": {"type": "string", "description": "of another version"}}}


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different "
    "groups [Conformance]"
)
def test_different_groups(api):
    with defined(api, version("v1", VALIDATED)) as one, defined(api, version("v1", VALIDATED)) as two:
        for made in (one, two):
            wait_for(api, made, ("v1", "E2eTest"))


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group "
    "and version but different kinds [Conformance]"
)
def test_different_kinds(api):
    with (
        defined(api, version("v1", VALIDATED)) as one,
        defined(api, version("v1", SECOND), group=one["spec"]["group"], kind="Another") as two,
    ):
        found = wait_for(api, two, ("v1", "E2eTest"), ("v1", "Another"))
        assert "other" in found["v1", "Another"]["properties"] and "spec" in found["v1", "E2eTest"]["properties"]


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group "
    "but different versions [Conformance]"
)
def test_different_versions(api):
    with defined(api, version("v2", VALIDATED), version("v3", SECOND, storage=False)) as made:
        found = wait_for(api, made, ("v2", "E2eTest"), ("v3", "E2eTest"))
        assert "spec" in found["v2", "E2eTest"]["properties"] and "other" in found["v3", "E2eTest"]["properties"]


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one "
    "version gets renamed [Conformance]"
)
def test_renamed(api):
    with defined(api, version("v2", VALIDATED), version("v3", SECOND, storage=False)) as made:
        before = wait_for(api, made, ("v2", "E2eTest"), ("v3", "E2eTest"))
        versions = [version("v2", VALIDATED), version("v4", SECOND, storage=False)]
        api.at(V1, "customresourcedefinitions").patch(made["metadata"]["name"], {"spec": {"versions": versions}}, MERGE)
        after = wait_for(api, made, ("v2", "E2eTest"), ("v4", "E2eTest"))
        assert after["v2", "E2eTest"] == before["v2", "E2eTest"]
        assert after["v4", "E2eTest"]["properties"]["other"] == before["v3", "E2eTest"]["properties"]["other"]


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one "
    "version gets changed to not be served [Conformance]"
)
def test_no_longer_served(api):
    with defined(api, version("v5", VALIDATED), version("v6alpha1", SECOND, storage=False)) as made:
        before = wait_for(api, made, ("v5", "E2eTest"), ("v6alpha1", "E2eTest"))
        versions = [version("v5", VALIDATED), version("v6alpha1", SECOND, storage=False, served=False)]
        api.at(V1, "customresourcedefinitions").patch(made["metadata"]["name"], {"spec": {"versions": versions}}, MERGE)
        assert wait_for(api, made, ("v5", "E2eTest"))["v5", "E2eTest"] == before["v5", "E2eTest"]


def _accepted(cluster, ns: str, made, name: str, **fields) -> None:
    one = json.dumps(custom(made, name, **fields))
    for verb in ("create", "apply"):
        cluster.kubectl("-n", ns, verb, "--validate=true", "-f", "-", input=one)
        cluster.kubectl("-n", ns, "delete", made["metadata"]["name"], name)


def _explained(cluster, made, *path: str) -> str:
    return cluster.kubectl("explain", ".".join((made["metadata"]["name"], *path)))


def _preserved(api, cluster, ns: str, schema, name: str, **fields) -> str:
    with defined(api, version("v1", schema)) as made:
        wait_for(api, made, ("v1", "E2eTest"))
        _accepted(cluster, ns, made, name, **fields)
        text = _explained(cluster, made)
        assert "KIND:" in text and "E2eTest" in text and "DESCRIPTION:" in text
        return text


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation "
    "schema [Conformance]"
)
def test_no_schema(api, cluster, ns):
    _preserved(api, cluster, ns, ANYTHING, "no-schema", anything={"goes": ["here"]})


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown "
    "fields at the schema root [Conformance]"
)
def test_preserving_at_the_root(api, cluster, ns):
    schema = {**VALIDATED, "x-kubernetes-preserve-unknown-fields": True}
    _preserved(api, cluster, ns, schema, "at-root", spec={"bars": [{"name": "b"}]}, unknown="x")


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown "
    "fields in an embedded object [Conformance]"
)
def test_preserving_in_an_embedded_object(api, cluster, ns):
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "Specification of Waldo"}
    schema = {
        "type": "object",
        "description": "preserve-unknown-properties in nested field",
        "properties": {"spec": spec},
    }
    text = _preserved(api, cluster, ns, schema, "embedded", spec={"dummy": "test", "b": [{"c": 1}]})
    assert "preserve-unknown-properties in nested field" in text and "Specification of Waldo" in text


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema "
    "[Conformance]"
)
def test_validation(api, cluster, ns):
    with defined(api, version("v1", VALIDATED)) as made:
        wait_for(api, made, ("v1", "E2eTest"))
        _accepted(cluster, ns, made, "good", spec={"bars": [{"name": "test-bar"}]})
        for verb in ("create", "apply"):
            arguments = ("-n", ns, verb, "--validate=true", "-f", "-")
            unknown = json.dumps(custom(made, "bad", spec={"bars": [{"name": "b", "nonExist": True}]}))
            assert "nonExist" in cluster.fails(*arguments, input=unknown)
            missing = json.dumps(custom(made, "bad", spec={"bars": [{"age": "10"}]}))
            assert "spec.bars[0].name" in cluster.fails(*arguments, input=missing)
        assert "Foo CRD for Testing" in _explained(cluster, made)
        assert "Specification of Foo" in _explained(cluster, made, "spec")
        bars = _explained(cluster, made, "spec", "bars")
        assert "List of Bars and their specs." in bars and "Name of Bar." in bars and "-required-" in bars
        assert "does not exist" in cluster.fails("explain", f"{made['metadata']['name']}.spec.bars2")
