"""An extension API server behind the aggregation layer: found by a Service, believed by its own authority."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conformance.api import Refused
from tests.cluster.conformance.test_webhooks import ADDRESS, _certificate
from tests.cluster.conftest import NAME
from tests.ports import free_port
from tests.waiting import eventually

REGISTRATION = "apiregistration.k8s.io/v1"
GROUP, VERSION = "wardle.example.com", "v1alpha1"
NAMED = f"{VERSION}.{GROUP}"
SERVICE = "e2e-test-webhook"  # what the certificate is for


@pytest.fixture
def server(api, ns, tmp_path) -> Iterator[str]:
    """The extension server behind a Service of the test's namespace; its CA bundle."""
    certificate, key = _certificate(tmp_path, f"{SERVICE}.{ns}.svc")
    trusted = api.at("v1", "configmaps", "kube-system").get("extension-apiserver-authentication")["data"]
    ca = tmp_path / "requestheader.crt"
    ca.write_text(trusted["requestheader-client-ca-file"])
    port = free_port()
    program = Path(__file__).with_name("extension_server.py")
    command = ["ip", "netns", "exec", NAME, sys.executable, program, certificate, key, ca, ADDRESS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            ports = [{"port": 443, "targetPort": port}]
            api.at("v1", "services", ns).create({"metadata": {"name": SERVICE}, "spec": {"ports": ports}})
            api.at("discovery.k8s.io/v1", "endpointslices", ns).create(
                {
                    "metadata": {"name": SERVICE, "labels": {"kubernetes.io/service-name": SERVICE}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
                    "ports": [{"port": port, "name": ""}],
                }
            )
            yield base64.b64encode(certificate.read_bytes()).decode()
        finally:
            child.kill()


def _condition(obj, kind: str):
    return next((c for c in (obj.get("status") or {}).get("conditions") or () if c["type"] == kind), {})


@pytest.mark.conformance(
    "[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator "
    "[LinuxOnly] [Conformance]"
)
def test_extension_server(api, cluster, ns, server):
    services = api.at(REGISTRATION, "apiservices")
    spec = {
        "group": GROUP,
        "version": VERSION,
        "service": {"namespace": ns, "name": SERVICE},
        "groupPriorityMinimum": 2000,
        "versionPriority": 200,
        "caBundle": server,
    }
    services.create({"metadata": {"name": NAMED, "labels": {"e2e": ns}}, "spec": spec})
    try:
        eventually(lambda: _condition(services.get(NAMED), "Available").get("status") == "True", "it is available", 20)
        _objects(api, cluster, ns)
        _documents(api, cluster)
        _api_service(services, ns)
    finally:
        if services.find(NAMED):
            services.delete(NAMED)
    eventually(lambda: services.find(NAMED) is None, "the APIService is gone")
    with pytest.raises(Refused, match="404"):
        api.at(f"{GROUP}/{VERSION}", "flunders", ns).list()


def _objects(api, cluster, ns: str) -> None:
    flunders = api.at(f"{GROUP}/{VERSION}", "flunders", ns)
    watch = flunders.watch()
    made = flunders.create({"metadata": {"name": "one"}, "spec": {"reference": "x"}})
    # Who asked is told by the front proxy, whatever the client says of itself.
    assert made["metadata"]["annotations"] == {"asked-by": "kubernetes-admin"}
    pretended = {"X-Remote-User": "somebody", "X-Remote-Group": "system:masters"}
    other = api.ask("POST", flunders.path, {"metadata": {"name": "two"}}, headers=pretended)
    assert other["metadata"]["annotations"] == {"asked-by": "kubernetes-admin"}
    assert [o["metadata"]["name"] for o in flunders.items()] == ["one", "two"]
    assert watch.until("ADDED", lambda o: o["metadata"]["name"] == "two")
    assert cluster.kubectl("-n", ns, "get", "flunders", "-o", "name").split() == [
        f"flunder.{GROUP}/one",
        f"flunder.{GROUP}/two",
    ]
    flunders.edit("one", lambda o: o.update(spec={"reference": "y"}))
    assert flunders.get("one")["spec"] == {"reference": "y"}
    flunders.delete("one")
    watch.until("DELETED")
    watch.close()
    flunders.delete_all("")
    assert flunders.items() == []
    # Nobody gets there whom RBAC does not let.
    with api.acting(User="nobody") as nobody, pytest.raises(Refused, match="403"):
        nobody.at(f"{GROUP}/{VERSION}", "flunders", ns).list()


def _documents(api, cluster) -> None:
    assert GROUP in [g["name"] for g in api.get("/apis")["groups"]]
    assert api.get(f"/apis/{GROUP}/{VERSION}")["resources"][0]["name"] == "flunders"
    assert "flunders" in cluster.kubectl("api-resources", "--api-group", GROUP, "-o", "name")
    assert f"apis/{GROUP}/{VERSION}" in api.get("/openapi/v3")["paths"]
    document = api.get("/openapi/v2")
    assert "com.example.wardle.Flunder" in document["definitions"]
    assert f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/flunders" in document["paths"]


def _api_service(services, ns: str) -> None:
    assert _condition(services.get(NAMED, "status"), "Available")["reason"] == "Passed"
    services.patch(NAMED, {"spec": {"versionPriority": 400}})
    assert NAMED in [o["metadata"]["name"] for o in services.items(f"e2e={ns}")]
    assert services.get(NAMED)["spec"]["versionPriority"] == 400
    updated = {"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "set by a test"}
    services.edit(NAMED, lambda o: o["status"]["conditions"].append(updated), "status")
    assert _condition(services.get(NAMED), "StatusUpdated")["reason"] == "E2E"
    conditions = services.get(NAMED)["status"]["conditions"]
    patched = [*conditions, {**updated, "type": "StatusPatched"}]
    services.patch(NAMED, {"status": {"conditions": patched}}, sub="status")
    assert _condition(services.get(NAMED, "status"), "StatusPatched")["status"] == "True"
    services.edit(NAMED, lambda o: o["metadata"]["labels"].update({"replaced": "yes"}))
    assert [o["metadata"]["name"] for o in services.items("replaced=yes")] == [NAMED]
    services.delete_all("replaced=yes")
    eventually(lambda: services.find(NAMED) is None, "the collection is deleted")
