"""What no sandbox has is given back, after two looks and not while one is being made; what one has is not touched."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from shirube.kubelet import runtime_garbage
from shirube.kubelet.runtime_garbage import RuntimeGarbage

NETWORK = {"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "first"}, {"type": "second"}]}


class Runtime:
    endpoint = "/nothing/containerd.sock"

    def __init__(self, *sandboxes, verbose=None):
        self.sandboxes = sandboxes
        self.verbose = verbose or {}
        self.making: list[float] = []
        self.calls: list[str] = []

    def begun(self, method):
        return self.making if method == "RunPodSandbox" else []

    async def call(self, method, **fields):
        self.calls.append(method)
        if method == "ListPodSandbox":
            return SimpleNamespace(items=[SimpleNamespace(id=one, state=0) for one in self.sandboxes])
        if method == "ListContainers":
            return SimpleNamespace(containers=[SimpleNamespace(id="c1", state=1), SimpleNamespace(id="c2", state=2)])
        path = self.verbose.get(fields["pod_sandbox_id"])
        namespaces = [{"type": "network", "path": f"/var/run/netns/{path}"}] if path else []
        return SimpleNamespace(info={"info": json.dumps({"runtimeSpec": {"linux": {"namespaces": namespaces}}})})


@pytest.fixture
def place(tmp_path, monkeypatch):
    for folder in ("results", "netns", "conf", "bin", "ipam/net"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(runtime_garbage, "CACHE", tmp_path / "results")
    monkeypatch.setattr(runtime_garbage, "NAMESPACES", tmp_path / "netns")
    monkeypatch.setattr(runtime_garbage, "SURE_SECONDS", 0.0)
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "ipam")}
    (tmp_path / "conf/10-net.conflist").write_text(
        json.dumps({"name": "net", "plugins": [{"type": "a", "ipam": ipam}]})
    )
    (tmp_path / "conf/20-other.conf").write_text("{")
    for plugin in ("first", "second"):
        script = tmp_path / "bin" / plugin
        said = f'echo {plugin} $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME "$CNI_ARGS"; cat; echo'
        script.write_text(f"#!/bin/sh\n{{ {said}; }} >> {tmp_path}/said\n")
        script.chmod(0o755)
    return tmp_path


def attach(place, container, namespace="cni-a"):
    cached = {
        "kind": "cniCacheV1", "containerId": container, "ifName": "eth0", "networkName": "net",
        "config": base64.b64encode(json.dumps(NETWORK).encode()).decode(),
        "cniArgs": [["K8S_POD_NAME", "web"], ["IgnoreUnknown", "1"]],
        "result": {"interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": f"/var/run/netns/{namespace}"}]},
    }  # fmt: skip
    (place / "results" / f"net-{container}-eth0").write_text(json.dumps(cached))


def garbage(place, runtime):
    return RuntimeGarbage(runtime, place / "conf", place / "bin")


async def test_an_attachment_of_nobody_is_undone_by_its_plugins_the_last_first(place):
    attach(place, "gone")
    attach(place, "here")
    found = garbage(place, Runtime("here"))
    assert await found.look() == 0  # seen once
    assert await found.look() == 1
    said = (place / "said").read_text().splitlines()
    assert said[0] == "second DEL gone eth0 K8S_POD_NAME=web;IgnoreUnknown=1"
    assert said[2].startswith("first DEL gone")
    given = json.loads(said[1])
    assert (given["type"], given["name"], given["cniVersion"]) == ("second", "net", "1.0.0")
    assert given["prevResult"]["interfaces"][0] == {"name": "veth1"}
    assert [p.name for p in (place / "results").iterdir()] == ["net-here-eth0"]


async def test_what_a_plugin_cannot_undo_is_tried_again(place):
    attach(place, "gone")
    (place / "bin/second").write_text("#!/bin/sh\necho no >&2; exit 1\n")
    found = garbage(place, Runtime())
    await found.look()
    assert await found.look() == 0
    assert (place / "results/net-gone-eth0").exists()


async def test_addresses_and_namespaces_without_an_attachment(place):
    for address, container in (("10.0.0.2", "here"), ("10.0.0.3", "gone"), ("fd00__4", "gone")):
        (place / "ipam/net" / address).write_text(f"{container}\neth0")
    (place / "ipam/net/last_reserved_ip.0").write_text("10.0.0.3")
    for name in ("cni-a", "cni-b", "cni-c", "mine"):
        (place / "netns" / name).touch()
    attach(place, "here", "cni-a")
    runtime = Runtime("here", "just-made", verbose={"just-made": "cni-b"})
    found = garbage(place, runtime)
    await found.look()
    assert await found.look() == 3
    assert sorted(p.name for p in (place / "netns").iterdir()) == ["cni-a", "cni-b", "mine"]
    assert sorted(p.name for p in (place / "ipam/net").iterdir()) == ["10.0.0.2", "last_reserved_ip.0"]


async def test_nothing_is_taken_from_a_sandbox_in_the_making(place):
    runtime = Runtime()
    runtime.making = [asyncio.get_running_loop().time() - 1]
    (place / "netns/cni-new").touch()
    found = garbage(place, runtime)
    assert [await found.look() for _ in range(3)] == [0, 0, 0]
    runtime.making = []
    assert await found.look() == 1
    assert not (place / "netns/cni-new").exists()


async def test_an_unchanged_node_is_not_asked_again(place):
    attach(place, "here")
    runtime = Runtime("here")
    found = garbage(place, runtime)
    for _ in range(3):
        assert await found.look() == 0
    assert "PodSandboxStatus" not in runtime.calls
    (place / "netns/cni-x").touch()
    await found.look()
    assert "PodSandboxStatus" in runtime.calls


async def test_a_shim_of_no_sandbox_ends_with_its_processes(place):
    program = place / "containerd-shim-runc-v2"
    program.write_text("#!/bin/sh\nsleep 1000 &\nwait\n")
    program.chmod(0o755)
    started = []
    for sandbox, socket in (("gone", Runtime.endpoint), ("here", Runtime.endpoint), ("gone", "/other/containerd.sock")):
        argv = [str(program), "-c", f". {program}", "-namespace", "k8s.io", "-id", sandbox, "-address", socket]
        started.append(await asyncio.create_subprocess_exec(*argv, executable="/bin/sh", start_new_session=True))
    try:
        async with asyncio.timeout(60):
            while len(children := _children(started[0].pid)) != 1:
                await asyncio.sleep(0.01)
        found = garbage(place, Runtime("here"))
        assert await found.look() == 0
        assert await found.look() == 1
        assert await asyncio.wait_for(started[0].wait(), 60) == -9
        async with asyncio.timeout(60):
            while _alive(children[0]):
                await asyncio.sleep(0.01)
        assert [process.returncode for process in started[1:]] == [None, None]
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_roots_are_found_among_the_mounts():
    mounts = (
        "47 46 254:0 / / rw - ext4 /dev/vda rw\n"
        "89 47 0:46 / /run/x/io.containerd.runtime.v2.task/k8s.io/c2/rootfs rw - overlay overlay rw\n"
        "90 47 0:47 / /run/x/io.containerd.grpc.v1.cri/sandboxes/s/shm rw - tmpfs shm rw\n"
    )
    [root] = runtime_garbage.roots(mounts)
    assert (root.owner, str(root.path)) == ("c2", "/run/x/io.containerd.runtime.v2.task/k8s.io/c2/rootfs")


async def test_a_root_of_a_container_that_has_ended_is_unmounted(place, monkeypatch):
    c1, c2 = (runtime_garbage.Root(place / one / "rootfs", one) for one in ("c1", "c2"))
    monkeypatch.setattr(runtime_garbage, "roots", lambda _: [c1, c2])
    unmounted = []
    monkeypatch.setattr(runtime_garbage, "_unmount", unmounted.append)
    found = garbage(place, Runtime())
    assert await found.look() == 0
    assert await found.look() == 1
    assert unmounted == [c2.path]
