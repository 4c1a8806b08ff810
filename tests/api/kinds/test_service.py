"""Services: defaults by type, what is refused, what an update keeps of what was allocated."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

SERVICE = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}


@pytest.fixture
def services(rules):
    return rules("", "v1", "services")


def test_defaults(services, altered):
    stored = services.stored(SERVICE)
    assert stored["spec"] == {
        "selector": {"app": "web"},
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
        "internalTrafficPolicy": "Cluster",
    }
    assert stored["status"] == {"loadBalancer": {}}
    balanced = services.stored(altered(SERVICE, "spec/type", "LoadBalancer"))["spec"]
    assert balanced["allocateLoadBalancerNodePorts"] is True
    assert balanced["externalTrafficPolicy"] == "Cluster"
    sticky = services.stored(altered(SERVICE, "spec/sessionAffinity", "ClientIP"))["spec"]
    assert sticky["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


BAD = [
    ("metadata/name", "web.a", "metadata.name", "must not contain dots"),
    ("spec/ports", [], "spec.ports", "Required value"),
    ("spec/ports", [{"port": 1}, {"port": 2}], "spec.ports[0].name", "Required value"),
    ("spec/ports", [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}], "spec.ports[1].name", "Duplicate value"),
    ("spec/ports", [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}], "spec.ports[1]", "Duplicate value"),
    ("spec/ports", [{"port": 0}], "spec.ports[0].port", "must be between 1 and 65535"),
    ("spec/ports", [{"port": 1, "protocol": "x"}], "spec.ports[0].protocol", "Unsupported value"),
    ("spec/ports", [{"port": 1, "targetPort": "A_"}], "spec.ports[0].targetPort", "must contain only alpha-numeric"),
    ("spec/ports", [{"port": 1, "nodePort": 30000}], "spec.ports[0].nodePort", "may not be used when `type` is 'ClusterIP'"),
    ("spec/ports", [{"port": 1, "appProtocol": "a b"}], "spec.ports[0].appProtocol", "name part must consist of"),
    ("spec/type", "x", "spec.type", 'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ("spec/type", "ExternalName", "spec.externalName", "Required value"),
    ("spec/selector", {"a": "b c"}, "spec.selector", "a valid label must be an empty string"),
    ("spec/sessionAffinity", "x", "spec.sessionAffinity", "Unsupported value"),
    ("spec/clusterIP", "1.2.3", "spec.clusterIPs[0]", "must be a valid IP address"),
    ("spec/clusterIPs", ["10.0.0.1"], "spec.clusterIPs", "must be empty when `clusterIP` is not specified"),
    ("spec/externalIPs", ["127.0.0.1"], "spec.externalIPs[0]", "may not be in the loopback range"),
    ("spec/externalIPs", ["x"], "spec.externalIPs[0]", "must be a valid IP address"),
    ("spec/loadBalancerSourceRanges", ["10.0.0.0/8"], "spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"),
    ("spec/externalTrafficPolicy", "Local", "spec.externalTrafficPolicy", "may only be set for externally-accessible services"),
    ("spec/internalTrafficPolicy", "x", "spec.internalTrafficPolicy", "Unsupported value"),
    ("spec/healthCheckNodePort", 30000, "spec.healthCheckNodePort", "may only be set when `type` is 'LoadBalancer'"),
    ("spec/ipFamilies", ["IPv5"], "spec.ipFamilies[0]", "Unsupported value"),
    ("spec/trafficDistribution", "x", "spec.trafficDistribution", "Unsupported value"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "field", "message"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_what_is_refused(services, altered, assert_cause, path, value, field, message):
    assert_cause(services.create(altered(SERVICE, path, value))[1], field, message)


GOOD = [
    {"clusterIP": "None", "selector": {"a": "b"}},
    {"type": "ExternalName", "externalName": "example.com."},
    {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
    {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]},
    {"ports": [{"port": 53, "name": "dns", "protocol": "UDP"}, {"port": 53, "name": "dns-tcp"}]},
]


@pytest.mark.parametrize("spec", GOOD)
def test_what_is_accepted(services, spec):
    assert services.create({"metadata": {"name": "web"}, "spec": spec})[1] == []


@pytest.fixture
def allocated(services, altered):
    stored = services.stored(altered(SERVICE, "spec/type", "NodePort"))
    stored["spec"].update(
        clusterIP="10.96.0.7", clusterIPs=["10.96.0.7"], ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack"
    )
    stored["spec"]["ports"][0]["nodePort"] = 30123
    return stored


def test_an_update_keeps_what_was_allocated(services, altered, allocated):
    written = altered(altered(SERVICE, "spec/type", "NodePort"), "spec/selector", {"app": "other"})
    new, causes = services.update(written | {"metadata": allocated["metadata"]}, allocated)
    assert causes == []
    assert new["spec"]["clusterIP"] == "10.96.0.7"
    assert new["spec"]["clusterIPs"] == ["10.96.0.7"]
    assert new["spec"]["ports"][0]["nodePort"] == 30123
    assert new["spec"]["ipFamilies"] == ["IPv4"]


def test_the_first_address_stays(services, altered, allocated, assert_cause):
    causes = services.update(altered(allocated, "spec/clusterIP", "10.96.0.8"), allocated)[1]
    assert_cause(causes, "spec.clusterIPs[0]", "may not change once set")


def test_another_type_drops_what_it_does_not_have(services, altered, allocated):
    new, causes = services.update(altered(allocated, "spec/type", "ClusterIP"), allocated)
    assert causes == []
    assert "nodePort" not in new["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in new["spec"]
    named = altered(altered(allocated, "spec/type", "ExternalName"), "spec/externalName", "example.com")
    new, causes = services.update(named, allocated)
    assert [str(c) for c in causes if "nodePort" not in c.field] == []
    assert "clusterIP" not in new["spec"]


def test_status_is_written_apart(services, altered, allocated, assert_cause):
    refused = altered(allocated, "status/loadBalancer", {"ingress": [{"ip": "1.2.3.4"}]})
    causes = services.update(refused, allocated, "status_")[1]
    assert_cause(causes, "status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'")
    allocated = altered(altered(allocated, "spec/type", "LoadBalancer"), "spec/allocateLoadBalancerNodePorts", True)
    told = altered(allocated, "status/loadBalancer", {"ingress": [{"ip": "1.2.3.4"}]})
    assert services.update(told, allocated)[0]["status"] == {"loadBalancer": {}}
    new, causes = services.update(altered(told, "spec/selector", {"x": "y"}), allocated, "status_")
    assert new["status"]["loadBalancer"]["ingress"] == [{"ip": "1.2.3.4", "ipMode": "VIP"}]
    assert (new["spec"], causes) == (allocated["spec"], [])


EP = ("", "v1", "endpoints")
SLICE = ("discovery.k8s.io", "v1", "endpointslices")
ENDPOINTS_BAD = [
    (EP, {"subsets": [{"ports": [{"port": 1}]}]}, "subsets[0]", "must specify `addresses` or `notReadyAddresses`"),
    (EP, {"subsets": [{"addresses": [{"ip": "x"}]}]}, "subsets[0].addresses[0].ip", "must be a valid IP address"),
    (EP, {"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]}, "subsets[0].addresses[0].ip", "loopback range"),
    (EP, {"subsets": [{"addresses": [{"ip": "169.254.1.1"}]}]}, "subsets[0].addresses[0].ip", "link-local range"),
    (EP, {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}, {"port": 2}]}]}, "subsets[0].ports[0].name", "Required value"),
    (SLICE, {"endpoints": []}, "addressType", "Required value"),
    (SLICE, {"addressType": "IPv5"}, "addressType", "Unsupported value"),
    (SLICE, {"addressType": "IPv4", "endpoints": [{}]}, "endpoints[0].addresses", "must contain at least 1 address"),
    (SLICE, {"addressType": "IPv4", "endpoints": [{"addresses": ["::1"]}]}, "endpoints[0].addresses[0]", "must be a valid IPv4 address"),
    (SLICE, {"addressType": "IPv4", "ports": [{"name": "a"}, {"name": "a"}]}, "ports[1].name", "Duplicate value"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "obj", "field", "message"), ENDPOINTS_BAD)
def test_endpoints_that_are_refused(rules, assert_cause, resource, obj, field, message):
    assert_cause(rules(*resource).create(obj)[1], field, message)
