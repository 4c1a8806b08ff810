"""Pods, Services and names on a cluster of two nodes, with real traffic. Everything that these tests need is made at
once: three servers (two on the first node, one on the second), one pod on each node's own network, and Services."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from tests.cluster.conformance import net_pods as net
from tests.cluster.conformance.api import MERGE, Api
from tests.cluster.conformance.objects import pod, ready
from tests.cluster.conftest import NAME
from tests.waiting import eventually

DISCOVERY = "discovery.k8s.io/v1"
DOMAIN = "cluster.local"
FIRST, SECOND = f"{NAME}-1", f"{NAME}-2"
SERVERS = {"net-1": FIRST, "net-2": FIRST, "net-3": SECOND}
HTTP = [{"port": 80, "targetPort": net.HTTP}]


@dataclass
class Scene:
    api: Api
    ns: str
    ips: dict[str, str]  # of every pod
    nodes: dict[str, str]  # node -> its address

    @property
    def services(self):
        return self.api.at("v1", "services", self.ns)

    def reaches(self, source, host, port, names, protocol="http"):
        net.reaches(self.api, self.ns, source, host, port, set(names), protocol)

    def silent(self, source, host, port, protocol="http"):
        net.silent(self.api, self.ns, source, host, port, protocol)

    def resolves(self, name, wanted, kind="A", *, search=False, source="net-1"):
        net.resolves(self.api, self.ns, source, name, wanted, kind, search=search)

    def domain(self, service):
        return f"{service}.{self.ns}.svc.{DOMAIN}"


@pytest.fixture(scope="module")
def scene(api, second_node):
    ns = "conformance-traffic"
    api.at("v1", "namespaces").create({"metadata": {"name": ns}})
    eventually(lambda: api.at("v1", "serviceaccounts", ns).find("default"), "the default service account", 15)
    wanted = [net.server(name, {"app": "net", "pod": name}, nodeName=node) for name, node in SERVERS.items()]
    for number, node in enumerate((FIRST, SECOND), 1):
        host = net.server(f"host-{number}", serve=["http:9080"], nodeName=node, hostNetwork=True)
        wanted.append(host)
    named = net.server(
        "named", {"dns": "yes"}, hostname="dns-querier-2", subdomain="dns-test-service-2", nodeName=SECOND
    )
    wanted.append(named)
    services = api.at("v1", "services", ns)
    services.create(net.service("net", selector={"app": "net"}, ports=HTTP))
    found = net.start(api, ns, *wanted)
    ips = {name: one["status"]["podIP"] for name, one in found.items()}
    nodes = {
        n["metadata"]["name"]: a["address"]
        for n in api.at("v1", "nodes").items()
        for a in n["status"]["addresses"]
        if a["type"] == "InternalIP"
    }
    yield Scene(api, ns, ips, nodes)
    api.at("v1", "namespaces").delete(ns)


# -- pods to pods, nodes to pods


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http"
    " [NodeConformance] [Conformance]"
)
def test_pods_reach_pods_over_http(scene):
    for source in SERVERS:
        for target in SERVERS:
            scene.reaches(source, scene.ips[target], net.HTTP, {target})


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp"
    " [NodeConformance] [Conformance]"
)
def test_pods_reach_pods_over_udp(scene):
    for source in SERVERS:
        for target in SERVERS:
            scene.reaches(source, scene.ips[target], net.UDP, {target}, "udp")


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly]"
    " [NodeConformance] [Conformance]"
)
def test_nodes_reach_pods_over_http(scene):
    for source in ("host-1", "host-2"):
        for target in SERVERS:
            scene.reaches(source, scene.ips[target], net.HTTP, {target})


@pytest.mark.conformance(
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: udp [LinuxOnly]"
    " [NodeConformance] [Conformance]"
)
def test_nodes_reach_pods_over_udp(scene):
    for source in ("host-1", "host-2"):
        for target in SERVERS:
            scene.reaches(source, scene.ips[target], net.UDP, {target}, "udp")


def test_pods_see_each_others_own_addresses(scene):
    """No translation between pods, on one node or two, nor through a Service."""
    for source, target in (("net-1", "net-2"), ("net-1", "net-3"), ("net-3", "net-1")):
        seen = net.dial(scene.api, scene.ns, source, scene.ips[target], net.HTTP, request="clientip")
        assert {address.removeprefix("::ffff:") for address in seen} == {scene.ips[source]}
    through = net.dial(scene.api, scene.ns, "named", "net", 80, request="clientip", tries=6)
    assert {address.removeprefix("::ffff:") for address in through} == {scene.ips["named"]}


# -- host ports


@pytest.mark.conformance(
    "[sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP"
    " and protocol [LinuxOnly] [Conformance]"
)
def test_one_host_port_of_three_pods(scene):
    number, node = 54323, scene.nodes[SECOND]
    hosts = {"hp-1": ("127.0.0.1", "TCP"), "hp-2": (node, "TCP"), "hp-3": (node, "UDP")}
    wanted = []
    for name, (host, protocol) in hosts.items():
        target = net.UDP if protocol == "UDP" else net.HTTP
        port = {"containerPort": target, "hostPort": number, "hostIP": host, "protocol": protocol}
        # Scheduled, not placed: the scheduler must see that they do not collide.
        choice = {"kubernetes.io/hostname": SECOND}
        wanted.append(net.server(name, ports=[port], nodeSelector=choice))
    found = net.start(scene.api, scene.ns, *wanted)
    assert {found[name]["spec"]["nodeName"] for name in hosts} == {SECOND}
    scene.reaches("host-2", "127.0.0.1", number, {"hp-1"})
    scene.reaches("host-2", node, number, {"hp-2"})
    scene.reaches("host-2", node, number, {"hp-3"}, "udp")
    scene.reaches("net-1", node, number, {"hp-2"})
    scene.reaches("host-1", node, number, {"hp-3"}, "udp")
    for name in hosts:
        scene.api.pods(scene.ns).delete(name)


# -- Services


def external(name):
    return net.service(name, type="ExternalName", externalName="net.conformance-traffic.svc.cluster.local")


def become(scene, name, **spec):
    """The Service with another type; upstream's tests update, so do we."""

    def change(obj):
        old = obj["spec"]
        for field in ("clusterIP", "clusterIPs", "externalName", "ports", "ipFamilies", "ipFamilyPolicy"):
            old.pop(field, None)
        for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
            old.pop(field, None)
        old.update(spec)

    return scene.services.edit(name, change)


