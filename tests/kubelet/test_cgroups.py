"""The group tree on a v2-shaped directory; v1 is shown by the cluster tests where the machine has it."""

from __future__ import annotations

import pytest

from shirube.kubelet.cgroups import Cgroups

POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u"},
    "spec": {
        "containers": [
            {
                "name": "c",
                "resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "2", "memory": "2Mi"}},
            }
        ]
    },
}


async def test_a_pods_group_and_its_limits(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    groups = Cgroups("/shirube/c/n/kubepods", tmp_path)
    assert groups.unified
    groups.create_root()
    path = groups.create_pod(POD)
    assert path == "/shirube/c/n/kubepods/burstable/podu"
    directory = tmp_path / path[1:]
    assert (directory / "cpu.max").read_text() == "200000 100000"
    assert (directory / "cpu.weight").read_text() == "39"
    assert (directory / "memory.max").read_text() == str(2 * 1024 * 1024)
    assert groups.pod_uids() == {"u"}
    for file in list(directory.iterdir()):
        file.unlink()  # a real cgroup's files go with it
    await groups.remove_pod("u")
    assert groups.pod_uids() == set()


@pytest.mark.parametrize(
    ("marker", "file"), [("cgroup.controllers", "memory.swap.max"), ("", "memory/memory.swappiness")]
)
def test_pods_do_not_swap(tmp_path, marker, file):
    if marker:
        (tmp_path / marker).write_text("memory")
    root = (tmp_path / file).parent / "pods"
    root.mkdir(parents=True)
    (root / (tmp_path / file).name).write_text("60")
    Cgroups("/pods", tmp_path).create_root()
    assert (root / (tmp_path / file).name).read_text() == "0"
