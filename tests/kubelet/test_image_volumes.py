"""Image volumes on a containerd that has none: pulled, seen, read-only, and gone without a trace."""

from __future__ import annotations

import subprocess

import pytest
from containerd import BUSYBOX, image_tar, rootfs
from node import pod, running_node, shell
from registry import registry_running

pytestmark = pytest.mark.cluster

DATA = "shirube.test/data:1"


@pytest.fixture(scope="module")
def registry(containerd):
    layers = [rootfs({}, {}, {f"etc/{name}": f"of the {name} layer\n"}) for name in ("lower", "upper")]
    containerd.ctr("images", "import", str(image_tar(containerd.dir, DATA, layers[0], {}, layers[1])))
    with registry_running(containerd.dir / "registry", containerd) as registry:
        yield registry


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def snapshots(containerd) -> list[str]:
    command = ["ctr", "-a", containerd.socket, "-n", "k8s.io", "snapshots", "ls"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith("image-volume-")]


def reader(name: str, image: str, policy: str, script: str, **mount):
    mounts = [{"name": "v", "mountPath": "/volume", **mount}]
    volume = {"name": "v", "image": {"reference": image, "pullPolicy": policy}}
    return pod(name, shell(f"{script}; sleep 1000", volumeMounts=mounts), volumes=[volume])


@pytest.mark.conformance(
    "[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] "
    "[MinimumKubeletVersion:1.35] [Conformance]"
)
async def test_the_files_of_a_pulled_image(node, registry, containerd):
    image = registry.push(DATA, "data:1")
    script = "cat /volume/etc/lower /volume/etc/upper; touch /volume/new 2>/dev/null || echo read-only; echo end"
    name = node.run(reader("pulled", image, "Always", script))
    await node.ready(name)
    said = await node.log_with(name, "end")
    assert said == "of the lower layer\nof the upper layer\nread-only\nend\n"
    assert {"Pulling", "Pulled"} <= {e["reason"] for e in node.api.events()}
    assert len(snapshots(containerd)) == 1
    # A new agent finds the volume of the running pod again.
    await node.stop()
    node.start()
    await node.until(lambda: node.agent.pods.get("default", name) is not None)
    await node.remove(name)
    assert snapshots(containerd) == []


async def test_an_image_of_one_layer_and_a_path_in_it(node, containerd):
    name = node.run(reader("sub", BUSYBOX, "IfNotPresent", "ls /volume/sh && echo end", subPath="bin"))
    await node.ready(name)
    assert await node.log_with(name, "end") == "/volume/sh\nend\n"
    await node.remove(name)
    assert snapshots(containerd) == []


async def test_an_image_that_is_not_there(node):
    node.run(reader("missing", "shirube.test/nothing:1", "Never", "true"))
    found = await node.until(lambda: node.api.events("FailedMount"))
    assert found[0]["message"] == (
        'MountVolume.SetUp failed for volume "v" : ErrImageNeverPull: Container image "shirube.test/nothing:1" is not '
        "present with pull policy of Never"
    )