def node_port(made):
    return made["spec"]["ports"][0]["nodePort"]


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]"
)
def test_external_name_to_cluster_ip(scene):
    made = scene.services.create(external("to-cluster-ip"))
    assert "clusterIP" not in made["spec"]
    made = become(scene, "to-cluster-ip", type="ClusterIP", ports=HTTP, selector={"app": "net"})
    scene.reaches("net-1", made["spec"]["clusterIP"], 80, SERVERS)
    scene.resolves(scene.domain("to-cluster-ip"), {made["spec"]["clusterIP"]})
    scene.reaches("net-1", "to-cluster-ip", 80, SERVERS)


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ExternalName to NodePort [Conformance]"
)
def test_external_name_to_node_port(scene):
    scene.services.create(external("to-node-port"))
    made = become(scene, "to-node-port", type="NodePort", ports=HTTP, selector={"app": "net"})
    scene.reaches("net-1", made["spec"]["clusterIP"], 80, SERVERS)
    for address in scene.nodes.values():
        scene.reaches("net-1", address, node_port(made), SERVERS)
    scene.resolves(scene.domain("to-node-port"), {made["spec"]["clusterIP"]})
    scene.reaches("net-1", "to-node-port", 80, SERVERS)


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from ClusterIP to ExternalName [Conformance]"
)
def test_cluster_ip_to_external_name(scene):
    made = scene.services.create(net.service("from-cluster-ip", selector={"app": "net"}, ports=HTTP))
    scene.reaches("net-1", made["spec"]["clusterIP"], 80, SERVERS)
    target = scene.domain("net")
    after = become(scene, "from-cluster-ip", type="ExternalName", externalName=target, ports=None)
    assert "clusterIP" not in after["spec"]
    scene.resolves(scene.domain("from-cluster-ip"), {target}, "CNAME")
    scene.resolves("from-cluster-ip", {scene.services.get("net")["spec"]["clusterIP"]}, search=True)
    scene.silent("net-1", made["spec"]["clusterIP"], 80)


