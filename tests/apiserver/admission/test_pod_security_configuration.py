"""Pod Security by default: what holds where labels say nothing, and who is exempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import ADMIN, PODS, pod

from shirube.apiserver.admission.pod_security.policy import LEVELS, MODES, PREFIX, Policy, Standard, of_labels
from shirube.apiserver.admission.request import AdmissionRequest
from shirube.apiserver.user import User

KIND = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(name, **spec):
    labels = {"a": "b"}
    template = {"metadata": {"labels": labels}, "spec": {**pod("x")["spec"], **spec}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def policy(enforce="privileged:latest", audit="privileged:latest", warn="privileged:latest"):
    return Policy(*(Standard(*each.split(":")) for each in (enforce, audit, warn)))


@pytest.mark.parametrize(
    ("labels", "defaults", "holds"),
    [
        ({}, policy("baseline:v1.30"), policy("baseline:v1.30")),
        ({"app": "x"}, policy(audit="restricted:latest"), policy(audit="restricted:latest")),
        ({"enforce": "privileged"}, policy("baseline:v1.30"), policy("privileged:v1.30")),
        ({"enforce-version": "v1.2"}, policy("baseline:latest"), policy("baseline:v1.2")),
        ({"audit": "baseline"}, policy("restricted:latest"), policy("restricted:latest", "baseline:latest")),
        # Who does not say what to warn of is warned of what is enforced, if that is stricter.
        ({"enforce": "baseline"}, policy(), policy("baseline:latest", warn="baseline:latest")),
        (
            {"enforce": "restricted", "enforce-version": "v1.20"},
            policy(warn="baseline:latest"),
            policy("restricted:v1.20", warn="restricted:v1.20"),
        ),
        (
            {"enforce": "restricted", "enforce-version": "v1.20", "warn-version": "v1.21"},
            policy(),
            policy("restricted:v1.20", warn="restricted:v1.21"),
        ),
        ({"enforce": "baseline", "warn": "privileged"}, policy(), policy("baseline:latest")),
        (
            {"enforce": "baseline"},
            policy(warn="restricted:latest"),
            policy("baseline:latest", warn="restricted:latest"),
        ),
        # What is wrong is strict where it refuses and nothing where it only tells.
        ({"enforce": "tight", "audit": "tight", "warn": "tight"}, policy(), policy("restricted:latest")),
        (
            {"enforce": "baseline", "enforce-version": "1"},
            policy(warn="baseline:v1.9"),
            policy("baseline:latest", warn="baseline:v1.9"),
        ),
    ],
)
def test_labels_and_defaults(labels, defaults, holds):
    full = {key if key == "app" else PREFIX + key: value for key, value in labels.items()}
    assert of_labels(full, defaults) == holds


standards = st.builds(Standard, st.sampled_from(LEVELS), st.sampled_from(("latest", "v1.20")))
policies = st.builds(Policy, standards, standards, standards)
keys = st.sampled_from([PREFIX + mode + end for mode in MODES for end in ("", "-version")])
labellings = st.dictionaries(keys, st.sampled_from((*LEVELS, "latest", "v1.3", "nonsense")))


@given(labellings, policies)
def test_laws_of_labels(labels, defaults):
    found = of_labels(labels, defaults)
    assert all(standard.level in LEVELS for standard in found)
    for mode in MODES:
        said = labels.get(PREFIX + mode)
        if said in LEVELS:
            assert getattr(found, mode).level == said
        elif said is None and mode != "warn":
            assert getattr(found, mode).level == getattr(defaults, mode).level
    said = labels.get(PREFIX + "enforce")
    if said in LEVELS and PREFIX + "warn" not in labels:
        assert LEVELS.index(found.warn.level) >= LEVELS.index(found.enforce.level), "nobody is refused unwarned"
    whole = {PREFIX + mode: getattr(found, mode).level for mode in MODES}
    whole |= {f"{PREFIX}{mode}-version": getattr(found, mode).version for mode in MODES}
    assert of_labels(whole, defaults) == found, "saying what holds changes nothing"


async def test_namespaces_that_say_nothing(start):
    defaults = {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"}
    async with start(PodSecurity={**KIND, "defaults": defaults}) as api:
        answer = await api.post(PODS, pod("p", hostNetwork=True))
        assert answer.status == 403
        assert answer.message.startswith(
            'pods "p" is forbidden: violates PodSecurity "baseline:v1.30": host namespaces'
        )
        answer = await api.post(PODS, pod("p"))
        assert answer.status == 201
        assert any('would violate PodSecurity \\"restricted:latest\\"' in w for w in answer.warnings)
        answer = await api.post(DEPLOYMENTS, deployment("d", hostNetwork=True))
        assert answer.status == 201 and any("host namespaces" in w for w in answer.warnings)
        own = {PREFIX + "enforce": "privileged", PREFIX + "warn": "privileged"}
        await api.ok("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": own}}, content_type=MERGE)
        answer = await api.post(PODS, pod("q", hostNetwork=True))
        assert (answer.status, answer.warnings) == (201, [])


MERGE = "application/merge-patch+json"


async def test_templates_are_warned_of_what_is_enforced(start):
    async with start() as api:
        labels = {PREFIX + "enforce": "baseline"}
        await api.ok("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": labels}}, content_type=MERGE)
        answer = await api.post(DEPLOYMENTS, deployment("d", hostNetwork=True))
        assert answer.status == 201
        assert any('would violate PodSecurity \\"baseline:latest\\": host namespaces' in w for w in answer.warnings)


@pytest.fixture
async def strict(start):
    exemptions = {"usernames": ["builder"], "runtimeClasses": ["sandbox"], "namespaces": ["kube-system"]}
    defaults = {"enforce": "restricted", "audit": "restricted", "warn": "restricted"}
    async with start(PodSecurity={**KIND, "defaults": defaults, "exemptions": exemptions}) as api:
        body = {"metadata": {"name": "sandbox"}, "handler": "sandbox"}
        await api.ok("POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
        await api.ok("POST", "/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "default"}})
        yield api


async def test_who_is_exempt(strict):
    assert (await strict.post(PODS, pod("p"))).status == 403
    answer = await strict.post(PODS, pod("sandboxed", runtimeClassName="sandbox"))
    assert (answer.status, answer.warnings) == (201, [])
    elsewhere = pod("p", hostNetwork=True)
    answer = await strict.post("/api/v1/namespaces/kube-system/pods", elsewhere)
    assert (answer.status, answer.warnings) == (201, [])
    strict.context.authenticator.user = User("builder", groups=("system:masters",))
    assert (await strict.post(PODS, pod("p", hostNetwork=True))).status == 201
    answer = await strict.post(DEPLOYMENTS, deployment("d"))
    assert (answer.status, answer.warnings) == (201, [])
    strict.context.authenticator.user = ADMIN
    assert (await strict.post(DEPLOYMENTS, deployment("e"))).warnings


async def test_an_exemption_is_noted(strict, monkeypatch):
    noted: dict[str, str] = {}
    monkeypatch.setattr(AdmissionRequest, "annotate", lambda self, key, value: noted.setdefault(key, value))
    await strict.ok("POST", PODS, pod("sandboxed", runtimeClassName="sandbox"))
    assert noted == {f"{PREFIX}exempt": "runtimeClass"}
    noted.clear()
    await strict.ok("POST", "/api/v1/namespaces/kube-system/pods", pod("p"))
    assert noted == {f"{PREFIX}exempt": "namespace"}


async def test_labels_that_loosen_a_default_need_no_look_at_pods(strict):
    """Existing pods are looked at when what is enforced becomes stricter, counted from the default."""
    strict.context.authenticator.user = User("builder", groups=("system:masters",))
    for name in ("a", "b"):
        await strict.ok("POST", PODS, pod(name, hostNetwork=True))
    namespace = "/api/v1/namespaces/default"

    async def labelled(level):
        answer = await strict.patch(namespace, {"metadata": {"labels": {PREFIX + "enforce": level}}})
        assert answer.status == 200
        return answer.warnings

    assert await labelled("restricted") == [], "as it was"
    assert await labelled("baseline") == []
    warnings = await labelled("restricted")
    assert "existing pods" in warnings[0] and "a (and 1 other pod): " in warnings[1]
    warnings = await strict.patch("/api/v1/namespaces/kube-system", {"metadata": {"labels": {PREFIX + "warn": "x"}}})
    assert warnings.status == 422
