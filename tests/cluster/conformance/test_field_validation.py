"""Unknown and duplicate fields of built-in kinds, by the three directives."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import refused
from tests.cluster.conformance.objects import workload

# As people write it: `unknown` is no field of a deployment's spec, and replicas is there twice.
WITH_BOTH = b"""
{
  "apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "my-dep", "labels": {"app": "nginx"}},
  "spec": {
    "unknown": "value",
    "replicas": 0, "replicas": 0,
    "selector": {"matchLabels": {"app": "nginx"}},
    "template": {
      "metadata": {"labels": {"app": "nginx"}},
      "spec": {"containers": [{"name": "nginx", "image": "localhost/hello:1"}]}
    }
  }
}
"""


def warnings(answer) -> list[str]:
    return [w.replace('\\"', '"') for w in answer.headers.get_all("Warning") or []]


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]"
)
def test_unknown_and_duplicate(api, ns):
    deployments = api.at("apps/v1", "deployments", ns)
    duplicate, unknown = 'duplicate field "spec.replicas"', 'unknown field "spec.unknown"'
    with refused(400, "BadRequest", "strict decoding error", duplicate, unknown):
        api.ask("POST", deployments.path, WITH_BOTH, fieldValidation="Strict")
    assert deployments.find("my-dep") is None
    warned = api.call("POST", deployments.path, WITH_BOTH, fieldValidation="Warn", dryRun="All")
    assert warned.code == 201
    assert any(duplicate in w for w in warnings(warned)) and any(unknown in w for w in warnings(warned))
    ignored = api.call("POST", deployments.path, WITH_BOTH, fieldValidation="Ignore")
    assert ignored.code == 201 and not warnings(ignored)
    assert "unknown" not in ignored.json()["spec"]
    # Patches are held to the same rules.
    with refused(422, "Invalid", 'unknown field "spec.foo"'):
        deployments.patch("my-dep", {"spec": {"foo": "bar"}}, fieldValidation="Strict")


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]"
)
def test_unknown_metadata(api, ns):
    deployments = api.at("apps/v1", "deployments", ns)
    made = workload("Deployment", "my-dep", {"app": "nginx"}, 0)
    made["metadata"]["unknownMeta"] = "metaVal"
    with refused(400, "BadRequest", 'unknown field "metadata.unknownMeta"'):
        deployments.create(made, fieldValidation="Strict")
    assert deployments.find("my-dep") is None