@pytest.mark.conformance(
    "[sig-network] Services should be able to change the type from NodePort to ExternalName [Conformance]"
)
def test_node_port_to_external_name(scene):
    made = scene.services.create(net.service("from-node-port", type="NodePort", selector={"app": "net"}, ports=HTTP))
    scene.reaches("net-1", scene.nodes[FIRST], node_port(made), SERVERS)
    target = scene.domain("net")
    after = become(scene, "from-node-port", type="ExternalName", externalName=target, ports=None)
    assert "clusterIP" not in after["spec"] and not after["spec"].get("ports")
    scene.resolves(scene.domain("from-node-port"), {target}, "CNAME")
    scene.silent("net-1", scene.nodes[SECOND], node_port(made))
    again = net.service("again", type="NodePort", ports=[{**HTTP[0], "nodePort": node_port(made)}])
    assert node_port(scene.services.create(again)) == node_port(made)  # it was given back


@pytest.mark.conformance(
    "[sig-network] Services should serve endpoints on same port and different protocols [Conformance]"
)
def test_one_port_of_two_protocols(scene):
    tcp = {"name": "tcp-port", "port": 90, "protocol": "TCP", "targetPort": net.HTTP}
    udp = {"name": "udp-port", "port": 90, "protocol": "UDP", "targetPort": net.UDP}
    made = scene.services.create(net.service("two-protocols", selector={"pod": "net-3"}, ports=[tcp, udp]))
    address = made["spec"]["clusterIP"]
    scene.reaches("net-1", address, 90, {"net-3"})
    scene.reaches("net-1", address, 90, {"net-3"}, "udp")
    scene.services.edit("two-protocols", lambda o: o["spec"].update(ports=[tcp]))
    scene.silent("net-1", address, 90, "udp")
    scene.reaches("net-1", address, 90, {"net-3"})
    scene.services.edit("two-protocols", lambda o: o["spec"].update(ports=[udp]))
    scene.silent("net-1", address, 90)
    scene.reaches("net-1", address, 90, {"net-3"}, "udp")


def by_hand(scene, service, name, address, **ports):
    """An EndpointSlice that nobody keeps but us."""
    labels = {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "tests"}
    piece = {
        "apiVersion": DISCOVERY,
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()],
        "endpoints": [{"addresses": [address]}],
    }
    scene.api.at(DISCOVERY, "endpointslices", scene.ns).create(piece)


TWO_PORTS = [
    {"name": "portname1", "port": 80, "protocol": "TCP", "targetPort": 100},
    {"name": "portname2", "port": 81, "protocol": "TCP", "targetPort": 101},
]


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support a Service with multiple endpoint IPs specified in multiple"
    " EndpointSlices [Conformance]"
)
def test_slices_of_different_addresses_and_ports(scene):
    made = scene.services.create(net.service("by-hand", ports=TWO_PORTS))
    by_hand(scene, "by-hand", "by-hand-1", scene.ips["net-1"], portname1=net.HTTP)
    by_hand(scene, "by-hand", "by-hand-2", scene.ips["host-2"], portname2=9080)
    scene.reaches("net-2", made["spec"]["clusterIP"], 80, {"net-1"})
    scene.reaches("net-2", made["spec"]["clusterIP"], 81, {SECOND})


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support a Service with multiple ports specified in multiple EndpointSlices"
    " [Conformance]"
)
def test_slices_of_one_address_and_different_ports(scene):
    both = net.server("both", serve=["http:8080", "http:8090"], nodeName=SECOND)
    address = net.start(scene.api, scene.ns, both)["both"]["status"]["podIP"]
    made = scene.services.create(net.service("two-ports-by-hand", ports=TWO_PORTS))
    by_hand(scene, "two-ports-by-hand", "two-ports-by-hand-1", address, portname1=8080)
    by_hand(scene, "two-ports-by-hand", "two-ports-by-hand-2", address, portname2=8090)
    for port in (80, 81):
        scene.reaches("net-1", made["spec"]["clusterIP"], port, {"both"})


# -- names


@pytest.mark.conformance("[sig-network] DNS should provide DNS for the cluster [Conformance]")
def test_names_of_the_cluster(scene):
    kubernetes = scene.api.at("v1", "services", "default").get("kubernetes")["spec"]["clusterIP"]
    scene.resolves(f"kubernetes.default.svc.{DOMAIN}", {kubernetes})
    for name in ("kubernetes.default", "kubernetes.default.svc"):
        scene.resolves(name, {kubernetes}, search=True)
    dashed = scene.ips["net-3"].replace(".", "-")
    scene.resolves(f"{dashed}.{scene.ns}.pod.{DOMAIN}", {scene.ips["net-3"]})


