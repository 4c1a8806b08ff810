"""Static pods: manifests on the node become pods, the API gets their mirrors."""

from __future__ import annotations

import pytest
import yaml
from node import NODE, pod, running_node, shell

from shirube.kubelet.static_pods import ManifestError, static_pod


def manifest(script, name="still"):
    body = pod(name, shell(script))
    del body["status"], body["metadata"]["uid"], body["metadata"]["generation"]
    return yaml.safe_dump(body).encode()


def test_a_manifest_is_completed_and_its_uid_follows_its_content():
    made = static_pod(manifest("sleep 1"), "n-1", 0.0)
    assert made["metadata"]["name"] == "still-n-1"
    assert made["spec"]["dnsPolicy"] == "ClusterFirst"
    assert made["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
    assert {"operator": "Exists", "effect": "NoExecute"} in made["spec"]["tolerations"]
    assert static_pod(manifest("sleep 1"), "n-1", 9.0)["metadata"]["uid"] == made["metadata"]["uid"]
    assert static_pod(manifest("sleep 2"), "n-1", 0.0)["metadata"]["uid"] != made["metadata"]["uid"]


@pytest.mark.parametrize(
    "text", [b"[1", b"{}", b"kind: Pod\napiVersion: v1\nmetadata: {}\nspec: {containers: 7}\n", b"x" * 2**21]
)
def test_what_is_no_pod_is_refused(text):
    with pytest.raises(ManifestError):
        static_pod(text, "n", 0.0)


@pytest.mark.cluster
async def test_a_static_pod_runs_is_mirrored_changes_and_goes(containerd, monkeypatch):
    monkeypatch.setattr("shirube.kubelet.static_pods._POLL_SECONDS", 0.1)
    async with running_node(containerd) as node:
        await node.until(lambda: "/api/v1/nodes/" + NODE in node.api.objects)
        directory = node.containerd.dir / "kubelet/static-pods"
        directory.mkdir()
        (directory / "broken.yaml").write_text("kind: Nonsense")
        file = directory / "still.yaml"
        file.write_bytes(manifest("echo first; sleep 1000"))
        name = f"still-{NODE}"
        await node.ready(name)
        mirror = node.api.pod(name)
        first = mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
        assert mirror["metadata"]["ownerReferences"][0]["kind"] == "Node"
        assert mirror["status"]["containerStatuses"][0]["state"]["running"]
        # Deleting the mirror does not end the pod: it is shown again.
        container = mirror["status"]["containerStatuses"][0]["containerID"]
        node.api.delete_pod(name, 30)
        await node.until(lambda: (p := node.api.pod(name)) and p["metadata"]["uid"] != mirror["metadata"]["uid"])
        await node.ready(name)
        assert node.container(name)["containerID"] == container
        # A new agent finds it running and leaves it alone.
        await node.stop()
        node.start()
        await node.until(lambda: node.agent.pods.has(first))
        await node.until(lambda: node.agent.pods._workers[first].runtime.running())
        assert node.agent.pods._workers[first].runtime.latest("c0").id in container
        file.write_bytes(manifest("echo second; sleep 1000"))
        await node.until(lambda: not node.agent.pods.has(first))
        await node.until(lambda: node.container(name).get("containerID") not in (None, container))
        await node.ready(name)
        file.unlink()
        await node.until(lambda: node.api.pod(name) is None)
        await node.until(lambda: not node.agent.pods._workers)
