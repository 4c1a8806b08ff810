"""Admission policies in CEL, at work on deployments of one namespace."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from tests.cluster.conformance.api import Refused
from tests.cluster.conformance.objects import workload
from tests.waiting import eventually

ADMISSION = "admissionregistration.k8s.io/v1"


def constraints(ns: str):
    rule = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": ns}}
    return {"resourceRules": [rule], "namespaceSelector": selector}


@contextmanager
def policy(api, kind: str, name: str, spec, binding):
    """A policy and its binding, until the end."""
    plural = f"{kind.lower()[:-1]}ies"
    policies, bindings = api.at(ADMISSION, plural), api.at(ADMISSION, f"{kind.lower()}bindings")
    policies.create({"kind": kind, "apiVersion": ADMISSION, "metadata": {"name": name}, "spec": spec})
    bound = {"metadata": {"name": name}, "spec": {"policyName": name, **binding}}
    bindings.create({"kind": f"{kind}Binding", "apiVersion": ADMISSION, **bound})
    try:
        yield
    finally:
        bindings.delete(name)
        policies.delete(name)


def tried(api, ns: str, replicas: int, name: str = "trial"):
    """A deployment of this size on trial (dry run): the object, or the refusal."""
    try:
        made = workload("Deployment", name, {"app": "x"}, replicas)
        return api.at("apps/v1", "deployments", ns).create(made, dryRun="All")
    except Refused as error:
        return error


def denied(api, ns: str, replicas: int, *parts: str) -> bool:
    answer = tried(api, ns, replicas)
    return isinstance(answer, Refused) and answer.code == 422 and all(p in answer.message for p in parts)


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment "
    "[Conformance]"
)
def test_validate(api, ns):
    checks = [
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants two, has ' + string(object.spec.replicas)",
        },
        {"expression": f"namespaceObject.metadata.name == '{ns}'"},
    ]
    spec = {"matchConstraints": constraints(ns), "validations": checks}
    with policy(api, "ValidatingAdmissionPolicy", f"validate.{ns}", spec, {"validationActions": ["Deny"]}):
        eventually(lambda: denied(api, ns, 1, "wants two, has 1", f"validate.{ns}"), "one replica is denied", 10)
        assert tried(api, ns, 2)["spec"]["replicas"] == 2


@pytest.mark.conformance(
    "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer "
    "variables. [Conformance]"
)
def test_variables(api, ns):
    spec = {
        "matchConstraints": constraints(ns),
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas"},
        ],
    }
    with policy(api, "ValidatingAdmissionPolicy", f"variables.{ns}", spec, {"validationActions": ["Deny"]}):
        eventually(lambda: denied(api, ns, 1, "variables.replicas > 1"), "one replica is denied", 10)
        assert denied(api, ns, 2, "variables.oddReplicas")
        assert tried(api, ns, 3)["spec"]["replicas"] == 3


def mutation(expression: str):
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment [Conformance]"
)
def test_mutate(api, ns):
    spec = {
        "matchConstraints": constraints(ns),
        "mutations": [mutation("Object{spec: Object.spec{replicas: object.spec.replicas + 10}}")],
        "reinvocationPolicy": "Never",
    }
    with policy(api, "MutatingAdmissionPolicy", f"mutate.{ns}", spec, {}):
        eventually(lambda: tried(api, ns, 1)["spec"]["replicas"] == 11, "replicas are mutated", 10)


@pytest.mark.conformance(
    "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations "
    "[Conformance]"
)
def test_mutate_annotations(api, ns):
    expression = 'Object{metadata: Object.metadata{annotations: {"my-foo-annotation": "myAnnotationValue"}}}'
    spec = {
        "matchConstraints": constraints(ns),
        "mutations": [mutation(expression)],
        "reinvocationPolicy": "Never",
    }

    def annotated() -> bool:
        found = tried(api, ns, 1)["metadata"].get("annotations", {})
        return found == {"my-foo-annotation": "myAnnotationValue"}

    with policy(api, "MutatingAdmissionPolicy", f"annotate.{ns}", spec, {}):
        eventually(annotated, "annotations are added", 10)