@pytest.mark.conformance("[sig-network] DNS should provide /etc/hosts entries for the cluster [Conformance]")
def test_hosts_file_of_a_pod(scene):
    scene.services.create(net.service("dns-test-service-2", clusterIP="None", selector={"dns": "yes"}, ports=HTTP))
    text = net.ask(scene.api, scene.ns, "named", "file", path="/etc/hosts")
    entries = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    mine = next(words for words in entries if words[0] == scene.ips["named"])
    assert mine[1:] == [f"dns-querier-2.{scene.domain('dns-test-service-2')}", "dns-querier-2"]
    kubernetes = scene.api.at("v1", "services", "default").get("kubernetes")["spec"]["clusterIP"]
    scene.resolves("kubernetes.default", {kubernetes}, search=True, source="named")


@pytest.mark.conformance("[sig-network] DNS should provide DNS for pods for Hostname [Conformance]")
@pytest.mark.conformance("[sig-network] DNS should provide DNS for pods for Subdomain [Conformance]")
def test_names_of_a_pod_with_a_hostname(scene):
    name = "dns-test-service-2"
    if scene.services.find(name) is None:
        scene.services.create(net.service(name, clusterIP="None", selector={"dns": "yes"}, ports=HTTP))
    for wanted in (f"dns-querier-2.{scene.domain(name)}", scene.domain(name)):
        scene.resolves(wanted, {scene.ips["named"]})
    scene.resolves(f"dns-querier-2.{name}", {scene.ips["named"]}, search=True)
    scene.resolves(name, {scene.ips["named"]}, search=True)


def named_services(scene):
    """A headless Service and one with an address, with a named port, over the same pods."""
    port = [{"name": "http", "port": 80, "targetPort": net.HTTP, "protocol": "TCP"}]
    for name, spec in (("dns-headless", {"clusterIP": "None"}), ("dns-regular", {})):
        if scene.services.find(name) is None:
            scene.services.create(net.service(name, selector={"app": "net"}, ports=port, **spec))
    regular = scene.services.get("dns-regular")["spec"]["clusterIP"]
    return {"dns-headless": {scene.ips[n] for n in SERVERS}, "dns-regular": {regular}}


@pytest.mark.conformance("[sig-network] DNS should provide DNS for services [Conformance]")
def test_names_of_services(scene):
    for name, addresses in named_services(scene).items():
        scene.resolves(scene.domain(name), addresses)
        port = net.HTTP if name == "dns-headless" else 80
        found = eventually(
            lambda n=name: net.query(scene.api, scene.ns, "net-1", f"_http._tcp.{scene.domain(n)}", "SRV"),
            f"SRV of {name}",
        )
        assert {data.split()[0] for _, data in found} == {str(port)}
        targets = {data.split()[1] for _, data in found}
        assert {d for t in targets for _, d in net.query(scene.api, scene.ns, "net-1", t)} == addresses
    regular = scene.services.get("dns-regular")["spec"]["clusterIP"]
    reverse = ".".join(reversed(regular.split("."))) + ".in-addr.arpa"
    scene.resolves(reverse, {scene.domain("dns-regular")}, "PTR")


@pytest.mark.conformance(
    "[sig-network] DNS should resolve DNS of partial qualified names for services [LinuxOnly] [Conformance]"
)
def test_partial_names_of_services(scene):
    for name, addresses in named_services(scene).items():
        for partial in (name, f"{name}.{scene.ns}", f"{name}.{scene.ns}.svc"):
            scene.resolves(partial, addresses, search=True)
        found = net.query(scene.api, scene.ns, "net-1", f"_http._tcp.{name}.{scene.ns}.svc", "SRV", search=True)
        assert found and {kind for kind, _ in found} == {"SRV"}


@pytest.mark.conformance("[sig-network] DNS should provide DNS for ExternalName services [Conformance]")
def test_names_of_external_name_services(scene):
    scene.services.create(net.service("dns-external", type="ExternalName", externalName="foo.example.com"))
    name = scene.domain("dns-external")
    scene.resolves(name, {"foo.example.com"}, "CNAME")
    scene.services.patch("dns-external", {"spec": {"externalName": "bar.example.com"}}, MERGE)
    scene.resolves(name, {"bar.example.com"}, "CNAME")
    changed = become(scene, "dns-external", type="ClusterIP", ports=[{"port": 80, "name": "http", "protocol": "TCP"}])
    scene.resolves(name, {changed["spec"]["clusterIP"]})


