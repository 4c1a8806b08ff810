"""What kubectl shows and does: the official program against the cluster."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.cluster.conformance.objects import IMAGE, container, pod, running, workload
from tests.cluster.conftest import Cluster
from tests.waiting import eventually


@pytest.fixture
def kubectl(cluster: Cluster, ns: str):
    """kubectl in the test's namespace."""

    def run(*arguments: str, input: str | None = None) -> str:
        return cluster.kubectl("-n", ns, *arguments, input=input)

    return run


def primary(replicas: int = 1):
    """The replication controller that stands for upstream's agnhost-primary."""
    labels = {"app": "agnhost", "role": "primary"}
    listening = container("agnhost-primary", ports=[{"name": "agnhost-server", "containerPort": 8080}])
    return workload("ReplicationController", "agnhost-primary", labels, replicas, listening)


def all_running(api, ns: str, count: int, labels: str = ""):
    def found():
        pods = api.pods(ns).items(labels)
        return pods if len(pods) == count and all(running(p) for p in pods) else None

    return eventually(found, f"{count} pods run")


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]"
)
def test_api_versions(kubectl):
    assert "v1" in kubectl("api-versions").splitlines()


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in "
    "cluster-info [Conformance]"
)
def test_cluster_info(kubectl):
    plain = re.sub(r"\x1b\[[0-9;]*m", "", kubectl("cluster-info"))
    assert "Kubernetes control plane is running at https://" in plain


