"""The CRI client against a real containerd."""

from __future__ import annotations

import asyncio

import pytest

from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.events import container_events

pytestmark = pytest.mark.cluster


async def test_version_and_readiness(containerd):
    runtime = Runtime(containerd.socket)
    version = await runtime.call("Version")
    assert version.runtime_name == "containerd"
    status = (await runtime.call("Status")).status
    assert {c.type: c.status for c in status.conditions} == {"RuntimeReady": True, "NetworkReady": True}
    await runtime.close()


async def test_an_error_carries_code_and_words(containerd):
    runtime = Runtime(containerd.socket)
    with pytest.raises(CriError) as caught:
        await runtime.call("ContainerStatus", container_id="absent")
    assert caught.value.not_found
    assert str(caught.value).startswith("rpc error: code = NotFound desc = ")
    await runtime.close()


async def test_sandbox_container_and_the_event_of_its_end(containerd):
    runtime = Runtime(containerd.socket)
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def listen():
        async for event in container_events(runtime):
            ended.put_nowait(event.container_id)

    listener = spawn(listen(), name="listener")
    sandbox = {
        "metadata": {"name": "p", "namespace": "default", "uid": "u1"},
        "log_directory": str(containerd.dir / "logs"),
        "linux": {"cgroup_parent": containerd.cgroup_root},
    }
    sandbox_id = (await runtime.call("RunPodSandbox", config=sandbox)).pod_sandbox_id
    config = {
        "metadata": {"name": "c"},
        "image": {"image": "shirube.test/busybox:1"},
        "command": ["sh", "-c", "echo hello; exit 3"],
        "log_path": "c.log",
    }
    created = await runtime.call("CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox)
    await runtime.call("StartContainer", container_id=created.container_id)
    assert await asyncio.wait_for(ended.get(), 60) == created.container_id
    async with asyncio.timeout(60):
        while (status := (await runtime.call("ContainerStatus", container_id=created.container_id)).status).state != 2:
            await asyncio.sleep(0.01)
    assert status.exit_code == 3
    assert (containerd.dir / "logs/c.log").read_text().endswith(" stdout F hello\n")
    await runtime.call("StopPodSandbox", pod_sandbox_id=sandbox_id)
    await runtime.call("RemovePodSandbox", pod_sandbox_id=sandbox_id)
    await cancel(listener)
    await runtime.close()
