import pytest

from shirube.proxy.endpoints import Place
from shirube.proxy.endpoints import service_ports as ports_of


def service_ports(made, pieces, node, zone=""):
    return ports_of(made, pieces, Place(node, zone))


def service(**spec):
    spec = {"clusterIP": "10.96.0.7", "type": "ClusterIP", "ports": [{"name": "http", "port": 80}], **spec}
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": spec}


def endpoint_slice(*endpoints, port=8080, name="http", protocol="TCP"):
    return {
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port, "protocol": protocol}],
        "endpoints": [
            {"addresses": [address], "nodeName": node, "conditions": conditions}
            for address, node, conditions in endpoints
        ],
    }


READY = {"ready": True}
NOT_READY = {"ready": False}
DYING = {"ready": False, "serving": True, "terminating": True}


def test_ready_endpoints_serve_and_others_do_not():
    [port] = service_ports(
        service(),
        [endpoint_slice(("10.244.0.2", "a", READY), ("10.244.0.3", "b", NOT_READY), ("10.244.0.4", "b", {}))],
        "a",
    )
    assert port.internal == port.external == (("10.244.0.2", 8080), ("10.244.0.4", 8080))


def test_terminating_endpoints_serve_when_nobody_else_does():
    [port] = service_ports(service(), [endpoint_slice(("10.244.0.3", "b", DYING), ("10.244.0.4", "b", NOT_READY))], "a")
    assert port.internal == (("10.244.0.3", 8080),)


def test_local_policies_keep_to_this_node():
    pieces = [endpoint_slice(("10.244.0.2", "a", READY), ("10.244.1.3", "b", READY))]
    [port] = service_ports(service(internalTrafficPolicy="Local", externalTrafficPolicy="Local"), pieces, "b")
    assert port.internal == port.external == (("10.244.1.3", 8080),)
    assert port.local_external
    [port] = service_ports(service(internalTrafficPolicy="Local"), pieces, "c")
    assert port.internal == () and len(port.external) == 2


def test_a_port_takes_endpoints_of_its_name_and_protocol_only():
    pieces = [
        endpoint_slice(("10.244.0.2", "a", READY), name="metrics"),
        endpoint_slice(("10.244.0.3", "a", READY), protocol="UDP"),
    ]
    [port] = service_ports(service(), pieces, "a")
    assert port.internal == ()


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "clusterIP": ""}])
def test_services_that_need_no_proxying(spec):
    assert service_ports(service(**spec), [], "a") == []


def test_affinity_and_external_addresses():
    made = service(sessionAffinity="ClientIP", externalIPs=["198.51.100.1"], type="LoadBalancer")
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.2"}, {"ip": "198.51.100.3", "ipMode": "Proxy"}]}}
    [port] = service_ports(made, [], "a")
    assert port.affinity_seconds == 10800
    assert port.external_ips == ("198.51.100.1",)
    assert port.load_balancer_ips == ("198.51.100.2",)


def hinted(address, node, **hints):
    return {
        "addresses": [address],
        "nodeName": node,
        "conditions": READY,
        "hints": {k: [{"name": v} for v in names] for k, names in hints.items()},
    }


def pieces_of(*endpoints):
    return [{"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": list(endpoints)}]


ZONED = pieces_of(hinted("10.244.0.2", "a", forZones=["z1"]), hinted("10.244.0.3", "b", forZones=["z2"]))


@pytest.mark.parametrize(
    ("pieces", "zone", "used"),
    [
        (ZONED, "z2", ["10.244.0.3"]),
        (ZONED, "z3", ["10.244.0.2", "10.244.0.3"]),
        (ZONED, "", ["10.244.0.2", "10.244.0.3"]),
        (pieces_of(ZONED[0]["endpoints"][0], hinted("10.244.0.4", "b")), "z1", ["10.244.0.2", "10.244.0.4"]),
        (
            pieces_of(hinted("10.244.0.2", "a", forNodes=["a"]), hinted("10.244.0.3", "b", forNodes=["b"])),
            "",
            ["10.244.0.2"],
        ),
    ],
    ids=["our-zone", "no-zone-for-us", "zone-unknown", "one-without-hint", "our-node"],
)
def test_hints_are_followed_when_every_endpoint_has_one_and_one_is_for_us(pieces, zone, used):
    [port] = service_ports(service(), pieces, "a", zone)
    assert [address for address, _ in port.internal] == used


def test_a_service_of_two_families_has_ports_in_both():
    made = service(clusterIPs=["10.96.0.7", "fd00:10:96::7"], externalIPs=["198.51.100.1", "2001:db8::1"])
    made["spec"] |= {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]}
    made["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.2"}, {"ip": "2001:db8::2"}]}}
    six = {**endpoint_slice(("fd00:10:244::5", "a", READY)), "addressType": "IPv6"}
    named = {**endpoint_slice(("web.example.org", "a", READY)), "addressType": "FQDN"}
    first, second = service_ports(made, [endpoint_slice(("10.244.0.2", "a", READY)), six, named], "a")
    assert (first.cluster_ip, first.internal) == ("10.96.0.7", (("10.244.0.2", 8080),))
    assert (first.external_ips, first.load_balancer_ips) == (("198.51.100.1",), ("198.51.100.2",))
    assert (second.cluster_ip, second.internal) == ("fd00:10:96::7", (("fd00:10:244::5", 8080),))
    assert (second.external_ips, second.load_balancer_ips) == (("2001:db8::1",), ("2001:db8::2",))
    assert second.restricted and second.source_ranges == ()  # nobody's range is of this family
