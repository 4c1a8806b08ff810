"""The API's side of the network: Services, endpoints in all their forms, ingresses, service addresses; and the API
server's proxy to pods and Services."""

from __future__ import annotations

import datetime
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cluster.conformance import net_pods as net
from tests.cluster.conformance.api import MERGE, STRATEGIC, Refused
from tests.cluster.conformance.lifecycle import every_verb, is_discovered, status_verbs
from tests.cluster.conformance.objects import container, pod
from tests.cluster.conformance.test_admission_policies import policy
from tests.waiting import eventually

NETWORKING, DISCOVERY = "networking.k8s.io/v1", "discovery.k8s.io/v1"
OF_SERVICE = "kubernetes.io/service-name="


def slices_of(api, ns, name):
    return api.at(DISCOVERY, "endpointslices", ns).items(OF_SERVICE + name)


def addresses_of(api, ns, name):
    """(address, port) of every ready endpoint in the Service's slices."""
    return {
        (address, port["port"])
        for piece in slices_of(api, ns, name)
        for endpoint in piece["endpoints"] or []
        if endpoint["conditions"].get("ready") is not False
        for address in endpoint["addresses"]
        for port in piece.get("ports") or []
    }


def endpoints_of(api, ns, name):
    found = api.at("v1", "endpoints", ns).find(name)
    return {
        (address["ip"], port["port"])
        for subset in (found or {}).get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or []
    }


# -- the API server's own Service


@pytest.mark.conformance("[sig-network] API Server should provide secure master service [Conformance]")
def test_the_service_of_the_api_server(api):
    found = api.at("v1", "services", "default").get("kubernetes")
    assert [(p["name"], p["port"], p["protocol"]) for p in found["spec"]["ports"]] == [("https", 443, "TCP")]


@pytest.mark.conformance(
    "[sig-network] API Server should have Endpoints and EndpointSlices pointing to API Server [Conformance]"
)
def test_endpoints_of_the_api_server(api):
    endpoints = api.at("v1", "endpoints", "default").get("kubernetes")
    assert len(endpoints["subsets"]) == 1
    piece = api.at(DISCOVERY, "endpointslices", "default").get("kubernetes")
    assert piece["addressType"] == "IPv4" and piece["ports"][0]["name"] == "https"
    assert endpoints_of(api, "default", "kubernetes") == addresses_of(api, "default", "kubernetes")
    assert len(endpoints_of(api, "default", "kubernetes")) == 1


@pytest.mark.conformance("[sig-network] Services should find a service from listing all namespaces [Conformance]")
def test_services_of_all_namespaces(api):
    found = api.at("v1", "services").items()
    assert ("default", "kubernetes") in {(s["metadata"]["namespace"], s["metadata"]["name"]) for s in found}


# -- Services


PORTS = [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}]


