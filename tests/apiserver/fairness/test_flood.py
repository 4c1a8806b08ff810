"""A server with few seats under a flood: the flood waits or is sent away, others are served."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.apiserver.conftest import CONFIGMAPS, configmap

from shirube.apiserver.fairness import Fairness
from shirube.apiserver.user import User
from shirube.foundation import tasks
from shirube.serving.messages import Request, Response

FLOOD = User("flood", groups=("system:masters-not", "system:authenticated"))
SCHEDULER = User("system:kube-scheduler", groups=("system:authenticated",))
EVERYTHING = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


class ByHeader:
    """The user that a header names."""

    def __init__(self, real):
        self.tokens, self.audiences = real.tokens, real.audiences
        self.users = {user.name: user for user in (FLOOD, SCHEDULER)}

    async def authenticate(self, headers, peer, remarks=None):
        name = headers.get("x-test-user") or "admin"
        return self.users.get(name) or User(name, groups=("system:masters", "system:authenticated"))


@pytest.fixture
async def small(api):
    """Ten seats for all; whoever reads config maps does so until `gate` is opened."""
    everybody = [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    await api.ok("POST", EVERYTHING, {"metadata": {"name": "all"}, "roleRef": role, "subjects": everybody})
    view = {"metadata": {"name": "view"}, "rules": [{"apiGroups": [""], "resources": ["*"], "verbs": ["*"]}]}
    await api.put("/apis/rbac.authorization.k8s.io/v1/clusterroles/view", view)
    api.context.authenticator = ByHeader(api.context.authenticator)
    api.context.fairness = Fairness(api.context, 10)
    return api


@asynccontextmanager
async def blocked(monkeypatch):
    """Reading a config map lasts until the gate is opened."""
    gate = asyncio.Event()
    from shirube.apiserver import routes

    real = routes.resource_route

    def slow(server, rc):
        handler = real(server, rc)
        if rc.info.resource != "configmaps":
            return handler

        async def waiting(server, rc):
            await gate.wait()
            return await handler(server, rc)

        return waiting

    monkeypatch.setattr(routes, "resource_route", slow)
    yield gate
    gate.set()


async def call(api, path, user, method="GET"):
    answer = await api.server.handle(Request.of(method, path, [("X-Test-User", user)]))
    assert isinstance(answer, Response)
    return answer


async def settled(api, level, waiting):
    async with asyncio.timeout(60):
        while level.waiting < waiting:
            await asyncio.sleep(0)


async def test_others_are_served_while_a_flood_waits(small, monkeypatch):
    levels = small.context.fairness
    async with blocked(monkeypatch) as gate:
        flood = [tasks.spawn(call(small, CONFIGMAPS, "flood"), name=f"flood{n}") for n in range(100)]
        await asyncio.sleep(0)
        global_default = levels.levels.by_name["global-default"]
        await settled(small, global_default, 50)
        assert global_default.seats <= levels.levels.limit(global_default) < 50
        # a component of the system, an administrator and a probe are served at once
        for path, user in (
            ("/api/v1/nodes", "system:kube-scheduler"),
            ("/api/v1/nodes", "admin"),
            ("/livez", "flood"),
        ):
            async with asyncio.timeout(60):
                assert (await call(small, path, user)).status == 200, path
        # so is another user of the flood's own level, before the flood is through
        other = tasks.spawn(call(small, "/api/v1/namespaces/default/secrets", "polite"), name="polite")
        small.context.authenticator.users["polite"] = User("polite", groups=("system:authenticated",))
        gate.set()
        async with asyncio.timeout(60):
            await other
            answers = await asyncio.gather(*flood)
    assert {answer.status for answer in answers} == {200}
    assert all(level.seats == level.waiting == 0 for level in levels.levels.by_name.values())


async def test_a_flood_that_fills_its_queues_is_sent_away(small, monkeypatch):
    queuing = {"queues": 4, "handSize": 1, "queueLengthLimit": 5}
    limited = {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Queue", "queuing": queuing}}
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/global-default"
    body = {"metadata": {"name": "global-default"}, "spec": {"type": "Limited", "limited": limited}}
    answer = await call(small, path, "admin")
    assert answer.status == 200
    await small.put(path, body, x_test_user="admin")
    async with blocked(monkeypatch) as gate:
        flood = [tasks.spawn(call(small, CONFIGMAPS, "flood"), name=f"flood{n}") for n in range(100)]
        async with asyncio.timeout(60):
            while sum(task.done() for task in flood) < 80:
                await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*flood)
    refused = [a for a in answers if a.status == 429]
    assert len(refused) >= 80 and all(("Retry-After", "1") in a.headers for a in refused)
    assert all(any(name == "X-Kubernetes-PF-FlowSchema-UID" for name, _ in a.headers) for a in refused)
    text = (await call(small, "/metrics", "admin")).body.decode()
    label = 'flow_schema="global-default",priority_level="global-default"'
    assert f'apiserver_flowcontrol_rejected_requests_total{{{label},reason="queue-full"}} {len(refused)}.0' in text
    for name in (
        f"apiserver_flowcontrol_dispatched_requests_total{{{label}}} {len(answers) - len(refused)}.0",
        f"apiserver_flowcontrol_current_executing_seats{{{label}}} 0.0",
        f"apiserver_flowcontrol_current_inqueue_requests{{{label}}} 0.0",
        'apiserver_flowcontrol_nominal_limit_seats{priority_level="global-default"} 1.0',
        f'apiserver_flowcontrol_request_wait_duration_seconds_count{{execute="false",{label}}} {len(refused)}.0',
        f"apiserver_flowcontrol_request_execution_seconds_count{{{label}}}",
        f"apiserver_flowcontrol_work_estimated_seats_count{{{label}}}",
    ):
        assert name in text, name


async def test_long_lists_take_more_seats(small):
    small.context.fairness = fairness = Fairness(small.context, 200)
    for n in range(250):
        await small.ok("POST", CONFIGMAPS, configmap(f"c{n}"), x_test_user="admin")
    seen = []
    real = fairness.levels.try_take

    def noted(level, seats=1, flow=""):
        seen.append((level.name, seats))
        return real(level, seats, flow)

    fairness.levels.try_take = noted
    for query in ("", "?limit=120", "?limit=10", "?limit=10&labelSelector=a", "?watch=true&timeoutSeconds=1"):
        answer = await call(small, CONFIGMAPS + query, "flood")
        assert answer.status == 200, query
        if not isinstance(answer.body, bytes):
            await answer.body.aclose()
    widest = fairness.levels.by_name["global-default"].widest
    assert 1 < widest <= 10
    assert [seats for _, seats in seen] == [min(3, widest), min(2, widest), 1, min(3, widest), min(3, widest)]


async def test_a_list_holds_its_seats_until_it_has_been_sent(small):
    fairness = small.context.fairness
    for n in range(12):
        await small.ok("POST", CONFIGMAPS, configmap(f"c{n}", text="x" * 60_000), x_test_user="admin")
    level = fairness.levels.by_name["global-default"]
    read, closed = await call(small, CONFIGMAPS, "flood"), await call(small, CONFIGMAPS, "flood")
    assert level.seats == 2
    async for _ in read.body:
        pass
    assert level.seats == 1
    await anext(closed.body)
    assert level.seats == 1
    await closed.body.aclose()
    assert level.seats == level.running == 0
    await closed.body.aclose()
    assert level.seats == 0
