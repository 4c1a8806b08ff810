"""Restarts, init containers, sidecars, hooks, probes and ends, on a real containerd."""

from __future__ import annotations

import asyncio

import pytest
from node import pod, running_node, shell

pytestmark = pytest.mark.cluster


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


async def test_a_crash_is_restarted_at_once_then_backs_off(node):
    name = node.run(pod("crashing", shell("echo round; exit 7")))
    await node.until(lambda: node.container(name)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")
    container = node.container(name)
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 7
    assert container["lastState"]["terminated"]["reason"] == "Error"
    message = container["state"]["waiting"]["message"]
    assert message.startswith("back-off 10s restarting failed container=c0 pod=crashing_default(")
    assert node.status(name)["phase"] == "Running"
    assert await node.log(name, previous=True) == "round\n"
    await node.until(lambda: node.api.events("BackOff"))


async def test_never_and_on_failure_end_in_a_phase(node):
    done = node.run(pod("done", shell("echo -n said > /dev/termination-log"), restartPolicy="Never"))
    failed = node.run(pod("failed", shell("exit 3"), restartPolicy="Never"))
    kept = node.run(pod("kept", shell("exit 0"), restartPolicy="OnFailure"))
    status = await node.phase(done, "Succeeded")
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (0, "Completed", "said")
    assert {c["type"]: c.get("reason") for c in status["conditions"]}["Ready"] == "PodCompleted"
    status = await node.phase(failed, "Failed")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    await node.phase(kept, "Succeeded")
    uid = node.api.pod(done)["metadata"]["uid"]
    await node.until(lambda: uid not in node.agent.services.cgroups.pod_uids())


async def test_init_containers_run_one_after_the_other(node):
    volume = {"volumes": [{"name": "shared", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/s"}]}
    init = [
        {**shell("echo one >> /s/log", **mount), "name": "i1", "image": "shirube.test/busybox:1"},
        {**shell("echo two >> /s/log", **mount), "name": "i2", "image": "shirube.test/busybox:1"},
    ]
    name = node.run(pod("initial", shell("cat /s/log; sleep 1000", **mount), initContainers=init, **volume))
    status = await node.ready(name)
    assert [c["state"]["terminated"]["reason"] for c in status["initContainerStatuses"]] == ["Completed"] * 2
    await node.log_with(name, "one\ntwo\n")


async def test_a_failed_init_container_fails_a_pod_that_never_restarts(node):
    init = [{**shell("exit 1"), "name": "i", "image": "shirube.test/busybox:1"}]
    name = node.run(pod("unborn", shell("sleep 1000"), initContainers=init, restartPolicy="Never"))
    status = await node.phase(name, "Failed")
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert {c["type"]: c["status"] for c in status["conditions"]}["Initialized"] == "False"


async def test_a_sidecar_starts_before_and_ends_after_the_app(node):
    init = [
        {
            **shell("trap 'echo sidecar >> /s/end; exit 0' TERM; touch /s/up; sleep 1000 & wait"),
            "name": "side",
            "image": "shirube.test/busybox:1",
            "restartPolicy": "Always",
            "volumeMounts": [{"name": "shared", "mountPath": "/s"}],
            "startupProbe": {"exec": {"command": ["cat", "/s/up"]}, "periodSeconds": 1},
        }
    ]
    app = shell("ls /s; sleep 0.3; echo app >> /s/end", volumeMounts=[{"name": "shared", "mountPath": "/s"}])
    shared = node.containerd.dir / "shared-sidecar"
    shared.mkdir()
    name = node.run(
        pod(
            "beside",
            app,
            initContainers=init,
            volumes=[{"name": "shared", "hostPath": {"path": str(shared)}}],
            restartPolicy="Never",
            terminationGracePeriodSeconds=10,
        )
    )
    status = await node.phase(name, "Succeeded")
    assert await node.log(name) == "up\n"
    assert (shared / "end").read_text() == "app\nsidecar\n"
    assert "terminated" in status["initContainerStatuses"][0]["state"]


async def test_hooks_run_after_start_and_before_stop(node):
    shared = node.containerd.dir / "shared-hooks"
    shared.mkdir()
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /s/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /s/log"]}},
    }
    script = "trap 'echo term >> /s/log; exit 0' TERM; sleep 1000 & wait"
    mount = [{"name": "s", "mountPath": "/s"}]
    name = node.run(
        pod(
            "hooked",
            shell(script, lifecycle=lifecycle, volumeMounts=mount),
            volumes=[{"name": "s", "hostPath": {"path": str(shared), "type": "Directory"}}],
            terminationGracePeriodSeconds=10,
        )
    )
    await node.ready(name)
    await node.remove(name, grace=10)
    assert (shared / "log").read_text() == "post\npre\nterm\n"


async def test_liveness_restarts_and_readiness_gates(node):
    probe = {"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    name = node.run(
        pod(
            "probed",
            shell("touch /tmp/ok; sleep 1; rm /tmp/ok; sleep 1000", livenessProbe={**probe, "initialDelaySeconds": 1}),
            {**shell("httpd -f -p 8080"), "name": "web"},
        )
    )
    await node.until(lambda: node.container(name).get("restartCount") == 1)
    await node.until(lambda: node.api.events("Unhealthy"))
    assert node.api.events("Unhealthy")[0]["message"].startswith("Liveness probe failed: cat: can't open '/tmp/ok'")
    killing = [e["message"] for e in node.api.events("Killing")]
    assert "Container c0 failed liveness probe, will be restarted" in killing


async def test_an_http_readiness_probe_over_the_pod_network(node):
    probe = {"httpGet": {"path": "/page", "port": "http"}, "periodSeconds": 5}
    script = "mkdir /w; (sleep 0.3; echo hi > /w/page) & httpd -f -p 8080 -h /w"
    ports = [{"name": "http", "containerPort": 8080}]
    name = node.run(pod("web", shell(script, readinessProbe=probe, ports=ports)))
    await node.until(lambda: "running" in node.container(name)["state"])
    assert not node.is_ready(name)
    # Ready well before the second regular look: a container that is not up is looked at more often.
    await node.until(lambda: node.is_ready(name), 4)


async def test_the_active_deadline_fails_the_pod(node):
    name = node.run(pod("late", shell("sleep 1000")))
    await node.ready(name)
    late = node.api.pod(name)
    node.api.put(
        f"/api/v1/namespaces/default/pods/{name}", {**late, "spec": {**late["spec"], "activeDeadlineSeconds": 1}}
    )
    status = await node.phase(name, "Failed")
    assert status["reason"] == "DeadlineExceeded"
    assert "terminated" in status["containerStatuses"][0]["state"]


async def test_a_missing_image_and_a_missing_config_map_are_told(node):
    absent = node.run(pod("absent", shell("true", image="shirube.test/absent:1", imagePullPolicy="Never")))
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "a"}}}]
    unset = node.run(pod("unset", shell("echo $A; sleep 1000", env=env)))
    mounted = node.run(pod("unmounted", shell("sleep 1000"), volumes=[{"name": "v", "secret": {"secretName": "nope"}}]))

    def reason(name):
        return node.container(name)["state"].get("waiting", {}).get("reason")

    await node.until(lambda: reason(absent) == "ErrImageNeverPull")
    await node.until(lambda: reason(unset) == "CreateContainerConfigError")
    assert node.container(unset)["state"]["waiting"]["message"] == 'configmap "nope" not found'
    await node.until(lambda: node.api.events("FailedMount"))
    message = 'MountVolume.SetUp failed for volume "v" : secret "nope" not found'
    assert node.api.events("FailedMount")[0]["message"] == message
    assert reason(mounted) == "ContainerCreating"
    node.api.put("/api/v1/namespaces/default/configmaps/nope", {"data": {"a": "now"}})
    node.api.put("/api/v1/namespaces/default/secrets/nope", {"data": {}})
    await node.ready(unset)
    await node.ready(mounted)
    await node.log_with(unset, "now\n")


