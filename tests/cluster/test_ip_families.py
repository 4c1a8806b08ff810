"""Clusters of both address families, and of IPv6 alone: pods, Services, names, host ports, policies, the loopback.

They are clusters of their own beside the shared one: the families are chosen when a cluster is made.
"""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator

import pytest
from tests.cluster.conformance import net_pods as net
from tests.cluster.conformance.api import MERGE, Api
from tests.cluster.conftest import NAME, Cluster
from tests.ports import free_node_port, free_port
from tests.waiting import eventually

from shirube.cluster.layout import ClusterLayout

pytestmark = pytest.mark.cluster
SPACE = "default"


def ports() -> list[dict[str, int]]:
    return [{"port": 80, "targetPort": net.HTTP, "nodePort": free_node_port()}]


@contextlib.contextmanager
def running(cluster: Cluster, family: str, nodes: int) -> Iterator[Api]:
    """A cluster of this family beside the shared one."""
    name = f"{NAME}-{family}"
    there = ClusterLayout(name, cluster.home / "lib" / name, cluster.home / "run" / name)
    try:
        cluster.shirube("image", "build", "examples/hello", "--name", name)
        cluster.shirube("up", "--name", name, "--nodes", str(nodes), "--port", str(free_port()), "--ip-family", family)
        with Api(there.admin_kubeconfig) as api:
            eventually(lambda: api.at("v1", "serviceaccounts", SPACE).find("default"), "the service account", 15)
            yield api
    finally:
        cluster.shirube("down", "--name", name, "--purge")


def page(port: int) -> str:
    """What the host's loopback answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hostname", timeout=30) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_both_families(cluster: Cluster) -> None:
    with running(cluster, "dual", 2) as api:
        first, second = (f"{NAME}-dual-{n}" for n in (1, 2))
        port = {"containerPort": net.HTTP, "hostPort": 9000}
        found = net.start(
            api,
            SPACE,
            net.server("client", {"app": "client"}, nodeName=first),
            net.server("near", {"app": "web"}, nodeName=first),
            net.server("far", {"app": "web"}, nodeName=second, ports=[port]),
        )
        ips = {name: [a["ip"] for a in pod["status"]["podIPs"]] for name, pod in found.items()}
        assert all([":" in a for a in addresses] == [False, True] for addresses in ips.values())
        nodes = {
            n["metadata"]["name"]: [a["address"] for a in n["status"]["addresses"] if a["type"] == "InternalIP"]
            for n in api.at("v1", "nodes").items()
        }
        assert [a["ip"] for a in found["far"]["status"]["hostIPs"]] == nodes[second]
        services = api.at("v1", "services", SPACE)
        spec = {"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "web"}, "ports": ports()}
        web = services.create(net.service("web", **spec))
        services.create(
            net.service("head", clusterIP="None", ipFamilyPolicy="PreferDualStack", selector={"app": "web"})
        )
        node_port = web["spec"]["ports"][0]["nodePort"]

        for place in (0, 1):
            for source in ("client", "far"):
                net.reaches(api, SPACE, source, web["spec"]["clusterIPs"][place], 80, {"near", "far"})
            for target in ("near", "far"):
                net.reaches(api, SPACE, "client", ips[target][place], net.HTTP, {target})
                net.reaches(api, SPACE, "client", ips[target][place], net.UDP, {target}, "udp")
            net.reaches(api, SPACE, "client", nodes[second][place], node_port, {"near", "far"})
            net.reaches(api, SPACE, "client", nodes[second][place], 9000, {"far"})
            kind, domain = ("A", "AAAA")[place], "default.svc.cluster.local"
            net.resolves(api, SPACE, "client", f"web.{domain}", {web["spec"]["clusterIPs"][place]}, kind)
            net.resolves(api, SPACE, "client", f"head.{domain}", {ips[n][place] for n in ("near", "far")}, kind)
            seen = net.dial(api, SPACE, "client", ips["far"][place], net.HTTP, request="clientip")
            assert {a.removeprefix("::ffff:") for a in seen} == {ips["client"][place]}
        assert eventually(lambda: page(node_port), "the host's loopback answers") in ("near", "far")
        policy_of_both(api, ips)
        one = services.patch("web", {"spec": {"ipFamilyPolicy": "SingleStack"}}, MERGE)
        assert one["spec"]["clusterIPs"] == web["spec"]["clusterIPs"][:1]
        net.reaches(api, SPACE, "client", one["spec"]["clusterIP"], 80, {"near", "far"})
        net.silent(api, SPACE, "client", web["spec"]["clusterIPs"][1], 80)


def policy_of_both(api: Api, ips: dict[str, list[str]]) -> None:
    """Pods with the label of friends come in, others do not, by either family."""
    spec = {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}]}],
    }
    policies = api.at("networking.k8s.io/v1", "networkpolicies", SPACE)
    policies.create({"metadata": {"name": "friends"}, "spec": spec})
    for address in ips["far"]:
        net.silent(api, SPACE, "client", address, net.HTTP)
    api.pods(SPACE).patch("client", {"metadata": {"labels": {"friend": "yes"}}}, MERGE)
    for address in ips["far"]:
        net.reaches(api, SPACE, "client", address, net.HTTP, {"far"})
    policies.delete("friends")


def test_ipv6_alone(cluster: Cluster) -> None:
    with running(cluster, "ipv6", 1) as api:
        found = net.start(api, SPACE, net.server("web", {"app": "web"}))
        assert [":" in a["ip"] for a in found["web"]["status"]["podIPs"]] == [True]
        made = api.at("v1", "services", SPACE).create(
            net.service("front", type="NodePort", selector={"app": "web"}, ports=ports())
        )
        assert ":" in made["spec"]["clusterIP"] and made["spec"]["ipFamilies"] == ["IPv6"]
        net.resolves(api, SPACE, "web", "front.default.svc.cluster.local", {made["spec"]["clusterIP"]}, "AAAA")
        net.reaches(api, SPACE, "web", "front", 80, {"web"})
        kubernetes = api.at("v1", "services", "default").get("kubernetes")["spec"]["clusterIP"]
        net.resolves(api, SPACE, "web", "kubernetes.default", {kubernetes}, "AAAA", search=True)
        port = made["spec"]["ports"][0]["nodePort"]
        assert eventually(lambda: page(port), "the host's loopback answers") == "web"
