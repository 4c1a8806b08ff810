"""Events, by the core API and by events.k8s.io: one store, two forms."""

from __future__ import annotations

import pytest
from tests.cluster.conformance.api import STRATEGIC, refused

TIME = "2026-01-02T03:04:05.000000Z"


def core_event(name: str, ns: str, **labels: str):
    return {
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "message": f"This is {name}",
        "reason": "Test",
        "type": "Normal",
        "count": 1,
        "involvedObject": {"namespace": ns},
    }


@pytest.mark.conformance("[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]")
def test_lifecycle(api, ns):
    events = api.at("v1", "events", ns)
    events.create(core_event("event-test", ns, **{"testevent-constant": ns}))
    [found] = events.everywhere().items(f"testevent-constant={ns}")
    assert found["metadata"]["name"] == "event-test"
    events.patch("event-test", {"message": "This is a test event - patched"}, STRATEGIC)
    assert events.get("event-test")["message"] == "This is a test event - patched"
    series = {"count": 100, "lastObservedTime": "2014-12-31T18:30:00.000000Z"}
    events.edit("event-test", lambda o: o.update(series=series))
    assert events.get("event-test")["series"] == series
    events.delete("event-test")
    assert events.everywhere().items(f"testevent-constant={ns}") == []


@pytest.mark.conformance("[sig-instrumentation] Events should delete a collection of events [Conformance]")
def test_delete_collection(api, ns):
    events = api.at("v1", "events", ns)
    for number in (1, 2, 3):
        events.create(core_event(f"test-event-{number}", ns, **{"testevent-set": "true"}))
    assert len(events.items("testevent-set=true")) == 3
    events.delete_all("testevent-set=true")
    assert events.items("testevent-set=true") == []


def new_event(name: str, ns: str, **labels: str):
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "regarding": {"kind": "Namespace", "name": ns, "namespace": ns},
        "note": f"This is {name}",
        "eventTime": TIME,
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
    }


@pytest.mark.conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed "
    "[Conformance]"
)
def test_events_api(api, ns):
    events = api.at("events.k8s.io/v1", "events", ns)
    label = f"testevent-constant={ns}"
    made = events.create(new_event("event-test", ns, **{"testevent-constant": ns}))
    assert made["note"] == "This is event-test" and made["eventTime"] == TIME
    for scope in (events, events.everywhere()):
        assert [e["metadata"]["name"] for e in scope.items(label)] == ["event-test"]
    # The reporting controller can be selected by field.
    assert len(events.items(fieldSelector="reportingController=test-controller")) == 1
    assert events.items(fieldSelector="reportingController=another") == []
    events.patch("event-test", {"series": {"count": 2, "lastObservedTime": TIME}}, STRATEGIC)
    assert events.get("event-test")["series"] == {"count": 2, "lastObservedTime": TIME}
    later = {"count": 100, "lastObservedTime": "2026-01-02T03:04:15.000000Z"}
    events.edit("event-test", lambda o: o.update(series=later))
    found = events.get("event-test")
    assert found["series"] == later and found["note"] == "This is event-test"
    # The core API shows the same event in its own words.
    core = api.at("v1", "events", ns).get("event-test")
    assert core["message"] == "This is event-test" and core["involvedObject"]["name"] == ns
    events.delete("event-test")
    with refused(404, "NotFound"):
        events.get("event-test")
    for scope in (events, events.everywhere()):
        assert scope.items(label) == []


@pytest.mark.conformance("[sig-instrumentation] Events API should delete a collection of events [Conformance]")
def test_events_api_delete_collection(api, ns):
    events = api.at("events.k8s.io/v1", "events", ns)
    for number in (1, 2, 3):
        events.create(new_event(f"test-event-{number}", ns, **{"testevent-set": "true"}))
    assert len(events.items("testevent-set=true")) == 3
    events.delete_all("testevent-set=true")
    assert events.items("testevent-set=true") == []