async def test_a_force_deleted_pod_is_killed(node):
    name = node.run(pod("forced", shell("trap '' TERM; sleep 1000"), terminationGracePeriodSeconds=600))
    await node.ready(name)
    await node.remove(name, grace=0)


async def test_a_grace_period_that_is_shortened_is_obeyed(node):
    name = node.run(pod("stubborn", shell("trap '' TERM; while true; do sleep 1; done")))
    await node.ready(name)
    node.api.delete_pod(name, 600)
    await node.until(lambda: node.api.events("Killing"))
    await asyncio.sleep(0.2)
    await node.remove(name, grace=1)


async def test_the_agent_comes_back_to_running_pods_without_touching_them(node):
    name = node.run(pod("steady", shell("sleep 1000")))
    orphan = node.run(pod("orphaned", shell("sleep 1000")))
    await node.ready(name)
    await node.ready(orphan)
    before = node.container(name)
    orphan_uid = node.api.pod(orphan)["metadata"]["uid"]
    await node.kill()
    node.api.delete_pod(orphan, 0)
    patches = len(node.api.status_patches)
    # Of a pod that was deleted, and whose sandbox went, while there was no agent.
    gone = "00000000-0000-4000-8000-ffffffffffff"
    left = [node.agent.paths.logs_of("default", "left", gone), node.agent.paths.pods / gone]
    for folder in left:
        (folder / "c0").mkdir(parents=True)
    node.start()
    await node.until(lambda: node.agent.pods.container("default", name, "c0"))
    async with asyncio.timeout(60):
        while (await node.agent.services.state.observe(orphan_uid)).sandboxes:
            await asyncio.sleep(0.05)
    await node.until(lambda: not any(folder.exists() for folder in left))
    assert node.agent.paths.logs_of("default", name, node.api.pod(name)["metadata"]["uid"]).exists()
    assert node.container(name) == before
    assert node.agent.pods.container("default", name, "c0").id == before["containerID"].rpartition("/")[2]
    assert len(node.api.status_patches) == patches


async def test_a_machine_that_comes_back_brings_its_pods_back(node):
    init = [{**shell("true"), "name": "i", "image": "shirube.test/busybox:1"}]
    name = node.run(pod("returning", shell("sleep 1000"), initContainers=init))
    done = node.run(pod("done-before", shell("true"), restartPolicy="Never"))
    lost = node.run(pod("lost", shell("sleep 1000"), restartPolicy="Never"))
    await node.ready(name)
    await node.ready(lost)
    finished = await node.phase(done, "Succeeded")
    before = node.container(name)
    await node.kill()
    await asyncio.to_thread(node.containerd.stop)
    node.containerd.start()
    node.start()
    await node.until(lambda: node.container(name).get("restartCount") == 1 and node.is_ready(name))
    assert node.container(name)["containerID"] != before["containerID"]
    assert node.container(name)["lastState"]["terminated"]["containerID"] == before["containerID"]
    await node.phase(lost, "Failed")
    assert node.status(done)["containerStatuses"] == finished["containerStatuses"]
    assert node.status(done)["phase"] == "Succeeded"
