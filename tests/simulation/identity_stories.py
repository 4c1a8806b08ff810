"""Stories of certificates, tokens and roles, for the crash harness."""

from __future__ import annotations

import asyncio
import base64

from tests.simulation.authorities import authority
from tests.simulation.telling import create, delete, patch, step, wait

from shirube.api.gvr import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLES,
    CLUSTERTRUSTBUNDLES,
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    SECRETS,
    SERVICEACCOUNTS,
    VALIDATINGADMISSIONPOLICIES,
)
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.foundation.clock import rfc3339
from shirube.simulation.cluster import Cluster
from shirube.simulation.crash import Scenario


def certificate_request() -> Object:
    from tests.controllers.test_identity import csr

    made = csr(requests.CLIENT_KUBELET, "system:node:node-0", "system:nodes", "client auth", expirationSeconds=600)
    made["metadata"]["name"] = "renewal"
    return made


RENEWAL_BINDING = {
    "metadata": {"name": "renew"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
    },
    "subjects": [{"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}],
}


async def _ask_for_certificate(cluster: Cluster) -> None:
    from shirube.api.gvr import CLUSTERROLEBINDINGS

    await cluster.admin.create(CLUSTERROLEBINDINGS, RENEWAL_BINDING)
    node = cluster.client("system:node:node-0")
    await node.create(CERTIFICATESIGNINGREQUESTS, certificate_request())


CERTIFICATES = Scenario(
    "a certificate is asked for, given, and forgotten",
    (
        "certificatesigningrequest-approving-controller",
        "certificatesigningrequest-signing-controller",
        "certificatesigningrequest-cleaner-controller",
    ),
    (step(_ask_for_certificate), step(wait(3700))),
    nodes=0,
)


async def _bootstrap_token(cluster: Cluster) -> None:
    cluster_info = {
        "metadata": {"name": "cluster-info"},
        "data": {"kubeconfig": "apiVersion: v1\nkind: Config\n"},
    }
    await cluster.admin.create(CONFIGMAPS, cluster_info, "kube-public")
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-signing": "true",
        "expiration": rfc3339(cluster.clock.now() + 60),
    }
    secret = {
        "metadata": {"name": "bootstrap-token-abcdef"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
    }
    await cluster.admin.create(SECRETS, secret, "kube-system")


BOOTSTRAP = Scenario(
    "a bootstrap token signs and expires",
    ("bootstrap-signer-controller", "token-cleaner-controller"),
    (step(_bootstrap_token), step(wait(70))),
    nodes=0,
)

ROLES = Scenario(
    "an aggregated role",
    ("clusterrole-aggregation-controller",),
    (
        step(
            create(
                CLUSTERROLES,
                {
                    "metadata": {"name": "extra", "labels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}},
                    "rules": [{"apiGroups": ["x.io"], "resources": ["xs"], "verbs": ["get"]}],
                },
                None,
            )
        ),
        step(delete(CLUSTERROLES, "extra", None)),
    ),
)


def token_secret() -> Object:
    return {
        "metadata": {"name": "robot-token", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    }


TOKENS = Scenario(
    "a token kept in a Secret",
    ("serviceaccount-token-controller",),
    (
        step(create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}}), create(SECRETS, token_secret())),
        step(delete(SERVICEACCOUNTS, "robot")),
    ),
)


async def _forgotten_tokens(cluster: Cluster) -> None:
    """Two that an account lists, one of which was marked invalid long ago; uses have been noted for years."""
    tracking = "kube-apiserver-legacy-service-account-token-tracking"
    await cluster.admin.patch(CONFIGMAPS, tracking, {"data": {"since": "2020-01-01"}}, "kube-system")
    references = [{"name": "unused"}, {"name": "invalid"}]
    await cluster.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}, "secrets": references}, "default")
    for name, labels in (("unused", {}), ("invalid", {"kubernetes.io/legacy-token-invalid-since": "2021-01-01"})):
        made = token_secret()
        made["metadata"] |= {"name": name, "labels": labels}
        await cluster.admin.create(SECRETS, made, "default")


FORGOTTEN_TOKENS = Scenario(
    "tokens in Secrets that nobody uses",
    ("legacy-serviceaccount-token-cleaner-controller",),
    (step(_forgotten_tokens, wait(40)),),
    nodes=0,
)


async def _another_trust(cluster: Cluster) -> None:
    """The bundle of the API server's signer is spoilt, and an older one is still there."""
    while not (found := await cluster.list(CLUSTERTRUSTBUNDLES)):
        await asyncio.sleep(0.5)
    (bundle,) = found
    pem = authority("another")
    spec = bundle["spec"]
    spoilt = {"spec": {"trustBundle": spec["trustBundle"] + pem}}
    await cluster.admin.patch(CLUSTERTRUSTBUNDLES, bundle["metadata"]["name"], spoilt)
    older = {
        "metadata": {"name": f"{spec['signerName'].replace('/', ':')}:older"},
        "spec": {**spec, "trustBundle": pem},
    }
    await cluster.admin.create(CLUSTERTRUSTBUNDLES, older)


async def _no_trust(cluster: Cluster) -> None:
    for bundle in await cluster.list(CLUSTERTRUSTBUNDLES):
        await cluster.admin.delete(CLUSTERTRUSTBUNDLES, bundle["metadata"]["name"])


TRUST = Scenario(
    "what to trust of the API server",
    ("kube-apiserver-serving-clustertrustbundle-publisher-controller",),
    (step(_another_trust), step(_no_trust)),
    nodes=0,
)


def crank_definition(**properties: str) -> Object:
    """Of a kind whose spec has these properties, each of its type."""
    spec = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {
        "metadata": {"name": "cranks.t.example.com"},
        "spec": {
            "group": "t.example.com",
            "scope": "Namespaced",
            "names": {"plural": "cranks", "singular": "crank", "kind": "Crank"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _policy(name: str, group: str, resource: str, expression: str) -> Object:
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["*"]}
    constraints = {"resourceRules": [rule]}
    return {
        "metadata": {"name": name},
        "spec": {"matchConstraints": constraints, "validations": [{"expression": expression}]},
    }


POLICIES = Scenario(
    "policies that do not fit what they match, which changes",
    ("validatingadmissionpolicy-status-controller",),
    (
        step(
            create(VALIDATINGADMISSIONPOLICIES, _policy("big", "apps", "deployments", "object.spec.size > 1"), None),
            create(
                VALIDATINGADMISSIONPOLICIES, _policy("own", "t.example.com", "cranks", "object.spec.size > 1"), None
            ),
        ),
        step(create(CUSTOMRESOURCEDEFINITIONS, crank_definition(size="string"), None)),
        step(
            patch(
                VALIDATINGADMISSIONPOLICIES,
                "big",
                {"spec": {"validations": [{"expression": "object.spec.replicas > 1"}]}},
                None,
            ),
            patch(
                CUSTOMRESOURCEDEFINITIONS,
                "cranks.t.example.com",
                {"spec": {"versions": crank_definition(size="integer")["spec"]["versions"]}},
                None,
            ),
        ),
        step(delete(CUSTOMRESOURCEDEFINITIONS, "cranks.t.example.com", None)),
    ),
    nodes=0,
)
