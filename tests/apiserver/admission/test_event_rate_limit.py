"""EventRateLimit: buckets on the clock, and events that a server refuses."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.apiserver.admission.event_rate_limit import Buckets, Limit
from shirube.apiserver.user import User
from shirube.foundation.clock import ManualClock

NS = "/api/v1/namespaces/default"
KIND = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}

# Steps of 1/64 s: exact in binary, so that the bound is exact, too.
steps = st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab")), max_size=60)


@given(steps, st.integers(1, 9), st.integers(1, 5))
def test_within_any_time_no_more_than_the_burst_and_what_flows_in(taken, qps, burst):
    buckets, now = Buckets(Limit("Namespace", qps, burst, 0)), 0.0
    passed: list[tuple[float, str]] = []
    for step, key in taken:
        now += step / 64
        if buckets.take((key,), now):
            passed.append((now, key))
    for key in "ab":
        times = [when for when, of in passed if of == key]
        for first, begin in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + qps * (times[last] - begin)


@given(steps, st.integers(1, 9), st.integers(1, 5))
def test_who_waits_is_let_in(taken, qps, burst):
    """A bucket left alone for 1/qps has a token, for burst/qps all of them; keys do not disturb each other."""
    buckets, now = Buckets(Limit("Namespace", qps, burst, 0)), 0.0
    alone, passed = Buckets(Limit("Namespace", qps, burst, 0)), []
    for step, key in taken:
        now += step / 64
        passed.append((key, buckets.take((key,), now)))
    now_alone = 0.0
    of_a = []
    for step, key in taken:
        now_alone += step / 64
        if key == "a":
            of_a.append(alone.take(("a",), now_alone))
    assert of_a == [took for key, took in passed if key == "a"]
    assert buckets.take(("a",), now + 1 / qps + 0.001)
    later = now + 1 / qps + 0.001 + burst / qps + 0.001
    assert [buckets.take(("a",), later) for _ in range(burst + 1)] == [True] * burst + [False]


def test_only_the_keys_used_last_are_remembered():
    buckets = Buckets(Limit("User", 1, 1, 2))
    assert buckets.take(("a",), 0.0) and buckets.take(("b",), 0.0)
    assert not buckets.take(("a",), 0.0)
    assert buckets.take(("c",), 0.0), "which takes the place of b"
    assert not buckets.take(("a",), 0.0)
    assert buckets.take(("b",), 0.0)
    assert len(buckets._held) == 2


def event(name, namespace="default", about="p", **more):
    involved = {"kind": "Pod", "namespace": namespace, "name": about}
    return {"metadata": {"name": name, "namespace": namespace}, "involvedObject": involved, **more}


def limits(*items):
    return {**KIND, "limits": [{"type": kind, "qps": qps, "burst": burst} for kind, qps, burst in items]}


async def test_a_namespace_has_so_many(start):
    clock = ManualClock()
    async with start(clock=clock, EventRateLimit=limits(("Namespace", 1, 2))) as api:
        statuses = [(await api.post(f"{NS}/events", event(f"e{n}"))).status for n in range(3)]
        assert statuses == [201, 201, 429]
        answer = await api.post(f"{NS}/events", event("e9"))
        assert answer.json["reason"] == "TooManyRequests"
        assert answer.message == "Too many requests: limit reached on type Namespace for key default"
        assert (await api.post(f"{NS}/configmaps", {"metadata": {"name": "other"}})).status == 201
        elsewhere = "/api/v1/namespaces/kube-system/events"
        assert (await api.post(elsewhere, event("e", "kube-system"))).status == 201
        clock.advance(1)
        assert (await api.patch(f"{NS}/events/e0", {"message": "again"})).status == 200, "updates count, too"
        assert (await api.patch(f"{NS}/events/e0", {"message": "once more"})).status == 429
        assert (await api.delete(f"{NS}/events/e0")).status == 200
        assert (await api.post(f"{NS}/events?dryRun=All", event("e9"))).status == 201


async def test_the_newer_api_of_events_is_no_way_around(start):
    async with start(clock=ManualClock(), EventRateLimit=limits(("Server", 1, 1))) as api:
        newer = {
            "metadata": {"name": "e", "namespace": "default"},
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "e.x/c",
            "reportingInstance": "c-1",
            "action": "Go",
            "reason": "Went",
            "type": "Normal",
        }
        path = "/apis/events.k8s.io/v1/namespaces/default/events"
        assert (await api.post(path, newer)).status == 201
        answer = await api.post(path, {**newer, "metadata": {"name": "f", "namespace": "default"}})
        assert (answer.status, answer.message) == (429, "Too many requests: limit reached on type Server for key ")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("User", {"jane": 1, "john": 1}), ("SourceAndObject", {"jane": 2, "john": 2})],
)
async def test_whose_they_are(start, kind, expected):
    async with start(clock=ManualClock(), EventRateLimit=limits((kind, 1, 1))) as api:
        passed: Counter[str] = Counter()
        for user in ("jane", "john"):
            api.context.authenticator.user = User(user, groups=("system:masters",))
            for n, about in enumerate(("p", "q", "p")):
                source = {"component": user}
                answer = await api.post(f"{NS}/events", event(f"{user}{n}", about=about, source=source))
                passed[user] += answer.status == 201
        assert dict(passed) == expected


async def test_every_limit_takes_its_token(start):
    """As upstream: an event that one limit refuses has been counted by the others."""
    clock = ManualClock()
    async with start(clock=clock, EventRateLimit=limits(("Server", 1, 3), ("SourceAndObject", 1, 1))) as api:
        assert [(await api.post(f"{NS}/events", event(f"e{n}"))).status for n in range(3)] == [201, 429, 429]
        answer = await api.post(f"{NS}/events", event("other", about="q"))
        assert answer.status == 429 and "on type Server" in answer.message
