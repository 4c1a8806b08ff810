"""Pods as objects of the API that a node acts on: their generations, statuses, streams, and how they come and go."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import aiohttp
import pytest
from tests.cluster.conformance.api import JSON_PATCH, MERGE, STRATEGIC, Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conformance.objects import condition, ready
from tests.cluster.conftest import Cluster
from tests.waiting import eventually

S = "[sig-node] "
N = " [NodeConformance] [Conformance]"
P = "[sig-node] Pods Extended (pod generation) Pod Generation "
SLEEP = "trap exit TERM; while true; do sleep 0.1; done"


def lasting(name: str, labels: Any = None, **spec: Any) -> Obj:
    return tool_pod(tool(SLEEP), name=name, metadata={"labels": labels or {}}, terminationGracePeriodSeconds=5, **spec)


PODS = [
    lasting("watched", {"time": "watched"}),
    lasting("updated", {"time": "updated"}),
    lasting("deadline", {"time": "deadline"}),
    lasting("status-patched"),
    lasting("ephemeral"),
    lasting("generations"),
    lasting("custom-generation"),
    lasting("five-hundred"),
    *(lasting(f"set-{n}", {"type": "Testing"}) for n in (1, 2, 3)),
    tool_pod(tool(f"echo remote execution test; {SLEEP}"), name="talking"),
]


def is_gone(batch: Batch, name: str) -> None:
    eventually(lambda: batch.pods.find(name) is None, f"{name} is gone")


@pytest.mark.conformance(f"{S}Pods should get a host IP{N}")
def test_host_ip(batch):
    pod = batch.running("watched")
    assert ipaddress.ip_address(pod["status"]["hostIP"])
    node = batch.api.at("v1", "nodes").get(pod["spec"]["nodeName"])
    assert pod["status"]["hostIP"] in [a["address"] for a in node["status"]["addresses"]]


@pytest.mark.conformance(f"{S}Pods should be submitted and removed{N}")
def test_submitted_and_removed(batch):
    name, labels = "submitted", "time=submitted"
    assert batch.pods.items(labels) == []
    with batch.pods.watch(labels, resourceVersion=batch.pods.list(labels)["metadata"]["resourceVersion"]) as watch:
        batch.create_all([lasting(name, {"time": name})])
        watch.until("ADDED")
        assert [p["metadata"]["name"] for p in batch.pods.items(labels)] == [name]
        watch.until("MODIFIED", lambda pod: pod["status"].get("phase") == "Running", 60)
        batch.pods.delete(name, gracePeriodSeconds=30)
        last = watch.until("DELETED")
        assert last["metadata"]["deletionTimestamp"] and last["metadata"]["deletionGracePeriodSeconds"] != 0
    assert batch.pods.items(labels) == []


@pytest.mark.conformance(f"{S}Pods should be updated{N}")
def test_updated(batch):
    batch.running("updated")
    assert len(batch.pods.items("time=updated")) == 1
    batch.pods.edit("updated", lambda pod: pod["metadata"]["labels"].update(time="newer"))
    assert [p["metadata"]["name"] for p in batch.pods.items("time=newer")] == ["updated"]
    batch.running("updated")


@pytest.mark.conformance(f"{S}Pods should allow activeDeadlineSeconds to be updated{N}")
def test_deadline(batch):
    batch.running("deadline")
    batch.pods.edit("deadline", lambda pod: pod["spec"].update(activeDeadlineSeconds=5))
    pod = batch.ended("deadline", "Failed", 30)
    assert pod["status"]["reason"] == "DeadlineExceeded"


@pytest.mark.conformance(f"{S}Pods should patch a pod status [Conformance]")
def test_status_patch(batch):
    name = "status-patched"
    batch.running(name)
    said = {"type": "PatchedByATest", "status": "True"}
    batch.pods.patch(
        name, {"metadata": {"annotations": {"note": "x"}}, "status": {"conditions": [said]}}, STRATEGIC, "status"
    )
    # The node's own conditions stay, and this one stays beside them.
    wanted = {"message": "Patched by e2e test", "reason": "E2E"}
    for _ in range(2):
        pod = batch.pods.get(name)
        assert condition(pod, "PatchedByATest")["status"] == "True" and condition(pod, "ContainersReady")
        patched = batch.pods.patch(name, {"status": wanted}, STRATEGIC, "status")["status"]
        assert {key: patched[key] for key in wanted} == wanted and patched["phase"] == "Running"


@pytest.mark.conformance(f"{S}Pods should run through the lifecycle of Pods and PodStatus [Conformance]")
def test_lifecycle(batch):
    name, labels = "life", "test-pod-static=true"
    with batch.pods.watch(labels) as watch:
        batch.create_all([lasting(name, {"test-pod-static": "true"})])
        watch.until("ADDED")
        watch.until("MODIFIED", ready, 60)
        batch.pods.patch(name, {"metadata": {"labels": {"test-pod": "patched"}}}, STRATEGIC)
        changed = watch.until("MODIFIED", lambda pod: pod["metadata"]["labels"].get("test-pod") == "patched")
        assert changed["spec"]["containers"][0]["image"] == "localhost/tools:1"
        batch.pods.get(name, "status")

        def not_ready(pod: Obj) -> None:
            condition(pod, "Ready").update(status="False")

        replaced = batch.pods.edit(name, not_ready, "status")
        assert condition(replaced, "Ready")["status"] == "False"
        # The node says again how it is.
        watch.until("MODIFIED", lambda pod: condition(pod, "Ready")["status"] == "False")
        watch.until("MODIFIED", ready)
        batch.pods.delete_all(labels)
        watch.until("DELETED")
    assert batch.pods.items(labels) == []


@pytest.mark.conformance(f"{S}Pods should delete a collection of pods [Conformance]")
def test_collection(batch):
    assert len(batch.pods.items("type=Testing")) == 3
    batch.pods.delete_all("type=Testing")
    eventually(lambda: batch.pods.items("type=Testing") == [], "they are gone")


@pytest.mark.conformance(f"{S}Pods should contain environment variables for services{N}")
def test_service_variables(batch):
    port = {"port": 8765, "targetPort": 8080}
    made = {"metadata": {"name": "fooservice"}, "spec": {"selector": {"name": "server"}, "ports": [port]}}
    address = batch.api.at("v1", "services", batch.ns).create(made)["spec"]["clusterIP"]
    # The node hears of Services by a watch of its own: variables are those of Services that it knows.
    wanted = {
        "FOOSERVICE_SERVICE_HOST": address,
        "FOOSERVICE_SERVICE_PORT": "8765",
        "FOOSERVICE_PORT": f"tcp://{address}:8765",
        "FOOSERVICE_PORT_8765_TCP": f"tcp://{address}:8765",
        "FOOSERVICE_PORT_8765_TCP_PORT": "8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO": "tcp",
        "FOOSERVICE_PORT_8765_TCP_ADDR": address,
    }
    batch.create_all([tool_pod({**tool(), "command": ["/bin/env"]}, name="environment")])
    batch.ended("environment")
    found = dict(line.split("=", 1) for line in batch.log("environment").splitlines())
    assert {k: found.get(k) for k in wanted} == wanted


@pytest.mark.conformance(
    f"{S}Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory "
    "and cpu [Conformance]"
)
def test_qos_class(batch):
    same = {"cpu": "100m", "memory": "100Mi"}
    container = tool("true", resources={"requests": same, "limits": same})
    made = batch.pods.create(tool_pod(container, name="guaranteed"))
    assert made["status"]["qosClass"] == "Guaranteed" == batch.pods.get("guaranteed")["status"]["qosClass"]


# -- generations


def observes(batch: Batch, name: str, generation: int) -> None:
    def check(pod: Obj) -> bool:
        return bool(pod["metadata"]["generation"] == generation == pod["status"].get("observedGeneration"))

    batch.until(name, check, f"has observed generation {generation}")


@pytest.mark.conformance(
    f"{P}pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_generation(batch):
    name = "generations"
    batch.running(name)
    observes(batch, name, 1)
    # What is no part of the spec moves nothing.
    batch.pods.patch(name, {"metadata": {"annotations": {"key": "value"}}}, MERGE)
    observes(batch, name, 1)
    tolerations = [{"key": "foo-key", "operator": "Exists", "effect": "NoSchedule"}]
    batch.pods.edit(name, lambda pod: pod["spec"]["tolerations"].extend(tolerations))
    observes(batch, name, 2)
    batch.pods.edit(name, lambda pod: pod["spec"].update(activeDeadlineSeconds=5000))
    observes(batch, name, 3)
    batch.pods.edit(name, lambda pod: pod["spec"]["containers"][0].update(image="localhost/tools:1@sha256:" + "0" * 64))
    observes(batch, name, 4)
    batch.pods.delete(name)
    is_gone(batch, name)


@pytest.mark.conformance(f"{P}custom-set generation on new pods and graceful delete [Conformance]")
def test_generation_of_a_deletion(batch):
    name = "custom-generation"
    made = lasting("own-number")
    made["metadata"]["generation"] = 100
    made["spec"]["nodeSelector"] = {"conformance": "nowhere"}
    assert batch.pods.create(made)["metadata"]["generation"] == 1
    batch.running(name)
    with batch.pods.watch(fieldSelector=f"metadata.name={name}") as watch:
        batch.pods.delete(name, gracePeriodSeconds=30)
        changed = watch.until("MODIFIED", lambda pod: pod["metadata"].get("deletionTimestamp"))
        assert changed["metadata"]["generation"] == 2
        watch.until("DELETED")


@pytest.mark.conformance(
    f"{P}issue 500 podspec updates and verify generation and observedGeneration eventually converge "
    "[MinimumKubeletVersion:1.34] [Conformance]"
)
def test_five_hundred_generations(batch):
    name = "five-hundred"
    batch.running(name)
    for number in range(499):
        toleration = {"key": f"key-{number}", "operator": "Exists", "effect": "NoSchedule"}
        batch.pods.patch(name, [{"op": "add", "path": "/spec/tolerations/-", "value": toleration}], JSON_PATCH)
    observes(batch, name, 500)


# -- ephemeral containers


def ephemeral(name: str) -> Obj:
    return {**tool("while true; do echo polo; sleep 0.2; done", name), "targetContainerName": "main", "stdin": True}


@pytest.mark.conformance(
    f"{S}Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]"
)
@pytest.mark.conformance(
    f"{S}Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]"
)
def test_ephemeral_containers(cluster: Cluster, batch: Batch):
    name = "ephemeral"
    batch.running(name)

    def runs(count: int) -> None:
        def check(pod: Obj) -> bool:
            statuses = pod["status"].get("ephemeralContainerStatuses", [])
            return len(statuses) == count and all("running" in s["state"] for s in statuses)

        batch.until(name, check, f"{count} ephemeral containers run")

    batch.pods.patch(name, {"spec": {"ephemeralContainers": [ephemeral("debugger")]}}, STRATEGIC, "ephemeralcontainers")
    runs(1)
    assert len(batch.pods.get(name)["spec"]["ephemeralContainers"]) == 1
    eventually(lambda: "polo" in batch.log(name, "debugger"), "it talks")
    # It sees the processes of the container that it debugs.
    said = cluster.kubectl("-n", batch.ns, "exec", name, "-c", "debugger", "--", "/bin/cat", "/proc/1/cmdline")
    assert "trap exit" in said
    batch.pods.edit(
        name, lambda pod: pod["spec"]["ephemeralContainers"].append(ephemeral("second")), "ephemeralcontainers"
    )
    runs(2)
    found = batch.pods.get(name, "ephemeralcontainers")["spec"]["ephemeralContainers"]
    assert [c["name"] for c in found] == ["debugger", "second"]


# -- streams


async def streamed(batch: Batch, path: str, protocol: str) -> list[bytes]:
    """All messages of a WebSocket until the server closes it."""
    api = batch.api
    url = f"https://{api.host}:{api.port}/api/v1/namespaces/{batch.ns}/pods/{path}"
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(60),
        session.ws_connect(url, protocols=(protocol,), ssl=api._tls) as socket,
    ):
        assert socket.protocol == protocol
        return [message.data async for message in socket if message.type is aiohttp.WSMsgType.BINARY]


@pytest.mark.conformance(f"{S}Pods should support remote command execution over websockets{N}")
async def test_exec_by_web_socket(batch):
    await asyncio.to_thread(batch.running, "talking")
    command = "command=/bin/echo&command=remote+execution+test&stdout=1&stderr=1&container=main"
    messages = await streamed(batch, f"talking/exec?{command}", "v4.channel.k8s.io")
    out = b"".join(m[1:] for m in messages if m[0] == 1)
    assert out == b"remote execution test\n"
    # Channel 3 says how it ended.
    assert b'"status":"Success"' in b"".join(m[1:] for m in messages if m[0] == 3).replace(b": ", b":")


@pytest.mark.conformance(f"{S}Pods should support retrieving logs from the container over websockets{N}")
async def test_log_by_web_socket(batch):
    await asyncio.to_thread(batch.running, "talking")
    messages = await streamed(batch, "talking/log?container=main", "binary.k8s.io")
    assert b"".join(messages) == b"remote execution test\n"