@pytest.mark.conformance("[sig-network] Services should complete a service status lifecycle [Conformance]")
def test_the_status_of_a_service(api, ns):
    services, label = api.at("v1", "services", ns), {"test-service-static": "true"}
    services.create(
        net.service("lifecycle", label, type="LoadBalancer", ports=PORTS, loadBalancerClass="e2e.test/none")
    )
    selector = "test-service-static=true"
    with services.watch(selector) as watch:
        watch.until("ADDED", lambda o: o["metadata"]["name"] == "lifecycle")
        assert services.get("lifecycle", "status")["status"] == {"loadBalancer": {}}
        balancer = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
        patched = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": balancer}
        services.patch("lifecycle", patched, MERGE, "status")
        seen = watch.until("MODIFIED", lambda o: "patchedstatus" in (o["metadata"].get("annotations") or {}))
        assert seen["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
        condition = {
            "type": "StatusUpdate",
            "status": "True",
            "reason": "E2E",
            "message": "Set from e2e test",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }
        services.edit("lifecycle", lambda o: o["status"].update(conditions=[condition]), "status")
        seen = watch.until("MODIFIED", lambda o: o["status"].get("conditions"))
        assert seen["status"]["conditions"][0]["message"] == "Set from e2e test"
        services.patch("lifecycle", {"metadata": {"labels": {"test-service": "patched"}}}, STRATEGIC)
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-service") == "patched")
        services.delete("lifecycle")
        watch.until("DELETED", lambda o: o["metadata"]["name"] == "lifecycle")


@pytest.mark.conformance("[sig-network] Services should delete a collection of services [Conformance]")
def test_a_collection_of_services(api, ns):
    services = api.at("v1", "services", ns)
    for number in range(3):
        labels = {"e2e-test": "yes" if number < 2 else "no"}
        services.create(net.service(f"e2e-svc-{number}", labels, ports=PORTS))
    assert len(services.items()) == 3
    services.delete_all("e2e-test=yes")
    eventually(lambda: [s["metadata"]["name"] for s in services.items()] == ["e2e-svc-2"], "one is left")


@pytest.mark.conformance("[sig-network] Service endpoints latency should not be very high [Conformance]")
def test_endpoints_come_soon(api, ns):
    net.start(api, ns, pod("one", container(), labels={"name": "latency"}))
    services, pieces = api.at("v1", "services", ns), api.at(DISCOVERY, "endpointslices", ns)
    times = []
    with pieces.watch() as watch:
        for number in range(100):
            name = f"latency-{number}"
            services.create(net.service(name, ports=PORTS, selector={"name": "latency"}))
            began = time.monotonic()

            def is_its(piece, name=name):
                return piece["metadata"]["labels"].get("kubernetes.io/service-name") == name and piece["endpoints"]

            watch.until("ADDED", is_its)
            times.append(time.monotonic() - began)
    times.sort()
    assert times[50] < 20 and times[90] < 50


def test_external_addresses_can_be_restricted(api, ns):
    """By an admission policy, as upstream's documentation advises: whoever may make Services may not take addresses."""
    rule = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": ns}}
    check = "!has(object.spec.externalIPs) || object.spec.externalIPs.all(a, cidr('203.0.113.0/24').containsIP(a))"
    spec = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": check, "message": "external addresses must be ours"}],
    }
    services = api.at("v1", "services", ns)

    def tried(address):
        try:
            services.create(net.service("taking", ports=PORTS, externalIPs=[address]), dryRun="All")
        except Refused as error:
            return error.message
        return ""

    with policy(api, "ValidatingAdmissionPolicy", "external-addresses", spec, {"validationActions": ["Deny"]}):
        eventually(lambda: "external addresses must be ours" in tried("198.51.100.7"), "others are refused")
        assert tried("203.0.113.7") == ""


# -- endpoints


