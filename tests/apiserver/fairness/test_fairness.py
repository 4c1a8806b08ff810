"""Requests classified by the stored objects, limited by their levels."""

from __future__ import annotations

import asyncio

from tests.apiserver.conftest import ADMIN

from shirube.apiserver.user import User

FLOWCONTROL = "/apis/flowcontrol.apiserver.k8s.io/v1"
NAMESPACE = "/api/v1/namespaces/default"


async def uid(api, resource, name):
    return (await api.ok("GET", f"{FLOWCONTROL}/{resource}/{name}"))["metadata"]["uid"]


async def classes(api, path):
    answer = await api.get(path)
    return (
        answer.header("X-Kubernetes-PF-FlowSchema-UID"),
        answer.header("X-Kubernetes-PF-PriorityLevel-UID"),
    )


async def test_answers_say_how_they_were_classified(api):
    exempt = [await uid(api, "flowschemas", "exempt")], [await uid(api, "prioritylevelconfigurations", "exempt")]
    default = (
        [await uid(api, "flowschemas", "global-default")],
        [await uid(api, "prioritylevelconfigurations", "global-default")],
    )
    assert await classes(api, NAMESPACE) == exempt
    api.context.authenticator.user = User("jane", groups=("system:authenticated",))
    assert await classes(api, NAMESPACE) == default
    probes = await classes(api, "/healthz")
    assert probes[1] == exempt[1] and probes[0] != exempt[0]


async def test_schemas_of_ones_own_take_effect_at_once(api):
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}
    limited["borrowingLimitPercent"] = 0
    body = {"metadata": {"name": "none"}, "spec": {"type": "Limited", "limited": limited}}
    await api.ok("POST", f"{FLOWCONTROL}/prioritylevelconfigurations", body)
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    subjects = [{"kind": "User", "user": {"name": "jane"}}]
    spec = {
        "matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "none"},
        "rules": [{"subjects": subjects, "resourceRules": [rule]}],
    }
    await api.ok("POST", f"{FLOWCONTROL}/flowschemas", {"metadata": {"name": "jane"}, "spec": spec})
    api.context.authenticator.user = User("jane", groups=("system:authenticated",))
    answer = await api.get(f"{NAMESPACE}/configmaps")
    assert answer.status == 429 and answer.header("retry-after") == ["1"]
    assert answer.message == "Too many requests, please try again later."
    # Only what the rule says: a cluster-scoped read is not meant.
    assert (await api.get("/api/v1/nodes")).status == 403
    # Watches need a seat to begin; what lasts otherwise does not.
    assert (await api.get(f"{NAMESPACE}/configmaps?watch=true")).status == 429
    assert (await api.get(f"{NAMESPACE}/pods/x/log")).status == 403


async def test_seats_are_given_back_whatever_happens(api):
    api.context.authenticator.user = User("jane", groups=("system:authenticated",))
    await asyncio.gather(*(api.get(f"{NAMESPACE}/configmaps") for _ in range(50)))
    assert all(level.running == 0 for level in api.context.fairness.levels.by_name.values())
    api.context.authenticator.user = ADMIN
    metrics = (await api.get("/metrics")).raw.decode()
    named = '{flow_schema="global-default",priority_level="global-default"}'
    assert f"apiserver_flowcontrol_dispatched_requests_total{named} 50.0" in metrics
