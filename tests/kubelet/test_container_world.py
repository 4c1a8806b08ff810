"""What a container sees: environment, files, users, limits, names; on a real containerd."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path

import pytest
from node import NODE, pod, running_node, shell

from shirube.kubelet.log_rotation import LogRotation
from shirube.kubelet.logs import LogOptions

pytestmark = pytest.mark.cluster


@pytest.fixture
async def node(containerd):
    async with running_node(containerd) as node:
        yield node


async def run_once(node, name, script, container=None, **spec):
    """The output of a pod that runs `script` and ends."""
    made = pod(name, shell(script, **(container or {})), restartPolicy="Never", **spec)
    node.run(made)
    await node.phase(name, "Succeeded")
    return await node.log(name)


async def test_environment_from_everywhere(node):
    node.api.put("/api/v1/namespaces/default/configmaps/config", {"data": {"COLOR": "red", "SIZE": "big"}})
    secret = {"data": {"password": base64.b64encode(b"hush").decode()}}
    node.api.put("/api/v1/namespaces/default/secrets/secret", secret)
    container = {
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "100m"}},
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "config"}}],
        "env": [
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "password"}}},
            {"name": "GREETING", "value": "$(C_COLOR)/$(PASSWORD)/$(MISSING)/$$(PASSWORD)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
    }
    out = await run_once(node, "environment", "env", container)
    env = dict(line.split("=", 1) for line in out.splitlines())
    assert env["GREETING"] == "red/hush/$(MISSING)/$(PASSWORD)"
    assert (env["C_SIZE"], env["NAME"], env["NODE"], env["APP"]) == ("big", "environment", NODE, "environment")
    assert env["IP"] == node.status("environment")["podIP"]
    assert env["MEMORY"] == "64"
    assert env["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert env["KUBERNETES_PORT_443_TCP"] == "tcp://10.96.0.1:443"


async def test_files_of_config_maps_secrets_and_tokens_follow_the_api(node):
    node.api.put("/api/v1/namespaces/default/configmaps/page", {"data": {"index": "first"}})
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "page", "items": [{"key": "index", "path": "deep/page"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    made = pod(
        "files",
        shell(
            "cat /p/deep/page; echo; cat /p/labels; echo; cut=1; head=$(cat /p/token); echo ${head}; sleep 1000",
            volumeMounts=[{"name": "p", "mountPath": "/p", "readOnly": True}],
        ),
        volumes=[{"name": "p", "projected": {"sources": sources, "defaultMode": 0o440}}],
    )
    name = node.run(made)
    await node.ready(name)
    lines = (await node.log_with(name, "token-for-files")).splitlines()
    assert lines[:2] == ["first", 'app="files"']
    assert lines[2].startswith("token-for-files")
    directory = node.agent.paths.volume(made["metadata"]["uid"], "kubernetes.io/projected", "p")
    assert os.stat(directory / "deep/page").st_mode & 0o777 == 0o440
    node.api.put("/api/v1/namespaces/default/configmaps/page", {"data": {"index": "second"}})
    await node.until(lambda: (directory / "deep/page").read_text() == "second", 2)


async def test_volumes_shared_in_memory_and_by_sub_path(node):
    volumes = [
        {"name": "ram", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "disk", "emptyDir": {}},
    ]
    mounts = [
        {"name": "ram", "mountPath": "/ram"},
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/sub", "subPathExpr": "a/$(WHO)"},
    ]
    script = "echo x > /sub/f; cat /disk/a/me/f; grep ' /ram ' /proc/mounts; stat -c %a /ram /disk; id -G"
    container = {"volumeMounts": mounts, "env": [{"name": "WHO", "value": "me"}]}
    out = await run_once(node, "volumes", script, container, volumes=volumes, securityContext={"fsGroup": 2000})
    lines = out.splitlines()
    assert lines[0] == "x"
    assert "tmpfs" in lines[1] and "size=1024k" in lines[1]
    assert lines[2:4] == ["2777", "2777"]
    assert "2000" in lines[4].split()


async def test_a_sub_path_cannot_leave_its_volume(node):
    outside = node.containerd.dir / "outside"
    volume = node.containerd.dir / "inside"
    outside.mkdir()
    volume.mkdir()
    (volume / "link").symlink_to("../outside")
    mounts = [{"name": "v", "mountPath": "/v", "subPath": "link"}]
    made = pod(
        "escaping",
        shell("ls /v", volumeMounts=mounts),
        volumes=[{"name": "v", "hostPath": {"path": str(volume)}}],
    )
    node.run(made)
    await node.until(lambda: node.container("escaping")["state"].get("waiting", {}).get("message"))
    waiting = node.container("escaping")["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert 'failed to prepare subPath for volumeMount "v"' in waiting["message"]


async def test_users_and_rights(node):
    container = {
        "securityContext": {
            "runAsUser": 1001,
            "runAsGroup": 1005,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    }
    script = "id -u; id -g; touch /x || echo readonly; grep -E 'NoNewPrivs|CapEff' /proc/self/status"
    out = await run_once(node, "user", script, container, securityContext={"supplementalGroups": [3000]})
    lines = [line for line in out.splitlines() if not line.startswith("touch")]
    assert lines[:3] == ["1001", "1005", "readonly"]
    assert "CapEff:\t0000000000000000" in lines and "NoNewPrivs:\t1" in lines


async def test_root_is_refused_where_only_others_may_run(node):
    name = node.run(pod("rooted", shell("id"), securityContext={"runAsNonRoot": True}))
    await node.until(lambda: node.container(name)["state"].get("waiting", {}).get("message"))
    message = node.container(name)["state"]["waiting"]["message"]
    assert message.startswith("container has runAsNonRoot and image will run as root (pod: ")


async def test_names_and_hosts(node):
    script = "hostname; cat /etc/hosts /etc/resolv.conf"
    aliases = [{"ip": "10.1.2.3", "hostnames": ["other", "one.more"]}]
    out = await run_once(node, "named", script, hostname="me", subdomain="sub", hostAliases=aliases)
    ip = node.status("named")["podIP"]
    assert out.startswith("me\n# Kubernetes-managed hosts file.\n")
    assert f"{ip}\tme.sub.default.svc.cluster.local\tme\n" in out.replace(" me\n", "\tme\n")
    assert "10.1.2.3\tother\tone.more\n" in out
    assert "nameserver 10.96.0.10\n" in out
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in out
    assert "options ndots:5" in out


async def test_limits_reach_the_cgroups_of_pod_and_container(node):
    resources = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    name = node.run(pod("limited", shell("sleep 1000", resources=resources)))
    await node.ready(name)
    group = node.agent.services.cgroups.pod_path(node.api.pod(name))
    assert "/burstable/pod" in group
    if not node.agent.services.cgroups.unified:
        cpu, memory = (f"/sys/fs/cgroup/{part}{group}" for part in ("cpu", "memory"))
        assert (await _read(f"{cpu}/cpu.shares"), await _read(f"{cpu}/cpu.cfs_quota_us")) == ("256", "50000")
        assert await _read(f"{memory}/memory.limit_in_bytes") == str(64 * 1024 * 1024)


async def _read(path):
    return await asyncio.to_thread(lambda: Path(path).read_text().strip())


async def test_a_container_over_its_memory_limit_is_oom_killed(node):
    resources = {"limits": {"memory": "8Mi"}, "requests": {"memory": "8Mi"}}
    script = "a=0123456789; while true; do a=$a$a; done"
    name = node.run(pod("hungry", shell(script, resources=resources), restartPolicy="Never"))
    status = await node.phase(name, "Failed")
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


async def test_pods_on_the_nodes_network_and_shared_processes(node):
    out = await run_once(node, "host", "ls /sys/class/net; cat /etc/hosts", hostNetwork=True)
    assert "cni0" in out and "# Kubernetes-managed hosts file (host network)." in out
    assert node.status("host")["podIP"] == "127.0.0.1"
    name = node.run(pod("shared", shell("sleep 1000"), shell("sleep 0.2; ps; sleep 1000"), shareProcessNamespace=True))
    await node.ready(name)
    assert "sleep 1000" in await node.log_with(name, "/pause", "c1")


async def test_following_a_log_ends_with_the_container(node):
    name = node.run(pod("talking", shell("for i in 1 2 3; do echo $i; sleep 0.1; done"), restartPolicy="Never"))
    await node.until(lambda: node.agent.pods.container("default", name, "c0"))
    chunks = node.agent.read_logs("default", name, "c0", LogOptions(follow=True))
    async with asyncio.timeout(60):
        assert b"".join([chunk async for chunk in chunks]) == b"1\n2\n3\n"


async def test_a_full_log_is_rotated(node):
    name = node.run(pod("chatty", shell("while true; do echo 0123456789; sleep 0.01; done")))
    await node.ready(name)
    agent = node.agent
    rotation = LogRotation(agent.runtime, agent.clock, agent.pods.running_containers, max_bytes=200, max_files=3)
    record = agent.pods.container("default", name, "c0")
    log = Path(record.log_path)
    for _ in range(4):
        await node.until(lambda: log.stat().st_size > 300)
        await rotation.rotate_all()
        await asyncio.sleep(1.05)  # files are named by the second
    assert len(list(log.parent.iterdir())) == 3
    assert sum(path.suffix == ".gz" for path in log.parent.iterdir()) == 1


async def test_pods_go_on_while_the_api_server_is_away(node):
    name = node.run(pod("lonely", shell("sleep 0.5; exit 1")))
    await node.until(lambda: "running" in node.container(name)["state"])
    node.api.down = True
    agent = node.agent
    await node.until(lambda: (c := agent.pods.container("default", name, "c0")) and c.attempt == 1)
    node.api.down = False
    await node.until(lambda: node.container(name).get("restartCount") == 1)