@pytest.mark.conformance("[sig-network] DNS should support configurable pod DNS nameservers [Conformance]")
def test_a_pod_with_its_own_nameservers(scene):
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    net.start(scene.api, scene.ns, net.server("own-dns", dnsPolicy="None", dnsConfig=config))
    lines = net.ask(scene.api, scene.ns, "own-dns", "file", path="/etc/resolv.conf").splitlines()
    assert [line.split() for line in lines if line] == [
        ["search", "resolv.conf.local"],
        ["nameserver", "1.1.1.1"],
        ["options", "ndots:2"],
    ]


# -- what upstream's suite leaves out


def test_external_traffic_policy_local_keeps_the_client(scene):
    made = scene.services.create(
        net.service("keep", type="NodePort", externalTrafficPolicy="Local", selector={"pod": "net-3"}, ports=HTTP)
    )
    # From the other node's own network to the node that has the pod: the pod sees the node that asked.
    scene.reaches("host-1", scene.nodes[SECOND], node_port(made), {"net-3"})
    seen = net.dial(scene.api, scene.ns, "host-1", scene.nodes[SECOND], node_port(made), request="clientip")
    assert {address.removeprefix("::ffff:") for address in seen} == {scene.nodes[FIRST]}
    cluster = scene.services.patch("keep", {"spec": {"externalTrafficPolicy": "Cluster"}}, MERGE)

    def hidden():
        seen = net.dial(scene.api, scene.ns, "host-1", scene.nodes[SECOND], node_port(cluster), request="clientip")
        return seen and scene.nodes[FIRST] not in {address.removeprefix("::ffff:") for address in seen}

    eventually(hidden, "with policy Cluster the client is not seen")


def test_internal_traffic_policy_local_and_same_node(scene):
    for name, spec in (
        ("stay", {"internalTrafficPolicy": "Local"}),
        ("prefer", {"trafficDistribution": "PreferSameNode"}),
    ):
        made = scene.services.create(net.service(name, selector={"app": "net"}, ports=HTTP, **spec))
        for source, near in (("named", {"net-3"}), ("host-1", {"net-1", "net-2"})):
            address = made["spec"]["clusterIP"]
            eventually(
                lambda a=address, s=source, n=near: net.dial(scene.api, scene.ns, s, a, 80, tries=12) == n,
                f"{name}: {source} meets those of its node only",
            )


def test_a_health_check_node_port_says_where_the_endpoints_are(scene):
    made = scene.services.create(
        net.service(
            "checked",
            type="LoadBalancer",
            externalTrafficPolicy="Local",
            loadBalancerClass="example.com/none",
            selector={"pod": "net-3"},
            ports=HTTP,
        )
    )
    number = made["spec"]["healthCheckNodePort"]

    def counted(node):
        said = net.dial(scene.api, scene.ns, "net-1", scene.nodes[node], number, request="healthz")
        return ["".join(said).count(f'"localEndpoints":{n}') for n in (0, 1)]

    eventually(lambda: counted(FIRST) == [1, 0] and counted(SECOND) == [0, 1], "each node tells of its endpoints")


def test_pods_that_are_not_ready_are_found_where_asked_for(scene):
    idle = pod("slow", labels={"app": "slow"}, nodeName=FIRST)
    idle["spec"]["containers"][0]["readinessProbe"] = {"exec": {"command": ["/bin/sh", "-c", "exit 1"]}}
    scene.services.create(net.service("hidden", clusterIP="None", selector={"app": "slow"}, ports=HTTP))
    scene.services.create(
        net.service("shown", clusterIP="None", selector={"app": "slow"}, ports=HTTP, publishNotReadyAddresses=True)
    )
    scene.api.pods(scene.ns).create(idle)
    found = eventually(lambda: scene.api.pods(scene.ns).get("slow")["status"].get("podIP"), "an address")
    scene.resolves(scene.domain("shown"), {found})
    assert not ready(scene.api.pods(scene.ns).get("slow"))
    scene.resolves(scene.domain("hidden"), set())


def test_bandwidth_is_kept_to(scene):
    """40 kbit/s out of the pod. The runtime lets some three minutes' worth through at once, 859 kB; the rest takes time
    that nobody else could make it take."""
    slow = net.server("thin", serve=["http:8080"], nodeName=FIRST)
    slow["metadata"]["annotations"] = {"kubernetes.io/egress-bandwidth": "40k"}
    net.start(scene.api, scene.ns, slow)
    began = time.monotonic()
    assert len(net.ask(scene.api, scene.ns, "thin", "bytes", count=840_000)) == 840_000
    took = time.monotonic() - began
    assert took > 1, f"840 kB in {took:.1f} s"