@pytest.mark.conformance("[sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]")
def test_version(kubectl):
    printed = kubectl("version", "--output", "json")
    for side in ("clientVersion", "serverVersion"):
        found = json.loads(printed)[side]
        assert {"gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler"} <= found.keys()
        for field in ("major", "minor", "gitVersion", "platform"):
            assert found[field], (side, field)


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and "
    "pods [Conformance]"
)
def test_describe(api, ns, kubectl):
    kubectl("create", "-f", "-", input=json.dumps(primary()))
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "agnhost-primary"}}
    service["metadata"]["labels"] = {"app": "agnhost", "role": "primary"}
    ports = [{"port": 6379, "targetPort": "agnhost-server"}]
    service["spec"] = {"ports": ports, "selector": {"app": "agnhost", "role": "primary"}}
    kubectl("create", "-f", "-", input=json.dumps(service))
    [made] = all_running(api, ns, 1)

    def says(text: str, *wanted: tuple[str, ...]) -> None:
        lines = text.splitlines()
        for parts in wanted:
            assert any(all(part in line for part in parts) for line in lines), (parts, text)

    says(
        kubectl("describe", "pod", made["metadata"]["name"]),
        ("Name:", "agnhost-primary-"),
        ("Namespace:", ns),
        ("Node:", made["spec"]["nodeName"]),
        ("Labels:", "app=agnhost"),
        ("role=primary",),
        ("Annotations:",),
        ("Status:", "Running"),
        ("IP:", made["status"]["podIP"]),
        ("Controlled By:", "ReplicationController/agnhost-primary"),
        ("Image:", IMAGE),
        ("State:", "Running"),
        ("QoS Class:", "BestEffort"),
    )
    says(
        kubectl("describe", "rc", "agnhost-primary"),
        ("Name:", "agnhost-primary"),
        ("Namespace:", ns),
        ("Selector:", "app=agnhost,role=primary"),
        ("Labels:", "app=agnhost"),
        ("role=primary",),
        ("Replicas:", "1 current", "1 desired"),
        ("Pods Status:", "1 Running", "0 Waiting", "0 Succeeded", "0 Failed"),
        ("Pod Template:",),
        ("Image:", IMAGE),
        ("Events:",),
    )
    says(
        kubectl("describe", "service", "agnhost-primary"),
        ("Name:", "agnhost-primary"),
        ("Namespace:", ns),
        ("Labels:", "app=agnhost"),
        ("Selector:", "app=agnhost,role=primary"),
        ("Type:", "ClusterIP"),
        ("IP:", "10."),
        ("Port:", "<unset>", "6379/TCP"),
        ("Endpoints:", f"{made['status']['podIP']}:8080"),
        ("Session Affinity:", "None"),
    )
    says(
        kubectl("describe", "node", made["spec"]["nodeName"]),
        ("Name:", made["spec"]["nodeName"]),
        ("Labels:",),
        ("Annotations:",),
        ("CreationTimestamp:",),
        ("Conditions:",),
        ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"),
        ("Addresses:",),
        ("Capacity:",),
        ("Container Runtime Version:",),
        ("Kubelet Version:",),
    )
    says(kubectl("describe", "namespace", ns), ("Name:", ns), ("Labels:",), ("Annotations:",), ("Status:", "Active"))


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments "
    "[Conformance]"
)
def test_diff(cluster, ns, kubectl):
    made = workload("Deployment", "httpd-deployment", {"app": "httpd"}, 0)
    kubectl("create", "-f", "-", input=json.dumps(made))
    made["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/other:1"
    done = cluster.run("-n", ns, "diff", "-f", "-", input=json.dumps(made))
    assert done.returncode == 1
    assert re.search(rf"^-.*image: {IMAGE}$", done.stdout, re.M)
    assert re.search(r"^\+.*image: localhost/other:1$", done.stdout, re.M)


@pytest.mark.conformance("[sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]")
def test_expose(api, ns, kubectl):
    kubectl("create", "-f", "-", input=json.dumps(primary()))
    [made] = all_running(api, ns, 1)
    kubectl("expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=8080")
    kubectl("expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=8080")
    for name, port in (("rm2", 1234), ("rm3", 2345)):
        service = api.at("v1", "services", ns).get(name)
        [given] = service["spec"]["ports"]
        assert (given["port"], given["targetPort"]) == (port, 8080)

        def reached(name: str = name, port: int = port) -> bool:
            endpoints = api.at("v1", "endpoints", ns).find(name) or {}
            subsets = endpoints.get("subsets") or []
            return [(a["ip"], p["port"]) for s in subsets for a in s["addresses"] for p in s["ports"]] == [
                (made["status"]["podIP"], 8080)
            ]

        eventually(reached, f"{name} leads to the pod", 10)


@pytest.mark.conformance("[sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]")
def test_label(api, ns, kubectl):
    kubectl("create", "-f", "-", input=json.dumps(pod("pause", container(script="sleep 3600"))))
    all_running(api, ns, 1)
    kubectl("label", "pods", "pause", "testing-label=testing-label-value")
    assert "testing-label-value" in kubectl("get", "pod", "pause", "-L", "testing-label")
    assert "pause" in kubectl("get", "pod", "-l", "testing-label=testing-label-value")
    kubectl("label", "pods", "pause", "testing-label-")
    assert "testing-label-value" not in kubectl("get", "pod", "pause", "-L", "testing-label")
    assert "pause" not in kubectl("get", "pod", "-l", "testing-label")


@pytest.mark.conformance("[sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]")
def test_patch(api, ns, kubectl):
    kubectl("create", "-f", "-", input=json.dumps(primary(2)))
    for one in all_running(api, ns, 2):
        kubectl("patch", "pod", one["metadata"]["name"], "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    assert [p["metadata"]["annotations"]["x"] for p in api.pods(ns).items("role=primary")] == ["y", "y"]


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]"
)
def test_replace(api, ns, kubectl):
    kubectl("run", "e2e-test-httpd-pod", f"--image={IMAGE}", "--pod-running-timeout=2m0s", "--labels=run=e2e")
    all_running(api, ns, 1, "run=e2e")
    shown = json.loads(kubectl("get", "pod", "e2e-test-httpd-pod", "-o", "json"))
    shown["spec"]["containers"][0]["image"] = "localhost/other:1"
    kubectl("replace", "-f", "-", input=json.dumps(shown))
    found = api.pods(ns).get("e2e-test-httpd-pod")
    assert found["spec"]["containers"][0]["image"] == "localhost/other:1"
    kubectl("delete", "pods", "e2e-test-httpd-pod", "--grace-period=1")


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]"
)
def test_run(api, ns, kubectl):
    kubectl("run", "e2e-test-httpd-pod", "--restart=Never", f"--image={IMAGE}")
    found = api.pods(ns).get("e2e-test-httpd-pod")
    assert [c["image"] for c in found["spec"]["containers"]] == [IMAGE]
    assert found["spec"]["restartPolicy"] == "Never"
    kubectl("delete", "pods", "e2e-test-httpd-pod", "--grace-period=1")
    assert api.pods(ns).items() == []


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]"
)
def test_dry_run(api, ns, kubectl):
    kubectl("run", "e2e-test-httpd-pod", f"--image={IMAGE}", "--labels=run=e2e-test-httpd-pod")
    change = {"spec": {"containers": [{"name": "e2e-test-httpd-pod", "image": "localhost/other:1"}]}}
    kubectl("patch", "pod", "e2e-test-httpd-pod", "-p", json.dumps(change), "--dry-run=server")
    assert api.pods(ns).get("e2e-test-httpd-pod")["spec"]["containers"][0]["image"] == IMAGE


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


