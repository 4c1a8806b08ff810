"""Phases, conditions and container states, by table."""

from __future__ import annotations

import pytest
from fake_api import FakeApi

from shirube.kubelet.container_status import View
from shirube.kubelet.plan import Waiting
from shirube.kubelet.pod_status import Overall, pod_status
from shirube.kubelet.runtime_state import EXITED, RUNNING, Container, PodRuntime, Sandbox
from shirube.kubelet.status_writer import StatusWriter

NOW = 1_000_000.0
BOX = Sandbox("box", 0, True, 1, ("10.0.0.1",))


def pod(*names, init=(), policy="Always", gates=(), status=None):
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3},
        "spec": {
            "containers": [{"name": name, "image": "i"} for name in names],
            "initContainers": list(init),
            "restartPolicy": policy,
            "readinessGates": [{"conditionType": gate} for gate in gates],
        },
        "status": status or {},
    }


def record(name, state=RUNNING, code=0, attempt=0):
    return Container(f"{name}{attempt}", name, attempt, state, "box", 1, 10**9, 2 * 10**9, code, image="i")


def status(p, *records, finished=False, waiting=None, reason="", **view):
    newest = tuple(sorted(records, key=lambda c: -c.attempt))
    shown = View(PodRuntime((BOX,), newest), waiting or {}, **view)
    return pod_status(p, shown, Overall(("10.9.9.9",), NOW, finished, reason))


def conditions(found):
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found["conditions"]}


@pytest.mark.parametrize(
    ("p", "records", "finished", "phase"),
    [
        (pod("a"), (), False, "Pending"),
        (pod("a"), (record("a"),), False, "Running"),
        (pod("a", "b"), (record("a"),), False, "Pending"),
        (pod("a"), (record("a", EXITED, 1),), False, "Running"),
        (pod("a", policy="Never"), (record("a", EXITED, 1),), True, "Failed"),
        (pod("a", policy="Never"), (record("a", EXITED, 0),), True, "Succeeded"),
        (pod("a", "b", policy="Never"), (record("a", EXITED, 1), record("b")), False, "Running"),
        (pod("a", init=[{"name": "i"}]), (record("i"),), False, "Pending"),
        (pod("a", init=[{"name": "i"}], policy="Never"), (record("i", EXITED, 1),), True, "Failed"),
    ],
)
def test_phases(p, records, finished, phase):
    assert status(p, *records, finished=finished)["phase"] == phase


def test_a_final_phase_waits_until_nothing_runs():
    init = [{"name": "s", "restartPolicy": "Always"}]
    p = pod("a", init=init, policy="Never", status={"phase": "Running"})
    assert status(p, record("a", EXITED), record("s"), finished=True)["phase"] == "Running"
    assert status(p, record("a", EXITED), record("s", EXITED), finished=True)["phase"] == "Succeeded"
    assert status(p, record("a"), reason="Evicted")["phase"] == "Running"
    assert status(p, record("a", EXITED, 137), reason="Evicted")["phase"] == "Failed"


def test_a_running_pod_is_ready():
    found = status(pod("a"), record("a"))
    assert {kind: row[0] for kind, row in conditions(found).items()} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert all(c["observedGeneration"] == 3 for c in found["conditions"])
    assert found["observedGeneration"] == 3
    assert found["podIPs"] == [{"ip": "10.0.0.1"}] and found["hostIP"] == "10.9.9.9"


def test_why_it_is_not_ready():
    found = status(pod("a", "b"), record("a"), record("b"), ready=lambda cid: cid != "b0")
    unready = ("False", "ContainersNotReady", "containers with unready status: [b]")
    assert conditions(found)["Ready"] == conditions(found)["ContainersReady"] == unready
    found = status(pod("a", init=[{"name": "i"}]), record("i"))
    assert conditions(found)["Initialized"] == (
        "False",
        "ContainersNotInitialized",
        "containers with incomplete status: [i]",
    )


def test_readiness_gates():
    found = conditions(status(pod("a", gates=["x/y"]), record("a")))
    message = 'corresponding condition of pod readiness gate "x/y" does not exist.'
    assert found["Ready"] == ("False", "ReadinessGatesNotReady", message)
    assert found["ContainersReady"][0] == "True"
    met = {"conditions": [{"type": "x/y", "status": "True"}]}
    assert conditions(status(pod("a", gates=["x/y"], status=met), record("a")))["Ready"][0] == "True"


def test_container_states():
    crash = {"a": Waiting("CrashLoopBackOff", "back-off")}
    found = status(pod("a"), record("a", EXITED, 7, 1), record("a", EXITED, 6, 0), waiting=crash)
    container = found["containerStatuses"][0]
    assert container["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    assert container["lastState"]["terminated"]["exitCode"] == 7
    assert container["restartCount"] == 1
    running = status(pod("a"), record("a", attempt=1), record("a", EXITED, 6, 0))["containerStatuses"][0]
    assert running["lastState"]["terminated"] == {
        "exitCode": 6,
        "reason": "Error",
        "startedAt": "1970-01-01T00:00:01Z",
        "finishedAt": "1970-01-01T00:00:02Z",
        "containerID": "containerd://a0",
    }
    assert status(pod("a"))["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_a_transition_keeps_its_time():
    known = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "then"}]}
    found = status(pod("a", status=known), record("a"))
    assert next(c for c in found["conditions"] if c["type"] == "Ready")["lastTransitionTime"] == "then"


def test_a_container_that_vanished_is_told_when_the_pod_ends():
    known = {"containerStatuses": [{"name": "a", "containerID": "containerd://x", "state": {"running": {}}}]}
    found = status(pod("a", policy="Never", status=known), finished=True, ending=True)
    assert found["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_what_somebody_else_writes_over_the_nodes_part_is_put_right():
    api = FakeApi()
    path = "/api/v1/namespaces/default/pods/p"
    api.put(path, {"metadata": {"uid": "u"}, "status": {}})
    writer = StatusWriter(api.client())
    wanted = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    writer.set(api.objects[path], wanted)
    await writer.flush("u")
    # Its own write coming back, and changes of others' parts, cost no write.
    writer.set(api.objects[path], wanted)
    api.put(path, {**api.objects[path], "status": {**wanted, "message": "by somebody"}})
    writer.set(api.objects[path], wanted)
    await writer.flush("u")
    assert len(api.status_patches) == 1
    api.put(path, {**api.objects[path], "status": {**wanted, "phase": "Failed"}})
    writer.set(api.objects[path], wanted)
    await writer.flush("u")
    assert api.objects[path]["status"]["phase"] == "Running" and len(api.status_patches) == 2
