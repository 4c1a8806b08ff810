"""Device plugins: who gets which device, and the sample plugin on a real node."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from node import NODE, pod, running_node, shell

from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol
from shirube.kubelet.device_allocation import Book, DeviceError, Grant, choose, wanted

PLUGIN = Path(__file__).parents[2] / "examples/device-plugin/plugin.py"
GPU = "example.com/gpu"


def asking(count):
    return {"resources": {"limits": {GPU: str(count), "cpu": "1"}, "requests": {GPU: str(count)}}}


def test_what_is_reusable_comes_first_and_what_is_taken_never():
    assert wanted(asking(2)) == {GPU: 2}
    assert choose(GPU, 2, ["a", "b", "c"], {"a"}, []) == ["b", "c"]
    assert choose(GPU, 2, ["a", "b", "c"], {"a", "c"}, ["c"]) == ["c", "b"]
    with pytest.raises(DeviceError, match="Requested: 2, Available: 1"):
        choose(GPU, 2, ["a", "b"], {"a"}, [])


def test_the_book_is_kept(tmp_path):
    book = Book.load(tmp_path / "book")
    book.resources.add(GPU)
    init = [{"name": "i"}, {"name": "side", "restartPolicy": "Always"}]
    used = pod("p", {"name": "c"}, initContainers=init)
    uid = used["metadata"]["uid"]
    book.give(uid, "i", GPU, Grant(["a"], {"E": "1"}, [], [{"host_path": "/dev/null"}]))
    book.give(uid, "side", GPU, Grant(["b"]))
    again = Book.load(tmp_path / "book")
    assert again.grants == book.grants and again.resources == {GPU}
    assert again.taken(GPU) == {"a", "b"}
    assert again.reusable(used, GPU) == ["a"]
    again.release(uid)
    assert Book.load(tmp_path / "book").taken(GPU) == set()
    (tmp_path / "book").write_text("{")
    assert Book.load(tmp_path / "book").grants == {}


@contextlib.contextmanager
def plugin_running(directory, count=2):
    process = subprocess.Popen([sys.executable, str(PLUGIN), str(directory), str(count)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def resources(node):
    status = node.api.objects.get("/api/v1/nodes/" + NODE, {}).get("status") or {}
    return tuple((status.get(part) or {}).get(GPU) for part in ("capacity", "allocatable"))


@pytest.mark.cluster
async def test_a_plugin_registers_gives_its_devices_and_is_missed(containerd):
    async with running_node(containerd) as node:
        directory = node.agent.paths.root / "device-plugins"
        await node.until(lambda: (directory / "kubelet.sock").exists())
        script = "echo got $EXAMPLE_GPUS; ls /dev/ | grep gpu; sleep 1000"
        with plugin_running(directory) as process:
            await node.until(lambda: resources(node) == ("2", "2"))
            name = node.run(pod("one", shell(script, **asking(1))))
            await node.ready(name)
            await node.log_with(name, "got gpu-0\ngpu-0\n")
            greedy = await node.phase(node.run(pod("greedy", shell(script, **asking(2)))), "Failed")
            assert greedy["reason"] == "OutOf" + GPU
            (directory / "gpu-0.sick").touch()
            ill = [{"name": GPU, "resources": [{"resourceID": "gpu-0", "health": "Unhealthy"}]}]
            await node.until(lambda: node.container(name).get("allocatedResourcesStatus") == ill)
            (directory / "gpu-0.sick").unlink()
            await node.until(
                lambda: node.container(name)["allocatedResourcesStatus"][0]["resources"][0]["health"] == "Healthy"
            )
            (directory / "gpu-1.sick").touch()
            await node.until(lambda: resources(node) == ("2", "1"))
            (directory / "gpu-1.sick").unlink()
            await node.until(lambda: resources(node) == ("2", "2"))
            # A new agent knows who has what; the plugin registers again.
            await node.stop()
            node.start()
            await node.until(lambda: node.agent.devices.extended().allocatable.get(GPU) == 2)
            await node.until(lambda: node.agent.pods.worker("default", name) is not None)
            second = node.run(pod("two", shell(script, **asking(1))))
            await node.ready(second)
            await node.log_with(second, "got gpu-1\n")
            await node.remove(name)
            third = node.run(pod("three", shell(script, **asking(1))))
            await node.ready(third)
            await node.log_with(third, "got gpu-0\n")
            process.kill()
            await node.until(lambda: resources(node) == ("2", "0"))
            assert node.is_ready(third), "containers keep what they have"


@pytest.mark.cluster
async def test_a_plugin_that_registers_nonsense_is_told_so(containerd):
    async with running_node(containerd) as node:
        socket = node.agent.paths.root / "device-plugins/kubelet.sock"
        await node.until(socket.exists)
        agent = Runtime(str(socket), Protocol("device_plugin.json"))
        good = {"version": "v1beta1", "endpoint": "x.sock", "resource_name": GPU}
        for wrong in ({"version": "v1"}, {"resource_name": "gpu"}, {"endpoint": "../x"}):
            with pytest.raises(CriError) as caught:
                await agent.call("Register", **{**good, **wrong})
            assert caught.value.code == "INVALID_ARGUMENT"
        await agent.close()
