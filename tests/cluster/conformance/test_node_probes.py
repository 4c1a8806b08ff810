"""Probes, and restarts with a growing pause: what takes minutes.

These pods are made when the session begins and looked at when everything else is done, so that waiting for them costs
little.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conformance.api import Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conformance.objects import condition, ready

from shirube.foundation.clock import SYSTEM, parse_rfc3339

S = "[sig-node] "
N = " [NodeConformance] [Conformance]"
# How long what must not happen is given to happen: several periods of each probe.
OBSERVED = 60.0
DELAY = 15

WEB = "mkdir -p /www; echo ok > /www/healthz; httpd -p 8080 -h /www; {}; exec sleep 3600"
HEALTHY = {"httpGet": {"path": "/healthz", "port": 8080}, "initialDelaySeconds": 5}
FILE = {"exec": {"command": ["/bin/cat", "/tmp/health"]}, "initialDelaySeconds": 5}
# For those that must stay: a machine with much to do may be late once, never three times in a row.
PATIENT = {"failureThreshold": 3, "initialDelaySeconds": 15}
ETCD = ["/bin/etcd", "--data-dir", "/data", "--listen-client-urls", "http://0.0.0.0:5000"]
ETCD += ["--advertise-client-urls", "http://localhost:5000", "--listen-peer-urls", "http://localhost:5001"]


def live(name: str, script: str | None, probe: Obj, **container: Any) -> Obj:
    probe = {"failureThreshold": 1, "timeoutSeconds": 5, "periodSeconds": 3, **probe}
    return tool_pod(tool(script, livenessProbe=probe, **container), name=name, restartPolicy="Always")


def grpc(name: str, port: int, **more: Any) -> Obj:
    """etcd answers grpc.health.v1 on port 5000."""
    probe = {"grpc": {"port": port}, "initialDelaySeconds": 10, **more}
    made = live(name, None, probe, command=ETCD, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    made["spec"]["volumes"] = [{"name": "data", "emptyDir": {"medium": "Memory"}}]
    return made


def waits_ready(name: str, script: str, probe: Obj) -> Obj:
    return tool_pod(tool(script, readinessProbe=probe), name=name, restartPolicy="Always")


PODS = [
    live("exec-well", "echo ok > /tmp/health; exec sleep 3600", {**FILE, **PATIENT}),
    live("exec-ill", "echo ok > /tmp/health; sleep 10; rm /tmp/health; exec sleep 3600", FILE),
    live("http-well", WEB.format("true"), {**HEALTHY, **PATIENT}),
    live("http-ill", WEB.format("sleep 10; rm /www/healthz"), HEALTHY),
    # Pages are missing after ten seconds, but the port stays open.
    live("tcp-well", WEB.format("sleep 10; rm /www/healthz"), {"tcpSocket": {"port": 8080}, **PATIENT}),
    grpc("grpc-well", 5000, **PATIENT),
    grpc("grpc-ill", 2333),
    live("again-and-again", WEB.format("sleep 2; rm /www/healthz"), {**HEALTHY, "periodSeconds": 1}),
    waits_ready("late", WEB.format("true"), {**HEALTHY, "initialDelaySeconds": DELAY, "periodSeconds": 1}),
    waits_ready("never", "exec sleep 3600", {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}),
    tool_pod(
        tool("exec sleep 3600", "run1"),
        name="init-fails",
        initContainers=[tool("exit 1", "init1"), tool("true", "init2")],
        restartPolicy="Always",
    ),
]


def restarts(pod: Obj) -> int:
    statuses = pod["status"].get("containerStatuses") or [{"restartCount": 0}]
    return int(statuses[0]["restartCount"])


def observed(batch: Batch, name: str) -> Obj:
    """The pod, once it is old enough for what might have happened to have happened."""

    def old_enough(pod: Obj) -> bool:
        return SYSTEM.now() - parse_rfc3339(pod["metadata"]["creationTimestamp"]) > OBSERVED

    return batch.until(name, old_enough, f"is {OBSERVED} s old", OBSERVED + 10)


def stays(batch: Batch, name: str) -> None:
    pod = observed(batch, name)
    assert restarts(pod) == 0 and ready(pod), pod["status"]


def is_restarted(batch: Batch, name: str) -> None:
    batch.until(name, lambda pod: restarts(pod) >= 1, "is restarted", 60)


@pytest.mark.conformance(f'{S}Probing container should be restarted with a exec "cat /tmp/health" liveness probe{N}')
def test_liveness_by_exec_fails(slow):
    is_restarted(slow, "exec-ill")


@pytest.mark.conformance(f"{S}Probing container should be restarted with a /healthz http liveness probe{N}")
def test_liveness_by_http_fails(slow):
    is_restarted(slow, "http-ill")


@pytest.mark.conformance(f"{S}Probing container should be restarted with a GRPC liveness probe{N}")
def test_liveness_by_grpc_fails(slow):
    is_restarted(slow, "grpc-ill")


@pytest.mark.conformance(
    f'{S}Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe{N}'
)
def test_liveness_by_exec(slow):
    stays(slow, "exec-well")


@pytest.mark.conformance(f"{S}Probing container should *not* be restarted with a /healthz http liveness probe{N}")
def test_liveness_by_http(slow):
    stays(slow, "http-well")


@pytest.mark.conformance(f"{S}Probing container should *not* be restarted with a tcp:8080 liveness probe{N}")
def test_liveness_by_tcp(slow):
    stays(slow, "tcp-well")


@pytest.mark.conformance(f"{S}Probing container should *not* be restarted with a GRPC liveness probe{N}")
def test_liveness_by_grpc(slow):
    stays(slow, "grpc-well")


@pytest.mark.conformance(
    f"{S}Probing container with readiness probe should not be ready before initial delay and never restart{N}"
)
def test_readiness_after_its_delay(slow):
    pod = slow.until("late", ready, "is ready", 60)
    started = parse_rfc3339(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
    at = parse_rfc3339(condition(pod, "Ready")["lastTransitionTime"])
    # (Both are told in whole seconds.)
    assert at - started >= DELAY - 1
    assert restarts(observed(slow, "late")) == 0


@pytest.mark.conformance(
    f"{S}Probing container with readiness probe that fails should never be ready and never restart{N}"
)
def test_readiness_that_fails(slow):
    pod = observed(slow, "never")
    said = condition(pod, "Ready")
    # Since its beginning: it was not ready in between.
    assert said["status"] == "False" and restarts(pod) == 0
    assert parse_rfc3339(said["lastTransitionTime"]) - parse_rfc3339(pod["status"]["startTime"]) < 5
    assert pod["status"]["containerStatuses"][0]["ready"] is False


@pytest.mark.conformance(
    f"{S}InitContainer [NodeConformance] should not start app containers if init containers fail on a RestartAlways "
    "pod [Conformance]"
)
def test_init_container_that_fails_for_ever(slow):
    def tried(pod: Obj) -> bool:
        return bool(
            pod["status"].get("initContainerStatuses")
            and pod["status"]["initContainerStatuses"][0]["restartCount"] >= 3
        )

    pod = slow.until("init-fails", tried, "has tried three times more", 90)
    status = pod["status"]
    first, second = status["initContainerStatuses"]
    ended = first["state"].get("terminated") or first["lastState"]["terminated"]
    assert status["phase"] == "Pending" and ended["exitCode"] == 1 and not first["ready"]
    assert "waiting" in second["state"] and second["restartCount"] == 0
    app = status["containerStatuses"][0]
    assert app["state"]["waiting"]["reason"] == "PodInitializing" and app["restartCount"] == 0
    said = condition(pod, "Initialized")
    assert (said["status"], said["reason"]) == ("False", "ContainersNotInitialized")
    assert said["message"] == "containers with incomplete status: [init1 init2]"


@pytest.mark.conformance(f"{S}Probing container should have monotonically increasing restart count{N}")
def test_restarts_are_counted(slow):
    slow.until("again-and-again", lambda pod: restarts(pod) >= 5, "is restarted five times", 300)