@contextmanager
def proxy(cluster: Cluster, *arguments: str) -> Iterator[str]:
    """A running `kubectl proxy`; what it said first."""
    config = str(cluster.layout.admin_kubeconfig)
    with subprocess.Popen(
        [cluster.kubectl_program, "--kubeconfig", config, "proxy", "--disable-filter", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        stopper = threading.Timer(20, child.kill)
        stopper.start()
        try:
            assert child.stdout is not None
            yield child.stdout.readline()
        finally:
            stopper.cancel()
            child.kill()


def api_versions(connection: http.client.HTTPConnection) -> list[str]:
    try:
        connection.request("GET", "/api/")
        return json.loads(connection.getresponse().read())["versions"]
    finally:
        connection.close()


@pytest.mark.conformance("[sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]")
def test_proxy_port_0(cluster):
    with proxy(cluster, "--port=0") as said:
        port = int(re.search(r"127\.0\.0\.1:(\d+)", said)[1])
        assert api_versions(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) == ["v1"]


@pytest.mark.conformance("[sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]")
def test_proxy_unix_socket(cluster, tmp_path):
    path = tmp_path / "test"
    with proxy(cluster, f"--unix-socket={path}") as said:
        assert str(path) in said
        assert api_versions(_UnixConnection(path)) == ["v1"]


def nautilus(replicas: int) -> str:
    labels = {"name": "update-demo", "version": "nautilus"}
    made = workload("ReplicationController", "update-demo-nautilus", labels, replicas, container("update-demo"))
    return yaml.safe_dump(made)


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]"
)
def test_update_demo(api, ns, kubectl):
    kubectl("create", "-f", "-", input=nautilus(2))
    all_running(api, ns, 2, "name=update-demo")
    kubectl("delete", "--grace-period=0", "--force", "-f", "-", input=nautilus(2))
    eventually(lambda: not api.pods(ns).items("name=update-demo"), "its pods are gone")
    assert kubectl("get", "rc,svc,pods", "-l", "name=update-demo", "--no-headers") == ""


@pytest.mark.conformance("[sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]")
def test_update_demo_scaled(api, ns, kubectl):
    kubectl("create", "-f", "-", input=nautilus(2))
    all_running(api, ns, 2, "name=update-demo")
    for count in (1, 2):
        kubectl("scale", "rc", "update-demo-nautilus", f"--replicas={count}", "--timeout=5m")
        all_running(api, ns, count, "name=update-demo")


@pytest.mark.conformance("[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]")
def test_logs(api, ns, kubectl):
    script = 'n=0; while [ $n -lt 20 ]; do echo "line $n of the log"; n=$((n+1)); done; exec sleep 3600'
    kubectl("create", "-f", "-", input=json.dumps(pod("logs-generator", container("logs-generator", script))))
    all_running(api, ns, 1)
    name = "logs-generator"
    full = eventually(lambda: (t := kubectl("logs", name, name)).count("\n") == 20 and t, "twenty lines", 10)
    assert kubectl("logs", name, "--tail=1") == full.splitlines()[-1] + "\n"
    assert kubectl("logs", name, "--limit-bytes=1") == full[0]
    stamped = kubectl("logs", name, "--tail=1", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) line 19 of the log\n", stamped)
    assert kubectl("logs", name, "--since=24h") == full
    # The lines were written at once: soon a second has gone by since the last.
    eventually(lambda: kubectl("logs", name, "--since=1s") == "", "nothing is newer than a second", 10)
