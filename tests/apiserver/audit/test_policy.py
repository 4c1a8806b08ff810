"""Audit policies: which rule a request falls under."""

from __future__ import annotations

import orjson
import pytest

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.audit.policy import LEVELS, read
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.user import User

JANE = User("jane", groups=("devs", "system:authenticated"))


def asked(verb="get", group="", resource="pods", subresource="", namespace="ns", name="web", user=JANE):
    return Attributes(user, verb, group, "v1", resource, subresource, namespace, name)


def path(url, verb="get"):
    return Attributes(JANE, verb, path=url, is_resource=False)


def judged(attributes, **rule):
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata", **rule}]}
    return read(orjson.dumps(document)).judge(attributes).level > 0


def core(*resources, **more):
    return [{"group": "", "resources": list(resources), **more}]


CASES = [
    (asked(), {}, True),
    (asked(), {"users": ["jane"]}, True),
    (asked(), {"users": ["bob"]}, False),
    (asked(), {"userGroups": ["ops", "devs"]}, True),
    (asked(), {"userGroups": ["ops"]}, False),
    (asked("list"), {"verbs": ["get"]}, False),
    (asked(), {"namespaces": ["ns"]}, True),
    (asked(namespace=""), {"namespaces": ["ns"]}, False),
    (asked(namespace=""), {"namespaces": [""]}, True),
    (asked(), {"resources": core("pods")}, True),
    (asked(subresource="log"), {"resources": core("pods")}, False),
    (asked(subresource="log"), {"resources": core("pods/log")}, True),
    (asked(subresource="log"), {"resources": core("pods/*")}, True),
    (asked(), {"resources": core("pods/*")}, True),
    (asked(subresource="status"), {"resources": core("*/status")}, True),
    (asked(), {"resources": core("*/status")}, False),
    (asked(subresource="status"), {"resources": core("*")}, True),
    (asked(group="apps", resource="deployments"), {"resources": core("*")}, False),
    (asked(group="apps", resource="deployments"), {"resources": [{"group": "apps"}]}, True),
    (asked(), {"resources": core("pods", resourceNames=["web"])}, True),
    (asked(name="db"), {"resources": core("pods", resourceNames=["web"])}, False),
    (asked(), {"nonResourceURLs": ["*"]}, False),
    (path("/healthz"), {"resources": core("pods")}, False),
    (path("/healthz"), {"nonResourceURLs": ["/healthz"]}, True),
    (path("/healthz/etcd"), {"nonResourceURLs": ["/healthz"]}, False),
    (path("/healthz/etcd"), {"nonResourceURLs": ["/healthz*"]}, True),
    (path("/metrics"), {"nonResourceURLs": ["/healthz*", "*"]}, True),
    (path("/metrics"), {}, True),
]


@pytest.mark.parametrize(("attributes", "rule", "matches"), CASES)
def test_rules(attributes, rule, matches):
    assert judged(attributes, **rule) is matches


def test_the_first_rule_that_matches_decides():
    rules = [
        {"level": "None", "verbs": ["watch"]},
        {"level": "Request", "verbs": ["get"], "omitStages": ["RequestReceived"]},
        {"level": "RequestResponse", "omitManagedFields": True},
    ]
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["Panic"], "rules": rules}
    policy = read(orjson.dumps(document))
    assert LEVELS[policy.judge(asked("watch")).level] == "None"
    request = policy.judge(asked("get"))
    assert (LEVELS[request.level], request.omitted) == ("Request", {"RequestReceived", "Panic"})
    both = policy.judge(asked("create"))
    assert (LEVELS[both.level], both.omitted, both.omit_managed_fields) == ("RequestResponse", {"Panic"}, True)


BAD = [
    ({}, "loaded illegal policy with 0 rules"),
    ({"rules": [{}]}, r"rules\[0\].level: Required value"),
    ({"rules": [{"level": "Loud"}]}, 'Unsupported value: "Loud": supported values: "Metadata", "None"'),
    ({"rules": [{"level": "None", "omitStages": ["Later"]}]}, "allowed stages are RequestReceived,ResponseStarted"),
    ({"rules": [{"level": "None", "nonResourceURLs": ["healthz"]}]}, "must begin with a '/'"),
    ({"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "must be the final character"),
    (
        {"rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["x"]}]},
        "rules cannot apply to both regular resources and non-resource URLs",
    ),
    ({"rules": [{"level": "None", "resources": [{"group": "a/v1"}]}]}, r"resources\[0\].group: Invalid value"),
    (
        {"rules": [{"level": "None", "resources": [{"group": "", "resourceNames": ["x"]}]}]},
        "using resourceNames requires at least one resource",
    ),
    ({"rules": [{"level": "None", "user": "jane"}]}, r'unknown field "rules\[0\].user"'),
]


@pytest.mark.parametrize(("more", "why"), BAD)
def test_what_is_wrong_is_said(more, why):
    with pytest.raises(ConfigurationError, match=why):
        read(orjson.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **more}))
