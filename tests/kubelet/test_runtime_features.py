"""RuntimeClass handlers, and what the runtime does not know: done by the agent, or refused with a reason."""

from __future__ import annotations

import shutil
import signal
import subprocess
from types import SimpleNamespace

import pytest
from node import pod, running_node, shell

from shirube.kubelet import stop_signal
from shirube.kubelet.runtime_features import Features, Handler, features_of, node_features, refuse


def test_signals_have_numbers():
    assert stop_signal.number("SIGUSR1") == signal.SIGUSR1
    assert stop_signal.number("SIGRTMINPLUS3") == signal.SIGRTMIN + 3
    assert stop_signal.number("SIGRTMAXMINUS2") == signal.SIGRTMAX - 2
    assert stop_signal.number("SIGRTMAX") == signal.SIGRTMAX
    assert stop_signal.number("SIGNOTHING") is None


def test_the_first_process_is_the_one_whose_parent_is_outside():
    assert stop_signal.first_process([30, 20, 40], {20: 7, 30: 20, 40: 30}) == 20
    assert stop_signal.first_process([], {}) is None


def test_what_the_runtime_cannot_is_refused():
    strict = pod("p", shell("x"), securityContext={"supplementalGroupsPolicy": "Strict"})
    assert refuse(strict, Features()).reason == "SupplementalGroupsPolicyNotSupported"
    assert refuse(strict, Features(supplemental_groups_policy=True)) is None
    apart = pod("p", shell("x"), hostUsers=False)
    assert refuse(apart, Features()).reason == "UserNamespacesNotSupported"
    known = SimpleNamespace(recursive_read_only_mounts=True, user_namespaces=True)
    handlers = [SimpleNamespace(name="", features=known)]
    status = SimpleNamespace(features=SimpleNamespace(supplemental_groups_policy=True), runtime_handlers=handlers)
    features = features_of(status)
    assert features == Features(True, {"": Handler(True, True)})
    assert refuse(apart, features) is None
    assert node_features(features)["runtimeHandlers"][0]["features"]["recursiveReadOnlyMounts"]


# -- on a real containerd


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def runtime_class(node, name, handler):
    node.api.put(f"/apis/node.k8s.io/v1/runtimeclasses/{name}", {"handler": handler})


@pytest.mark.cluster
@pytest.mark.skipif(shutil.which("crun") is None, reason="needs crun")
async def test_pods_of_one_node_run_under_different_runtimes(node):
    runtime_class(node, "fast", "crun")
    runtime_class(node, "usual", "runc")
    runtime_class(node, "odd", "nobody-has-this")
    for name in ("fast", "usual"):
        node.run(pod(f"in-{name}", shell("echo hi; sleep 1000"), runtimeClassName=name))
    node.run(pod("in-odd", shell("sleep 1000"), runtimeClassName="odd"))
    node.run(pod("in-none", shell("sleep 1000"), runtimeClassName="none"))
    for name in ("in-fast", "in-usual"):
        await node.ready(name)
        assert await node.log_with(name, "hi\n")
    runtime = node.agent.runtime
    listed = (await runtime.call("ListPodSandbox")).items
    assert {s.metadata.name: s.runtime_handler for s in listed} == {"in-fast": "crun", "in-usual": "runc"}

    def told(text):
        return any(text in e["message"] for e in node.api.events("FailedCreatePodSandBox"))

    await node.until(lambda: told('no runtime for "nobody-has-this" is configured'))
    await node.until(lambda: told('failed to find runtime class "none"'))


@pytest.mark.cluster
async def test_a_stop_signal_of_its_own_ends_a_container(node):
    script = "trap 'echo -n by-signal > /dev/termination-log; exit 3' USR1; trap '' TERM; sleep 1000 & wait"
    container = shell(script, lifecycle={"stopSignal": "SIGUSR1"})
    name = node.run(pod("signalled", container, terminationGracePeriodSeconds=20, os={"name": "linux"}))
    status = await node.ready(name)
    assert status["containerStatuses"][0]["stopSignal"] == "SIGUSR1"
    uid = node.api.pod(name)["metadata"]["uid"]
    node.api.delete_pod(name, 20)
    await node.until(lambda: node.api.pod(name) is None or "terminated" in node.container(name)["state"], 10)
    last = [p for p in node.api.status_patches if p["containerStatuses"][0]["state"].get("terminated")][-1]
    ended = last["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (3, "by-signal")
    await node.until(lambda: not node.agent.pods.has(uid))


@pytest.mark.cluster
async def test_a_mount_is_read_only_all_the_way_down(node):
    top = node.containerd.dir / "tree"
    (top / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(top / "below")], check=True)
    try:
        script = "touch /all/below/x || echo no; touch /top/below/x && echo yes; sleep 1000"
        mounts = [
            {"name": "t", "mountPath": "/all", "readOnly": True, "recursiveReadOnly": "Enabled"},
            {"name": "t", "mountPath": "/top", "readOnly": True},
        ]
        source = [{"name": "t", "hostPath": {"path": str(top)}}]
        name = node.run(pod("locked", shell(script, volumeMounts=mounts), volumes=source))
        status = await node.ready(name)
        text = await node.log_with(name, "yes")
        assert "no\n" in text, text
        shown = status["containerStatuses"][0]["volumeMounts"]
        assert [mount["recursiveReadOnly"] for mount in shown] == ["Enabled", "Disabled"]
        await node.remove(name)
    finally:
        subprocess.run(["umount", str(top / "below")], check=True)


@pytest.mark.cluster
async def test_strict_groups_are_refused_by_a_runtime_that_would_drop_them(node):
    await node.until(lambda: node.agent.node.report.version)
    strict = {"supplementalGroupsPolicy": "Strict"}
    name = node.run(pod("strict", shell("sleep 1000"), securityContext=strict))
    status = await node.phase(name, "Failed")
    assert status["reason"] == "SupplementalGroupsPolicyNotSupported"
    assert status["message"] == "SupplementalGroupsPolicy=Strict is not supported in this node"
