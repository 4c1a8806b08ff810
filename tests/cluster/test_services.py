"""Services on a cluster of two nodes, asked from a pod: addresses, node ports, session affinity, load balancers; and a
node that is switched off, comes back and is removed."""

from __future__ import annotations

import json
import urllib.request

import pytest
from tests.cluster.conftest import NAME, Cluster
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

SECOND = f"{NAME}-2"
PODS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule,
         labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: localhost/hello:1
        command: [/bin/sh, -c, "echo $HOSTNAME > /www2/index.html; exec /bin/httpd -f -p 8080 -h /www2"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /www2}]
      volumes: [{name: page, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: localhost/hello:1, command: [/bin/sleep, "3600"]}]
"""
SPACE = "two-nodes"


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster, second_node: str):
    assert second_node == SECOND
    cluster.kubectl("create", "namespace", SPACE)
    cluster.kubectl("-n", SPACE, "apply", "-f", "-", input=PODS)
    cluster.kubectl("-n", SPACE, "rollout", "status", "deployment/web", "--timeout=180s")
    cluster.kubectl("-n", SPACE, "wait", "--for=condition=Ready", "pod/client", "--timeout=180s")
    yield cluster
    cluster.kubectl("delete", "namespace", SPACE, "--wait=false")


@pytest.fixture
def service(two_nodes: Cluster):
    """Makes the Service `name` with this spec; deletes it afterwards."""
    made: set[str] = set()

    def make(name: str, **spec) -> dict:
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], **spec}
        obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        two_nodes.kubectl("-n", SPACE, "apply", "-f", "-", input=json.dumps(obj))
        made.add(name)
        return two_nodes.get("service", "-n", SPACE, name)

    yield make
    for name in made:
        two_nodes.kubectl("-n", SPACE, "delete", "service", name)


def takers(cluster: Cluster, address: str, times: int = 20) -> set[str]:
    """Names of the pods that answered; every request must be answered."""
    loop = f"i=0; while [ $i -lt {times} ]; do wget -q -O- http://{address}/ || echo nobody; i=$((i+1)); done"
    said = cluster.kubectl("-n", SPACE, "exec", "client", "--", "/bin/sh", "-c", loop).splitlines()
    assert len(said) == times and "nobody" not in said, said
    return set(said)


def reachable(cluster: Cluster, address: str) -> None:
    eventually(lambda: takers(cluster, address, 1), f"{address} answers", 15)


def addresses(cluster: Cluster) -> list[str]:
    nodes = cluster.get("nodes")["items"]
    return [a["address"] for n in nodes for a in n["status"]["addresses"] if a["type"] == "InternalIP"]


@pytest.mark.conformance("[sig-network] Services should be able to create a functioning NodePort service [Conformance]")
def test_a_node_port_on_every_node(two_nodes, service):
    made = service("nodeport", type="NodePort")
    port = made["spec"]["ports"][0]["nodePort"]
    places = ["nodeport", made["spec"]["clusterIP"], *(f"{a}:{port}" for a in addresses(two_nodes))]
    assert len(places) == 4
    for place in places:
        reachable(two_nodes, place)
        assert len(takers(two_nodes, place, 30)) == 3, place


def affinity(cluster: Cluster, service, name: str, kind: str, *, switch: bool) -> None:
    made = service(name, type=kind, sessionAffinity="ClientIP")
    if kind == "NodePort":
        ports = [f"{a}:{made['spec']['ports'][0]['nodePort']}" for a in addresses(cluster)]
    else:
        ports = []
    for place in (name, made["spec"]["clusterIP"], *ports):
        reachable(cluster, place)
    place = ports[0] if ports else made["spec"]["clusterIP"]
    if not switch:
        assert len(takers(cluster, place)) == 1
        return
    for wanted, served in (("None", 3), ("ClientIP", 1)):
        service(name, type=kind, sessionAffinity=wanted)
        eventually(
            lambda n=served: len(takers(cluster, place)) == n, f"with affinity {wanted} {served} pods answer", 20
        )


@pytest.mark.conformance(
    "[sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]"
)
def test_session_affinity_of_a_cluster_ip(two_nodes, service):
    affinity(two_nodes, service, "sticky", "ClusterIP", switch=False)


@pytest.mark.conformance(
    "[sig-network] Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]"
)
def test_session_affinity_of_a_node_port(two_nodes, service):
    affinity(two_nodes, service, "sticky-port", "NodePort", switch=False)


@pytest.mark.conformance(
    "[sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly]"
    " [Conformance]"
)
def test_switching_session_affinity_of_a_cluster_ip(two_nodes, service):
    affinity(two_nodes, service, "switch", "ClusterIP", switch=True)


@pytest.mark.conformance(
    "[sig-network] Services should be able to switch session affinity for NodePort service [LinuxOnly] [Conformance]"
)
def test_switching_session_affinity_of_a_node_port(two_nodes, service):
    affinity(two_nodes, service, "switch-port", "NodePort", switch=True)


def test_a_load_balancer_has_the_nodes_addresses_and_answers_on_the_host(two_nodes, service):
    port = free_port()
    service("balanced", type="LoadBalancer", ports=[{"port": port, "targetPort": 8080}])

    def ingress():
        status = two_nodes.get("service", "-n", SPACE, "balanced")["status"]
        return [i["ip"] for i in status["loadBalancer"].get("ingress", [])]

    eventually(lambda: ingress() == addresses(two_nodes), "the nodes' addresses", 10)

    def page():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                return answer.read().decode()
        except OSError:
            return ""

    assert eventually(page, "the host's loopback answers", 10).startswith("web-")


POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {friend: "yes"}}}], ports: [{port: 8080}]}]
"""


