"""From a pod's beginning to its end: init containers, hooks, exits and what they leave behind, restarts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.conformance.api import Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conformance.objects import condition, ready
from tests.waiting import eventually

S = "[sig-node] "
N = " [NodeConformance] [Conformance]"
HOOK = "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute "
MESSAGE = "[sig-node] Container Runtime blackbox test on terminated container should report termination message "

# Ends as soon as it is asked to.
POLITE = "trap exit TERM; while true; do sleep 0.1; done"
FALLBACK = {"terminationMessagePolicy": "FallbackToLogsOnError"}
COUNTED = """
    echo x >> /data/runs
    case $(cat /data/runs | tr -d '\\n') in x) exit 1;; xx) exit 0;; esac
    exec sleep 3600
"""


def starting(name: str, policy: str, *init: str, app: str = "exec sleep 3600") -> Obj:
    first = [tool(script, f"init{n}") for n, script in enumerate(init, 1)]
    return tool_pod(tool(app, "run1"), name=name, initContainers=first, restartPolicy=policy)


def counting(policy: str) -> Obj:
    """Fails the first time, succeeds the second, stays from the third on."""
    container = tool(COUNTED, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    volumes = [{"name": "data", "emptyDir": {}}]
    return tool_pod(container, name=f"exits-{policy.lower()}", volumes=volumes, restartPolicy=policy)


def leaving(name: str, script: str, user: int | None = None, **more: Any) -> Obj:
    return tool_pod(tool(script, **more), name=name, securityContext={"runAsUser": user} if user else {})


PODS = [
    counting("Always"),
    counting("OnFailure"),
    counting("Never"),
    starting("init-always", "Always", "true", "true"),
    starting("init-never", "Never", "true", "true", app="true"),
    starting("init-never-fails", "Never", "true", "exit 1"),
    leaving("message-empty", "echo some output", **FALLBACK),
    leaving("message-file", "echo -n OK > /dev/termination-log; echo more", **FALLBACK),
    leaving("message-log", "echo -n DONE; exit 1", **FALLBACK),
    leaving(
        "message-path",
        "echo -n DONE > /dev/termination-custom-log",
        1000,
        terminationMessagePath="/dev/termination-custom-log",
    ),
    tool_pod({**tool(), "command": ["/bin/false"]}, name="bin-false"),
    tool_pod({**tool(), "command": ["/bin/false"]}, name="bin-false-deleted", restartPolicy="Always"),
    tool_pod(tool("exec httpd -f -vv -p 8080 -h /etc"), name="listener"),
]


# -- init containers


def check_init(pod: Obj, *codes: int) -> None:
    statuses = pod["status"]["initContainerStatuses"]
    assert [s["state"]["terminated"]["exitCode"] for s in statuses] == list(codes)
    assert [s["ready"] for s in statuses] == [code == 0 for code in codes]
    said = condition(pod, "Initialized")
    assert said["status"] == ("False" if any(codes) else "True")


@pytest.mark.conformance(
    f"{S}InitContainer [NodeConformance] should invoke init containers on a RestartAlways pod [Conformance]"
)
def test_init_containers(batch):
    pod = batch.until("init-always", ready, "is ready")
    assert pod["status"]["phase"] == "Running" and "running" in pod["status"]["containerStatuses"][0]["state"]
    check_init(pod, 0, 0)


@pytest.mark.conformance(
    f"{S}InitContainer [NodeConformance] should invoke init containers on a RestartNever pod [Conformance]"
)
def test_init_containers_of_a_pod_that_ends(batch):
    pod = batch.ended("init-never")
    check_init(pod, 0, 0)
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


@pytest.mark.conformance(
    f"{S}InitContainer [NodeConformance] should not start app containers and fail the pod if init containers fail on a "
    "RestartNever pod [Conformance]"
)
def test_init_container_that_fails(batch):
    pod = batch.ended("init-never-fails", "Failed")
    check_init(pod, 0, 1)
    assert condition(pod, "Initialized")["reason"] == "ContainersNotInitialized"
    app = pod["status"]["containerStatuses"][0]
    assert app["state"]["waiting"]["reason"] == "PodInitializing" and not app["ready"] and app["restartCount"] == 0


# -- exits


@pytest.mark.conformance(
    f"{S}Container Runtime blackbox test when starting a container that exits should run with the expected status{N}"
)
def test_exits_by_policy(batch):
    def is_so(phase: str, state: str, count: int, is_ready: bool) -> Any:
        def check(pod: Obj) -> bool:
            status = (pod["status"].get("containerStatuses") or [{"state": {}, "restartCount": 0, "ready": None}])[0]
            seen = pod["status"]["phase"], next(iter(status["state"]), ""), status["restartCount"], status["ready"]
            return bool(seen == (phase, state, count, is_ready))

        return check

    batch.until("exits-never", is_so("Failed", "terminated", 0, False), "has failed")
    batch.until("exits-onfailure", is_so("Succeeded", "terminated", 1, False), "succeeds the second time")
    batch.until("exits-always", is_so("Running", "running", 2, True), "runs the third time")


@pytest.mark.conformance(
    f"{S}Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason{N}"
)
def test_reason_of_a_failure(batch):
    pod = batch.ended("bin-false", "Failed")
    [status] = pod["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("Error", 1)


@pytest.mark.conformance(
    f"{S}Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete{N}"
)
def test_what_fails_for_ever_can_be_deleted(batch):
    name = "bin-false-deleted"
    batch.until(name, lambda pod: pod["status"].get("containerStatuses", [{}])[0].get("restartCount"), "was restarted")
    batch.pods.delete(name)
    eventually(lambda: batch.pods.find(name) is None, "it is gone")


def message(batch: Batch, name: str, phase: str = "Succeeded") -> str:
    pod = batch.ended(name, phase)
    return str(pod["status"]["containerStatuses"][0]["state"]["terminated"].get("message", ""))


@pytest.mark.conformance(
    f"{MESSAGE}as empty when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set{N}"
)
def test_no_message(batch):
    assert message(batch, "message-empty") == ""


@pytest.mark.conformance(
    f"{MESSAGE}from file when pod succeeds and TerminationMessagePolicy FallbackToLogsOnError is set{N}"
)
def test_message_from_the_file(batch):
    assert message(batch, "message-file") == "OK"


@pytest.mark.conformance(f"{MESSAGE}from log output if TerminationMessagePolicy FallbackToLogsOnError is set{N}")
def test_message_from_the_log(batch):
    assert message(batch, "message-log", "Failed") == "DONE"


@pytest.mark.conformance(f"{MESSAGE}if TerminationMessagePath is set as non-root user and at a non-default path{N}")
def test_message_from_another_path(batch):
    assert message(batch, "message-path") == "DONE"


# -- hooks: each asks the listener for a page of its own name


def hooked(batch: Batch, name: str, when: str, how: str) -> None:
    """A pod with one hook; runs until it does."""
    batch.running("listener")
    host = batch.pods.get("listener")["status"]["podIP"]
    target = f"/{name}"
    handlers = {
        "exec": {"exec": {"command": ["/bin/sh", "-c", f"wget -q -O- http://{host}:8080{target} || true"]}},
        "http": {"httpGet": {"host": host, "port": 8080, "path": target}},
    }
    lifecycle = {when: handlers[how]}
    batch.create_all([tool_pod(tool(POLITE, lifecycle=lifecycle), name=name, terminationGracePeriodSeconds=15)])
    batch.running(name)


def asked(batch: Batch, name: str) -> bool:
    return f"url:/{name}\n" in batch.log("listener")


def runs_after_the_start(batch: Batch, name: str, how: str) -> None:
    hooked(batch, name, "postStart", how)
    eventually(lambda: asked(batch, name), "the hook has run")
    batch.pods.delete(name)


def runs_before_the_end(batch: Batch, name: str, how: str) -> None:
    hooked(batch, name, "preStop", how)
    assert not asked(batch, name)
    batch.pods.delete(name)
    eventually(lambda: batch.pods.find(name) is None, "it is gone")
    assert asked(batch, name)


@pytest.mark.conformance(f"{HOOK}poststart exec hook properly{N}")
def test_post_start_exec(batch):
    runs_after_the_start(batch, "post-start-exec", "exec")


@pytest.mark.conformance(f"{HOOK}poststart http hook properly{N}")
def test_post_start_http(batch):
    runs_after_the_start(batch, "post-start-http", "http")


@pytest.mark.conformance(f"{HOOK}prestop exec hook properly{N}")
@pytest.mark.conformance(f"{S}PreStop should call prestop when killing a pod [Conformance]")
def test_pre_stop_exec(batch):
    runs_before_the_end(batch, "pre-stop-exec", "exec")


@pytest.mark.conformance(f"{HOOK}prestop http hook properly{N}")
def test_pre_stop_http(batch):
    runs_before_the_end(batch, "pre-stop-http", "http")