@pytest.mark.conformance("[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]")
def test_the_life_of_endpoints(api, ns):
    endpoints = api.at("v1", "endpoints", ns)
    label = "test-endpoint-static=true"
    subset = {"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    metadata = {"name": "testservice", "labels": {"test-endpoint-static": "true"}}
    made = endpoints.create({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]})
    assert [e["metadata"]["name"] for e in endpoints.everywhere().items(label)] == ["testservice"]
    with endpoints.watch(label, resourceVersion=made["metadata"]["resourceVersion"]) as watch:
        endpoints.edit("testservice", lambda o: o["metadata"]["labels"].update({"test-service": "updated"}))
        watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-service") == "updated")
        moved = {"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080}]}
        patch = {"metadata": {"labels": {"test-service": "patched"}}, "subsets": [moved]}
        endpoints.patch("testservice", patch, STRATEGIC)
        seen = watch.until("MODIFIED", lambda o: o["metadata"]["labels"].get("test-service") == "patched")
        assert seen["subsets"][0]["addresses"][0]["ip"] == "10.0.0.25"
        assert [(p["name"], p["port"]) for p in seen["subsets"][0]["ports"]] == [("http-test", 8080)]
        endpoints.delete_all(label)
        watch.until("DELETED", lambda o: o["metadata"]["name"] == "testservice")
    assert endpoints.find("testservice") is None


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]"
)
def test_every_verb_of_endpoint_slices(api, ns):
    is_discovered(api, DISCOVERY, "endpointslices")

    def make(name):
        return {
            "apiVersion": DISCOVERY,
            "kind": "EndpointSlice",
            "metadata": {"name": name},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }

    every_verb(
        api.at(DISCOVERY, "endpointslices", ns),
        make,
        lambda o: o["endpoints"].append({"addresses": ["9.9.9.9"]}),
        lambda o: len(o["endpoints"]) == 2,
    )


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no"
    " pods [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches no"
    " pods [Conformance]"
)
def test_endpoints_of_a_service_without_pods(api, ns):
    services = api.at("v1", "services", ns)
    made = services.create(net.service("empty", ports=PORTS, selector={"does-not-match": "anything"}))
    endpoints = api.at("v1", "endpoints", ns)
    found = eventually(lambda: endpoints.find("empty"), "there are Endpoints")
    assert not found.get("subsets")
    pieces = eventually(lambda: slices_of(api, ns, "empty"), "there is an EndpointSlice")
    assert all(not piece["endpoints"] for piece in pieces)
    owner = pieces[0]["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Service", made["metadata"]["uid"])
    assert (
        pieces[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    )
    services.delete("empty")
    eventually(lambda: endpoints.find("empty") is None, "the Endpoints are gone")
    eventually(lambda: slices_of(api, ns, "empty") == [], "the EndpointSlices are gone")


@pytest.mark.conformance(
    "[sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] EndpointsController should create Endpoints for Pods matching a Service [Conformance]"
)
def test_endpoints_of_services_that_match_pods(api, ns):
    def listening(name, labels, port):
        main = container(ports=[{"name": "example-name", "containerPort": port}], command=["/bin/sleep", "3600"])
        return pod(name, main, labels=labels)

    services = api.at("v1", "services", ns)
    one = {"name": "example", "port": 80, "targetPort": "example-name", "protocol": "TCP"}
    services.create(net.service("int-port", selector={"foo": "bar"}, ports=[{**one, "targetPort": 3000}]))
    services.create(net.service("named-port", selector={"foo": "bar"}, ports=[one]))
    both = [
        {"name": "portname1", "port": 81, "targetPort": 3000},
        {"name": "portname2", "port": 82, "targetPort": 3001},
    ]
    services.create(net.service("no-match", selector={"foo": "nobody"}, ports=[one]))
    services.create(net.service("two", selector={"shared": "yes"}, ports=both, publishNotReadyAddresses=True))
    first, second = {"foo": "bar", "shared": "yes"}, {"shared": "yes"}
    found = net.start(api, ns, listening("pod1", first, 3000), listening("pod2", second, 3001))
    ip1, ip2 = (found[name]["status"]["podIP"] for name in ("pod1", "pod2"))
    wanted = {
        "int-port": {(ip1, 3000)},
        "named-port": {(ip1, 3000)},
        "no-match": set(),
        "two": {(ip1, 3000), (ip1, 3001), (ip2, 3000), (ip2, 3001)},
    }
    for name, pairs in wanted.items():
        eventually(lambda n=name, p=pairs: addresses_of(api, ns, n) == p, f"the EndpointSlices of {name}")
        eventually(lambda n=name, p=pairs: endpoints_of(api, ns, n) == p, f"the Endpoints of {name}")
    [endpoint] = [e for piece in slices_of(api, ns, "int-port") for e in piece["endpoints"]]
    assert (endpoint["targetRef"]["kind"], endpoint["targetRef"]["name"]) == ("Pod", "pod1")
    assert endpoint["nodeName"] == found["pod1"]["spec"]["nodeName"]
    api.pods(ns).delete("pod1")
    eventually(lambda: addresses_of(api, ns, "int-port") == set(), "a pod that is gone is no endpoint")
    eventually(lambda: endpoints_of(api, ns, "two") == {(ip2, 3000), (ip2, 3001)}, "the other one stays")


# -- ingresses


def ingress(name):
    backend = {"service": {"name": "test-backend", "port": {"number": 8080}}}
    paths = [{"path": "/", "pathType": "ImplementationSpecific", "backend": backend}]
    spec = {"rules": [{"host": "test.example.com", "http": {"paths": paths}}], "defaultBackend": backend}
    return {"apiVersion": NETWORKING, "kind": "Ingress", "metadata": {"name": name}, "spec": spec}


@pytest.mark.conformance("[sig-network] Ingress API should support creating Ingress API operations [Conformance]")
def test_every_verb_of_ingresses(api, ns):
    is_discovered(api, NETWORKING, "ingresses", "ingresses/status")
    ingresses = api.at(NETWORKING, "ingresses", ns)
    ingresses.create(ingress("with-status"))
    balancer = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    after = status_verbs(
        ingresses, "with-status", balancer, lambda s: s.update(loadBalancer={"ingress": [{"ip": "169.1.1.2"}]})
    )
    assert after["status"]["loadBalancer"] == {"ingress": [{"ip": "169.1.1.2"}]}
    every_verb(
        ingresses,
        ingress,
        lambda o: o["spec"]["defaultBackend"]["service"]["port"].update(number=8081),
        lambda o: o["spec"]["defaultBackend"]["service"]["port"]["number"] == 8081,
    )


@pytest.mark.conformance(
    "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"
)
def test_every_verb_of_ingress_classes(api):
    is_discovered(api, NETWORKING, "ingressclasses")

    def make(name):
        spec = {"controller": "example.com/controller"}
        return {"apiVersion": NETWORKING, "kind": "IngressClass", "metadata": {"name": name}, "spec": spec}

    parameters = {"apiGroup": "example.com", "kind": "Parameters", "name": "p", "scope": "Cluster"}
    every_verb(
        api.at(NETWORKING, "ingressclasses"),
        make,
        lambda o: o["spec"].update(parameters=parameters),
        lambda o: o["spec"].get("parameters", {}).get("name") == "p",
    )


# -- addresses of Services


@pytest.mark.conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
)
def test_every_verb_of_service_cidrs(api):
    is_discovered(api, NETWORKING, "servicecidrs", "servicecidrs/status")
    cidrs = api.at(NETWORKING, "servicecidrs")
    assert cidrs.get("kubernetes")["spec"]["cidrs"]
    ranges = (f"203.0.{number}.0/24" for number in range(113, 200))

    def make(name):
        spec = {"cidrs": [next(ranges)]}
        return {"apiVersion": NETWORKING, "kind": "ServiceCIDR", "metadata": {"name": name}, "spec": spec}

    cidrs.create(make("e2e-status"))

    def is_ready():
        conditions = cidrs.get("e2e-status").get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    eventually(is_ready, "the range is Ready")
    condition = {
        "type": "E2EPatched",
        "status": "True",
        "reason": "E2E",
        "message": "Set from e2e",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    updated = {**condition, "type": "E2EUpdated"}
    after = status_verbs(cidrs, "e2e-status", {"conditions": [condition]}, lambda s: s["conditions"].append(updated))
    assert {"E2EPatched", "E2EUpdated"} <= {c["type"] for c in after["status"]["conditions"]}
    cidrs.delete("e2e-status")
    label = "conformance=every-verb-servicecidrs"
    names = [f"e2e-example-servicecidrs-{n}" for n in (1, 2, 3)]
    made = [make(name) for name in names]
    for obj in made:
        obj["metadata"]["labels"] = {"conformance": "every-verb-servicecidrs"}
        cidrs.create(obj)
    assert [o["metadata"]["name"] for o in cidrs.items(label)] == names
    with cidrs.watch(label, resourceVersion=cidrs.list(label)["metadata"]["resourceVersion"]) as watch:
        cidrs.patch(names[0], {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
        cidrs.edit(names[0], lambda o: o["metadata"]["annotations"].update(updated="true"))
        watch.until("MODIFIED", lambda o: (o["metadata"].get("annotations") or {}).get("updated") == "true")
        # A range stays some seconds, for allocators to see that it is going: all go at once.
        cidrs.delete(names[0])
        cidrs.delete_all(label)
        assert {watch.until("DELETED", seconds=30)["metadata"]["name"] for _ in (1, 2, 3)} == set(names)
    assert cidrs.items(label) == []
    eventually(lambda: cidrs.find("e2e-status") is None, "the range is gone")


@pytest.mark.conformance(
    "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"
)
def test_every_verb_of_ip_addresses(api):
    is_discovered(api, NETWORKING, "ipaddresses")
    addresses = api.at(NETWORKING, "ipaddresses")
    assert addresses.get(api.at("v1", "services", "default").get("kubernetes")["spec"]["clusterIP"])
    label, names = "conformance=ip-addresses", ["192.168.96.10", "192.168.96.11", "192.168.96.12"]
    for name in names:
        parent = {"resource": "services", "name": f"example-{name.rsplit('.', 1)[1]}", "namespace": "default"}
        metadata = {"name": name, "labels": {"conformance": "ip-addresses"}}
        addresses.create(
            {"apiVersion": NETWORKING, "kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": parent}}
        )
    listed = addresses.list(label)
    assert [o["metadata"]["name"] for o in listed["items"]] == names
    with addresses.watch(label, resourceVersion=listed["metadata"]["resourceVersion"]) as watch:
        patched = addresses.patch(names[0], {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        updated = addresses.edit(names[0], lambda o: o["metadata"]["annotations"].update(updated="true"))
        assert updated["metadata"]["annotations"]["updated"] == "true"
        watch.until("MODIFIED", lambda o: o["metadata"]["annotations"].get("updated") == "true")
        addresses.delete(names[0])
        watch.until("DELETED", lambda o: o["metadata"]["name"] == names[0])
        addresses.delete_all(label)
        assert {watch.until("DELETED")["metadata"]["name"] for _ in (2, 3)} == set(names[1:])
    assert addresses.items(label) == []


# -- the API server's proxy

VERBS = ("DELETE", "OPTIONS", "PATCH", "POST", "PUT")


def certificate() -> str:
    """Certificate and key of a server that nobody vouches for, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxied")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    return (signed + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())).decode()


@pytest.fixture(scope="module")
def proxied(api):
    """A namespace with a pod and a Service that lead to the same servers."""
    ns = "conformance-proxied"
    api.at("v1", "namespaces").create({"metadata": {"name": ns}})
    eventually(lambda: api.at("v1", "serviceaccounts", ns).find("default"), "the default service account", 15)
    api.at("v1", "configmaps", ns).create({"metadata": {"name": "pem"}, "data": {"pem": certificate()}})
    ports = [{"name": "dest1", "containerPort": 8080}, {"name": "tlsdest1", "containerPort": 8443}]
    made = net.server(
        "agnhost",
        {"app": "agnhost"},
        ports=ports,
        serve=["http:8080", "https:8443"],
        env=[{"name": "CERTIFICATE", "value": "/pem/pem"}],
    )
    made["spec"]["volumes"].append({"name": "pem", "configMap": {"name": "pem"}})
    made["spec"]["containers"][0]["volumeMounts"].append({"name": "pem", "mountPath": "/pem"})
    service_ports = [
        {"name": "portname1", "port": 80, "targetPort": "dest1"},
        {"name": "tlsportname1", "port": 443, "targetPort": "tlsdest1"},
    ]
    api.at("v1", "services", ns).create(net.service("agnhost", selector={"app": "agnhost"}, ports=service_ports))
    net.start(api, ns, made)
    eventually(lambda: addresses_of(api, ns, "agnhost"), "the Service has endpoints")
    yield f"/api/v1/namespaces/{ns}"
    api.at("v1", "namespaces").delete(ns)


@pytest.mark.conformance("[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]")
def test_proxying_to_pods_and_services(api, proxied):
    plain = ["pods/agnhost:8080", "pods/http:agnhost:8080", "services/agnhost:portname1", "services/agnhost:80"]
    plain += ["services/http:agnhost:portname1", "services/http:agnhost:80"]
    tls = ["pods/https:agnhost:8443", "services/https:agnhost:tlsportname1", "services/https:agnhost:443"]
    for place in (*plain, *tls):
        for _ in range(3):
            answer = api.call("GET", f"{proxied}/{place}/proxy/echo/foo?bar=1").json()
            assert (answer["method"], answer["path"], answer["query"]) == ("GET", "/echo/foo", "bar=1"), place


@pytest.mark.conformance(
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath"
    " [Conformance]"
)
@pytest.mark.parametrize("place", ["pods/agnhost:8080", "services/agnhost:80"])
def test_every_method_with_a_path(api, proxied, place):
    for method in (*VERBS, "GET"):
        answer = api.call(method, f"{proxied}/{place}/proxy/some/path/with/{method}")
        assert answer.code == 200
        assert (answer.json()["method"], answer.json()["path"]) == (method, f"/some/path/with/{method}")
    assert api.call("HEAD", f"{proxied}/{place}/proxy/some/path/with/HEAD").code == 200


@pytest.mark.conformance(
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy [Conformance]"
)
@pytest.mark.parametrize("place", ["pods/agnhost:8080", "services/agnhost:80"])
def test_every_method_without_a_path(api, proxied, place):
    for method in VERBS:
        answer = api.call(method, f"{proxied}/{place}/proxy?method={method}")
        assert answer.code == 200
        assert (answer.json()["method"], answer.json()["query"]) == (method, f"method={method}")
    for method in ("GET", "HEAD"):  # what is shown in browsers must have a path that others are relative to
        answer = api.call(method, f"{proxied}/{place}/proxy?method={method}")
        assert answer.code == 301
        assert answer.headers["Location"].endswith(f"/{place}/proxy/?method={method}")