def test_a_network_policy_lets_friends_in_and_probes(two_nodes, service):
    address = service("guarded")["spec"]["clusterIP"]
    reachable(two_nodes, address)
    two_nodes.kubectl("-n", SPACE, "apply", "-f", "-", input=POLICY)
    try:
        ask = f"wget -q -O- http://{address}/ & p=$!; i=0; while [ $i -lt 20 ] && kill -0 $p 2>/dev/null; do "
        ask += "sleep 0.1; i=$((i+1)); done; kill $p 2>/dev/null && echo silence"

        def silent():
            return "silence" in two_nodes.run("-n", SPACE, "exec", "client", "--", "/bin/sh", "-c", ask).stdout

        eventually(silent, "strangers are not let in", 15)
        two_nodes.kubectl("-n", SPACE, "label", "pod", "client", "friend=yes")
        eventually(lambda: not silent(), "friends are let in", 15)
        assert len(takers(two_nodes, address, 30)) == 3
        assert two_nodes.get("deployment", "-n", SPACE, "web")["status"]["readyReplicas"] == 3
    finally:
        two_nodes.kubectl("-n", SPACE, "delete", "networkpolicy", "closed")


def test_a_node_is_switched_off_and_on(two_nodes):
    two_nodes.shirube("node", "stop", "--name", NAME, SECOND)
    said = two_nodes.shirube("status", "--name", NAME).stdout
    assert f"{SECOND}" in said and "stopped" in said
    assert not any(name.endswith(f"@{SECOND}") for name in two_nodes.children())
    two_nodes.shirube("node", "stop", "--name", NAME, SECOND)  # nothing more happens
    two_nodes.shirube("node", "start", "--name", NAME, SECOND)
    nodes = {n["metadata"]["name"]: n for n in two_nodes.get("nodes")["items"]}
    ready = {c["type"]: c["status"] for c in nodes[SECOND]["status"]["conditions"]}["Ready"]
    assert ready == "True"
    wrong = two_nodes.shirube("node", "stop", "--name", NAME, "nobody", check=False)
    assert wrong.returncode == 1 and SECOND in wrong.stderr
    two_nodes.kubectl("-n", SPACE, "rollout", "status", "deployment/web", "--timeout=180s")


def listening_pod(cluster: Cluster, name: str, label: str, port: int, port_name: str = "http") -> str:
    """A pod that serves a page on a port; its address, when it is Ready."""
    container = {
        "name": "c",
        "image": "localhost/hello:1",
        "command": ["/bin/httpd", "-f", "-p", str(port), "-h", "/www"],
        "ports": [{"name": port_name, "containerPort": port}],
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": label}}, "spec": spec}
    cluster.kubectl("-n", SPACE, "apply", "-f", "-", input=json.dumps(pod))
    cluster.kubectl("-n", SPACE, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
    return cluster.get("pod", "-n", SPACE, name)["status"]["podIP"]


def serving(cluster: Cluster, name: str) -> set[tuple[str, str, int]]:
    """(address, name of the port, number) of every ready endpoint of a Service."""
    pieces = cluster.get("endpointslices", "-n", SPACE, "-l", f"kubernetes.io/service-name={name}")["items"]
    return {
        (address, port.get("name", ""), port["port"])
        for piece in pieces
        for endpoint in piece["endpoints"] or []
        if endpoint["conditions"].get("ready") is not False
        for address in endpoint["addresses"]
        for port in piece["ports"] or []
    }


def gone(cluster: Cluster, *pods: str) -> None:
    cluster.kubectl("-n", SPACE, "delete", "pod", *pods, "--timeout=180s")


def expect(cluster: Cluster, name: str, wanted: set[tuple[str, str, int]]) -> None:
    eventually(lambda: serving(cluster, name) == wanted, f"{name} has the endpoints {wanted}", 30)


@pytest.mark.conformance("[sig-network] Services should serve a basic endpoint from pods [Conformance]")
def test_endpoints_follow_pods(two_nodes, service):
    service("basic", selector={"app": "basic"})
    expect(two_nodes, "basic", set())
    first = listening_pod(two_nodes, "basic-1", "basic", 8080)
    expect(two_nodes, "basic", {(first, "", 8080)})
    reachable(two_nodes, "basic")
    second = listening_pod(two_nodes, "basic-2", "basic", 8080)
    expect(two_nodes, "basic", {(first, "", 8080), (second, "", 8080)})
    gone(two_nodes, "basic-1")
    expect(two_nodes, "basic", {(second, "", 8080)})
    reachable(two_nodes, "basic")
    gone(two_nodes, "basic-2")
    expect(two_nodes, "basic", set())


@pytest.mark.conformance("[sig-network] Services should serve multiport endpoints from pods [Conformance]")
def test_endpoints_of_two_ports(two_nodes, service):
    ports = [{"name": "one", "port": 80, "targetPort": "p100"}, {"name": "two", "port": 81, "targetPort": "p101"}]
    service("multi", selector={"app": "multi"}, ports=ports)
    expect(two_nodes, "multi", set())

    first = listening_pod(two_nodes, "multi-1", "multi", 8100, "p100")
    expect(two_nodes, "multi", {(first, "one", 8100)})
    second = listening_pod(two_nodes, "multi-2", "multi", 8101, "p101")
    expect(two_nodes, "multi", {(first, "one", 8100), (second, "two", 8101)})
    reachable(two_nodes, "multi:80")
    reachable(two_nodes, "multi:81")
    gone(two_nodes, "multi-1")
    expect(two_nodes, "multi", {(second, "two", 8101)})
    gone(two_nodes, "multi-2")
    expect(two_nodes, "multi", set())
