"""The one word that says how a pod is, and the rest of its row."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

from shirube.api.resources import BUILTIN
from shirube.api.table import printer_of, row
from shirube.foundation.clock import rfc3339

NOW = 1_750_000_000.0
PODS = BUILTIN.by_path("", "v1", "pods")


def cells(pod):
    metadata = {"name": "p", "creationTimestamp": rfc3339(NOW - 600), **pod.get("metadata", {})}
    return row(printer_of(PODS), {**pod, "metadata": metadata}, NOW, "None")["cells"]


def status(name="c", ready=False, restarts=0, last=None, started=None, **state):
    made = {"name": name, "ready": ready, "restartCount": restarts, "state": state}
    if last is not None:
        made["lastState"] = {"terminated": {"exitCode": 1, "finishedAt": rfc3339(last)}}
    if started is not None:
        made["started"] = started
    return made


def pod(*statuses, phase="Running", init=(), inits=(), names=None, **more):
    spec = {"containers": [{"name": s["name"]} for s in statuses] or [{"name": "c"}]}
    if init:
        spec["initContainers"] = list(init)
    made = {"phase": phase, "containerStatuses": list(statuses), "initContainerStatuses": list(inits)}
    return {"spec": spec, "status": {**made, **more}}


RUNNING = status(ready=True, running={})
DELETED = {"deletionTimestamp": rfc3339(NOW)}
STATES = [
    (pod(phase="Pending"), "0/1", "Pending", "0"),
    (pod(status(waiting={"reason": "ContainerCreating"}), phase="Pending"), "0/1", "ContainerCreating", "0"),
    (pod(status(waiting={"reason": "ImagePullBackOff"}), phase="Pending"), "0/1", "ImagePullBackOff", "0"),
    (pod(RUNNING), "1/1", "Running", "0"),
    (pod(status(running={})), "0/1", "Running", "0"),
    (pod(status(waiting={"reason": "CrashLoopBackOff"}, restarts=5, last=NOW - 300)), "0/1", "CrashLoopBackOff", "5 (5m ago)"),
    (pod(status(terminated={"exitCode": 0, "reason": "Completed"}), phase="Succeeded"), "0/1", "Completed", "0"),
    (pod(status(terminated={"exitCode": 1, "reason": "Error"}), phase="Failed"), "0/1", "Error", "0"),
    (pod(status(terminated={"exitCode": 137}), phase="Failed"), "0/1", "ExitCode:137", "0"),
    (pod(status(terminated={"exitCode": 137, "signal": 9}), phase="Failed"), "0/1", "Signal:9", "0"),
    (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted", "0"),
    ({**pod(RUNNING), "metadata": DELETED}, "1/1", "Terminating", "0"),
    ({**pod(RUNNING, reason="NodeLost"), "metadata": DELETED}, "1/1", "Unknown", "0"),
    ({**pod(phase="Succeeded"), "metadata": DELETED}, "0/1", "Succeeded", "0"),
    (pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]), "0/1", "SchedulingGated", "0"),
    (pod(phase="Pending", init=[{"name": "a"}, {"name": "b"}], inits=[status("a", running={}), status("b", waiting={"reason": "PodInitializing"})]), "0/1", "Init:0/2", "0"),
    (pod(phase="Pending", init=[{"name": "a"}, {"name": "b"}], inits=[status("a", terminated={"exitCode": 0}), status("b", running={})]), "0/1", "Init:1/2", "0"),
    (pod(phase="Pending", init=[{"name": "a"}], inits=[status("a", restarts=2, last=NOW - 60, terminated={"exitCode": 1, "reason": "Error"})]), "0/1", "Init:Error", "2 (60s ago)"),
    (pod(phase="Pending", init=[{"name": "a"}], inits=[status("a", waiting={"reason": "CrashLoopBackOff"})]), "0/1", "Init:CrashLoopBackOff", "0"),
    (pod(phase="Pending", init=[{"name": "a"}], inits=[status("a", terminated={"exitCode": 3})]), "0/1", "Init:ExitCode:3", "0"),
    (pod(RUNNING, init=[{"name": "s", "restartPolicy": "Always"}], inits=[status("s", ready=True, started=True, restarts=1, running={})]), "2/2", "Running", "1"),
    (pod(RUNNING, status("d", terminated={"exitCode": 0, "reason": "Completed"})), "1/2", "NotReady", "0"),
    (pod(status("d", terminated={"exitCode": 0, "reason": "Completed"}), RUNNING, conditions=[{"type": "Ready", "status": "True"}]), "1/2", "Running", "0"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "ready", "reason", "restarts"), STATES, ids=[f"{i}-{s[2]}" for i, s in enumerate(STATES)]
)
def test_states(given, ready, reason, restarts):
    assert cells(given)[1:4] == [ready, reason, restarts]


def test_the_whole_row():
    given = pod(RUNNING, podIPs=[{"ip": "10.244.0.5"}], conditions=[{"type": "a/b", "status": "True"}])
    given["spec"]["nodeName"] = "node-1"
    given["spec"]["readinessGates"] = [{"conditionType": "a/b"}, {"conditionType": "c/d"}]
    assert cells(given) == ["p", "1/1", "Running", "0", "10m", "10.244.0.5", "node-1", "<none>", "1/2"]
    assert cells(pod())[5:] == ["<none>", "<none>", "<none>", "<none>"]


def test_a_finished_pod_says_so_in_its_row():
    made = row(printer_of(PODS), {**pod(phase="Succeeded"), "metadata": {"name": "p"}}, NOW, "None")
    assert made["conditions"][0]["reason"] == "Succeeded"
    assert "conditions" not in row(printer_of(PODS), {**pod(), "metadata": {"name": "p"}}, NOW, "None")
