from __future__ import annotations

from typing import Any

from tests.client.memory_api import MemoryApi

from shirube.api import errors
from shirube.api.gvr import EVENTS, EVENTS_V1
from shirube.client.events import Correlator, EventRecorder
from shirube.client.rest import Client
from shirube.foundation.clock import ManualClock

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "7"},
}


async def stored(client: Client, gvr=EVENTS) -> list[dict[str, Any]]:
    return (await client.list(gvr, "default"))["items"]


async def test_repetitions_are_counted(client: Client):
    recorder = EventRecorder(client, "kubelet", "n1")
    for _ in range(3):
        recorder.event(POD, "Warning", "BackOff", "back-off")
    recorder.event(POD, "Normal", "Started", "started")
    await recorder.close()
    backoff, started = sorted(await stored(client), key=lambda e: e["reason"])
    assert (backoff["count"], started["count"]) == (3, 1)
    assert backoff["involvedObject"]["resourceVersion"] == "7"
    assert backoff["source"] == {"component": "kubelet", "host": "n1"}
    assert backoff["metadata"]["name"].startswith("p.")


async def test_the_same_object_in_another_version_is_the_same(client: Client):
    recorder = EventRecorder(client, "deployment-controller")
    for version in range(14):
        pod = {**POD, "metadata": {**POD["metadata"], "resourceVersion": str(version)}}
        recorder.event(pod, "Warning", "FailedCreate", "no")
        recorder.event(pod, "Normal", "Scaled", f"to {version}")
    await recorder.close()
    events = await stored(client)
    assert [e["count"] for e in events if e["reason"] == "FailedCreate"] == [13], "25 at once about one object"
    assert len([e for e in events if e["reason"] == "Scaled"]) == 10, "the others are combined"


async def test_similar_events_are_combined(client: Client):
    recorder = EventRecorder(client, "kubelet")
    for n in range(14):
        recorder.event(POD, "Warning", "Failed", f"message {n}")
    await recorder.close()
    events = await stored(client)
    assert len(events) == 10
    combined = [e for e in events if e["message"].startswith("(combined from similar events): ")]
    assert [e["count"] for e in combined] == [5]


def test_an_object_that_is_talked_about_too_much_is_silenced():
    clock = ManualClock()
    correlator = Correlator(clock)
    assert [correlator.admit(("a",)) for _ in range(26)] == [True] * 25 + [False]
    assert correlator.admit(("b",))
    clock.advance(301)
    assert correlator.admit(("a",))


async def test_an_event_that_expired_is_written_anew_with_its_count(client: Client):
    recorder = EventRecorder(client, "kubelet")
    recorder.event(POD, "Normal", "Pulled", "x")
    await recorder.close()
    await client.delete(EVENTS, (await stored(client))[0]["metadata"]["name"], "default")
    recorder.event(POD, "Normal", "Pulled", "x")
    await recorder.close()
    assert [e["count"] for e in await stored(client)] == [2]


async def test_a_full_queue_drops_and_a_rejection_is_final(api: MemoryApi, client: Client):
    def refuse(method: str, path: str) -> None:
        raise errors.forbidden("events", "", "the namespace is being terminated")

    api.fault = refuse
    recorder = EventRecorder(client, "kubelet")
    for n in range(1500):
        recorder.event({**POD, "metadata": {"name": f"p{n}", "namespace": "default"}}, "Normal", "A", "b")
    await recorder.close()
    assert len(api.requests) == 1000


async def test_the_scheduler_writes_the_new_form(client: Client):
    recorder = EventRecorder(client, "default-scheduler", style="events.k8s.io")
    for _ in range(2):
        recorder.event(POD, "Normal", "Scheduled", "done", action="Binding")
    await recorder.close()
    (event,) = await stored(client, EVENTS_V1)
    assert event["reportingController"] == "default-scheduler"
    assert event["action"] == "Binding"
    assert event["series"]["count"] == 2


def test_which_messages_are_known_depends_on_their_order_alone():
    correlator = Correlator()
    for n in range(10):
        correlator.combine(("group",), f"m{n}")
    assert correlator.combine(("group",), "m9") == ("m9", "m9"), "told a moment ago"
    assert correlator.combine(("group",), "m0") == ("(combined from similar events): m0", ""), "told longest ago"
