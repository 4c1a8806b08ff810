"""Policy bypass through init and ephemeral containers or envFrom (as in CVE-2023-2727, CVE-2023-2728, CVE-2024-3177).

Published flaw: a rule about containers looked at some kinds of containers, or some ways to refer to a secret, and not
at others. Here every rule is tried with every kind of container and every way.
"""

from __future__ import annotations

import pytest
from tests.apiserver.conftest import PODS, pod

NS = "/api/v1/namespaces/default"
KINDS = ("containers", "initContainers", "ephemeralContainers")


def with_container(kind: str, container: dict) -> dict:
    """Of a pod's spec: an ordinary container, and another of a kind."""
    plain = {"name": "app", "image": "i"}
    if kind == "containers":
        return {"containers": [plain, container]}
    return {"containers": [plain], kind: [container]}


async def create(api, kind, container, **headers):
    """The answer to a pod with a container of a kind: at once, or for ephemeral ones added to a running pod."""
    if kind != "ephemeralContainers":
        return await api.post(PODS, pod("p", **with_container(kind, container)), **headers)
    await api.ok("POST", PODS, pod("p"))
    body = {"spec": {"ephemeralContainers": [container]}}
    return await api.patch(f"{PODS}/p/ephemeralcontainers", body, kind="strategic-merge-patch+json", **headers)


# -- secrets that an account may not mount (kubernetes.io/enforce-mountable-secrets) -------------------------------

WAYS = {
    "envFrom": {"envFrom": [{"secretRef": {"name": "forbidden"}}]},
    "envFrom, second": {"envFrom": [{"configMapRef": {"name": "x"}}, {"secretRef": {"name": "forbidden"}}]},
    "envFrom, prefixed": {"envFrom": [{"prefix": "A_", "secretRef": {"name": "forbidden"}}]},
    "env": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "forbidden", "key": "k"}}}]},
    "env, second": {
        "env": [
            {"name": "A", "value": "b"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "forbidden", "key": "k"}}},
        ]
    },
}


@pytest.fixture
async def enforcing(pods):
    """The default account may mount the secret `allowed` only."""
    account = {
        "metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "allowed"}],
    }
    await pods.patch(f"{NS}/serviceaccounts/default", account)
    for name in ("allowed", "forbidden"):
        await pods.ok("POST", f"{NS}/secrets", {"metadata": {"name": name}})
    return pods


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_secrets_of_environments(enforcing, kind, way):
    answer = await create(enforcing, kind, {"name": "x", "image": "i", **WAYS[way]})
    assert answer.status == 403, answer.raw
    assert "does not reference that secret" in answer.message


@pytest.mark.parametrize("kind", KINDS)
async def test_secrets_that_are_allowed(enforcing, kind):
    answer = await create(enforcing, kind, {"name": "x", "image": "i", "envFrom": [{"secretRef": {"name": "allowed"}}]})
    assert answer.status in (200, 201), answer.raw


@pytest.mark.parametrize(
    "volume",
    [
        {"secret": {"secretName": "forbidden"}},
        {"projected": {"sources": [{"secret": {"name": "forbidden"}}]}},
        {"projected": {"sources": [{"downwardAPI": {}}, {"secret": {"name": "forbidden"}}]}},
    ],
)
async def test_secrets_of_volumes(enforcing, volume):
    answer = await enforcing.post(PODS, pod("p", volumes=[{"name": "v", **volume}]))
    assert answer.status == 403 and "does not reference that secret" in answer.message


async def test_pull_secrets(enforcing):
    answer = await enforcing.post(PODS, pod("p", imagePullSecrets=[{"name": "forbidden"}]))
    assert answer.status == 403 and "does not reference that imagePullSecret" in answer.message


# -- pod security --------------------------------------------------------------------------------------------------

BASELINE = {
    "privileged": {"securityContext": {"privileged": True}},
    "host port": {"ports": [{"containerPort": 80, "hostPort": 80}]},
    "capability": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
    "proc mount": {"securityContext": {"procMount": "Unmasked"}},
    "seccomp": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
    "apparmor": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    "selinux": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
}


@pytest.mark.parametrize("what", BASELINE)
@pytest.mark.parametrize("kind", KINDS)
async def test_pod_security(pods, kind, what):
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await pods.patch("/api/v1/namespaces/default", labels)
    answer = await create(pods, kind, {"name": "x", "image": "i", **BASELINE[what]})
    assert answer.status in (403, 422), answer.raw
    if answer.status == 403:
        assert 'violates PodSecurity "baseline:latest"' in answer.message


GOOD = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}


@pytest.mark.parametrize("missing", GOOD)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
async def test_restricted_pod_security(pods, kind, missing):
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await pods.patch("/api/v1/namespaces/default", labels)
    context = {key: value for key, value in GOOD.items() if key != missing}
    spec = with_container(kind, {"name": "x", "image": "i", "securityContext": context})
    spec["containers"][0]["securityContext"] = GOOD
    answer = await pods.post(PODS, pod("p", **spec))
    assert answer.status == 403 and 'violates PodSecurity "restricted:latest"' in answer.message


async def test_a_running_pod_is_not_made_privileged_by_other_ways(pods):
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await pods.patch("/api/v1/namespaces/default", labels)
    await pods.ok("POST", PODS, pod("p"))
    bad = {"containers": [{"name": "app", "image": "i", "securityContext": {"privileged": True}}]}
    for target in (f"{PODS}/p", f"{PODS}/p/resize", f"{PODS}/p/status", f"{PODS}/p/ephemeralcontainers"):
        await pods.patch(target, {"spec": bad})
    spec = (await pods.ok("GET", f"{PODS}/p"))["spec"]
    assert not (spec["containers"][0].get("securityContext") or {}).get("privileged")


# -- limits and quota ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
async def test_limit_ranges(pods, kind):
    limits = [{"type": "Container", "max": {"cpu": "1"}}]
    await pods.ok("POST", f"{NS}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}})
    answer = await create(pods, kind, {"name": "x", "image": "i", "resources": {"limits": {"cpu": "2"}}})
    assert answer.status == 403 and "maximum cpu usage per Container is 1" in answer.message


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
async def test_quota(pods, kind, always):
    await pods.ok("POST", f"{NS}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1"}}})
    container = {"name": "x", "image": "i", "resources": {"requests": {"cpu": "2"}}}
    if always and kind == "initContainers":
        container["restartPolicy"] = "Always"
    spec = with_container(kind, container)
    spec["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    answer = await pods.post(PODS, pod("p", **spec))
    assert answer.status == 403 and "exceeded quota" in answer.message


# -- admission policies see all kinds ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
async def test_policies_are_asked_about_every_way_to_add_a_container(pods, kind):
    root = "/apis/admissionregistration.k8s.io/v1"
    rules = [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["pods", "pods/ephemeralcontainers"],
        }
    ]
    every = " && ".join(
        f"(!has(object.spec.{k}) || object.spec.{k}.all(c, !c.image.startsWith('evil/')))" for k in KINDS
    )
    spec = {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": every}]}
    await pods.ok("POST", f"{root}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
    binding = {"policyName": "p", "validationActions": ["Deny"]}
    await pods.ok("POST", f"{root}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": binding})
    answer = await create(pods, kind, {"name": "x", "image": "evil/i"})
    assert answer.status == 422 and "failed expression" in answer.message
