"""Claims on a real node with the sample driver; allocation and reservation are written by hand."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from node import pod, running_node, shell

DRIVER = Path(__file__).parents[2] / "examples/dra-driver/driver.py"
PATH = "/api/v1/namespaces/default/"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/"

pytestmark = pytest.mark.cluster


@contextlib.contextmanager
def driver_running(root: Path):
    with (root / "driver.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, str(DRIVER), str(root)], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        for socket in (root / "plugins_registry").glob("*.sock"):
            socket.unlink()


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


def claim(node, name: str, *users, allocated: bool = True):
    """A claim that is allocated to the sample's device and reserved for the pods."""
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "example", "device": "gpu-0"}
    status = {
        "reservedFor": [{"resource": "pods", "name": u["metadata"]["name"], "uid": u["metadata"]["uid"]} for u in users]
    }
    if allocated:
        status["allocation"] = {"devices": {"results": [result]}}
    node.api.put(CLAIMS + name, {"metadata": {"uid": f"uid-of-{name}"}, "status": status})


def using(name: str, claim_name: str, script: str = "echo $EXAMPLE_CLAIM; ls -l /dev/example-gpu; sleep 1000", **more):
    container = shell(script, resources={"claims": [{"name": "gpu", "request": "gpu"}]})
    return pod(name, container, resourceClaims=[{"name": "gpu", "resourceClaimName": claim_name}], **more)


async def test_pods_share_a_claim_until_the_last_is_gone(node):
    root = node.agent.paths.root
    pods = [using("first", "shared"), using("second", "shared")]
    claim(node, "shared", *pods)
    with driver_running(root):
        for one in pods:
            node.run(one)
        for one in pods:
            name = one["metadata"]["name"]
            await node.ready(name)
            said = await node.log_with(name, "example-gpu")
            # /dev/null by another name
            assert said.startswith("shared\nc") and " 1,   3 " in said
        log = root / "driver.log"
        assert log.read_text().split("\n")[:2] == ["registered", "prepared shared"]
        await node.remove("first")
        # A new agent knows that the claim is prepared, and for whom.
        await node.stop()
        node.start()
        await node.until(lambda: node.agent.pods.get("default", "second") is not None)
        await node.until(lambda: node.agent.claims._drivers)
        assert "unprepared" not in log.read_text()
        await node.remove("second")
        assert log.read_text().count("prepared shared") == 2 and "unprepared shared" in log.read_text()
    assert list((root / "cdi").iterdir()) == []
    assert node.agent.claims.holders() == set()


async def test_a_pod_waits_for_its_claim_and_its_driver(node):
    root = node.agent.paths.root
    made = using("waits", "late")
    claim(node, "late", allocated=False)
    node.run(made)

    def said(text: str) -> bool:
        return any(text in e["message"] for e in node.api.events("FailedPrepareDynamicResources"))

    await node.until(lambda: said("ResourceClaim late is not allocated yet"))
    claim(node, "late")
    await node.until(lambda: said("is not allowed to use resource claim late"))
    claim(node, "late", made)
    await node.until(lambda: said("DRA driver gpu.example.com is not registered"))
    with driver_running(root):
        await node.ready("waits")
        await node.remove("waits")


async def test_a_template_s_claim_is_found_by_the_pod_s_status(node):
    root = node.agent.paths.root
    container = shell("echo $EXAMPLE_CLAIM; sleep 1000", resources={"claims": [{"name": "gpu"}]})
    made = pod("templated", container, resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    made["status"]["resourceClaimStatuses"] = [{"name": "gpu", "resourceClaimName": "templated-gpu-abc"}]
    claim(node, "templated-gpu-abc", made)
    with driver_running(root):
        node.run(made)
        await node.ready("templated")
        assert await node.log_with("templated", "\n") == "templated-gpu-abc\n"
        await node.remove("templated")


async def test_an_extended_resource_of_a_device_class(node):
    root = node.agent.paths.root
    other = shell("echo none$EXAMPLE_CLAIM; sleep 1000")
    made = pod("extended", shell("echo $EXAMPLE_CLAIM; sleep 1000"), other)
    mapping = {"containerName": "c0", "resourceName": "example.com/gpu", "requestName": "gpu"}
    made["status"]["extendedResourceClaimStatus"] = {"resourceClaimName": "made", "requestMappings": [mapping]}
    claim(node, "made", made)
    with driver_running(root):
        node.run(made)
        await node.ready("extended")
        assert await node.log_with("extended", "\n") == "made\n"
        assert await node.log_with("extended", "\n", "c1") == "none\n"
        await node.remove("extended")


async def test_what_a_pod_that_is_gone_left_behind_is_given_back(node):
    root = node.agent.paths.root
    made = using("leaves", "left")
    claim(node, "left", made)
    log = root / "driver.log"
    with driver_running(root):
        node.run(made)
        await node.ready("leaves")
        await node.kill()
    node.api.delete_pod("leaves", 0)
    node.start()
    uid = made["metadata"]["uid"]
    await node.until(lambda: uid not in node.agent.claims.holders())
    assert "unprepared left" not in log.read_text()
    with driver_running(root):
        await node.until(lambda: "unprepared left" in log.read_text())
