"""What kubectl meets at a server whose admission is configured: one test for each plugin that takes a configuration."""

from __future__ import annotations

import base64
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.apiserver.authentication.conftest import certificate

from .conftest import Kubectl, start_server, stop_server

CONFIG = "apiserver.config.k8s.io/v1"


class Backend:
    """Answers reviews of images and of objects, and remembers who asked."""

    def __init__(self, folder: Path) -> None:
        self.cert, key, _ = certificate(folder)
        self.heard: list[tuple[str, str | None]] = []
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
                path = self.path.partition("?")[0]
                backend.heard.append((path, self.headers["Authorization"]))
                if path == "/images":
                    images = [c["image"] for c in review["spec"]["containers"]]
                    review["status"] = {"allowed": "evil" not in images, "reason": "evil is not good"}
                else:
                    answer = {"uid": review["request"]["uid"], "allowed": True}
                    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
                body = orjson.dumps(review)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nobody reads it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def kubeconfig(self, path: Path, token: str) -> str:
        cluster = {"server": f"https://127.0.0.1:{self.port}/images", "certificate-authority": str(self.cert)}
        document = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": f"127.0.0.1:{self.port}", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": f"127.0.0.1:{self.port}"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(document))
        return str(path)


def plugins(folder: Path, backend: Backend) -> dict[str, Any]:
    security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "warn": "restricted"},
        "exemptions": {"namespaces": ["trusted"]},
    }
    critical = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"]}
    quota = {
        "apiVersion": CONFIG,
        "kind": "ResourceQuotaConfiguration",
        "limitedResources": [
            {"resource": "pods", "matchScopes": [critical]},
            {"resource": "services", "matchContains": ["services.loadbalancers"]},
        ],
    }
    events = {
        "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "limits": [{"type": "Namespace", "qps": 1, "burst": 1, "cacheSize": 100}],
    }
    tolerations = {
        "apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1",
        "kind": "Configuration",
        "default": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    }
    images, hooks = (backend.kubeconfig(folder / f"{name}.kubeconfig", name) for name in ("images", "hooks"))
    return {
        "PodSecurity": security,
        "ResourceQuota": quota,
        "EventRateLimit": events,
        "PodTolerationRestriction": tolerations,
        "PodNodeSelector": {"podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "pool=shared"}},
        "ImagePolicyWebhook": {"imagePolicy": {"kubeConfigFile": images}},
        "ValidatingAdmissionWebhook": {
            "apiVersion": CONFIG,
            "kind": "WebhookAdmissionConfiguration",
            "kubeConfigFile": hooks,
        },
    }


@pytest.fixture(scope="module")
def backend(tmp_path_factory) -> Iterator[Backend]:
    made = Backend(tmp_path_factory.mktemp("backend"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def kubectl(backend: Backend, tmp_path_factory) -> Iterator[Kubectl]:
    folder = tmp_path_factory.mktemp("configured")
    configured = plugins(folder, backend)
    (folder / "security.yaml").write_text(yaml.safe_dump(configured.pop("PodSecurity")))
    entries = [{"name": name, "configuration": value} for name, value in configured.items()]
    entries.append({"name": "PodSecurity", "path": "security.yaml"})
    document = {"apiVersion": CONFIG, "kind": "AdmissionConfiguration", "plugins": entries}
    (folder / "admission.yaml").write_text(yaml.safe_dump(document))
    process, path = start_server(
        tmp_path_factory.mktemp("server"),
        "--api-config",
        str(folder),
        "--enable-admission-plugins",
        "AlwaysPullImages,DenyServiceExternalIPs",
        "--disable-admission-plugins",
        "DefaultTolerationSeconds",
    )
    yield Kubectl(path, tmp_path_factory.mktemp("kubectl"))
    stop_server(process)


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> str:
    name = "t-" + request.node.name.removeprefix("test_").replace("_", "-")[:50]
    kubectl("create", "namespace", name)
    kubectl("create", "serviceaccount", "default", "-n", name)
    return name


def run(name: str, namespace: str, image: str = "good", **spec: Any) -> list[str]:
    overrides = orjson.dumps({"spec": spec}).decode()
    return ["run", name, "-n", namespace, f"--image={image}", "--restart=Never", f"--overrides={overrides}"]


def test_pod_security(kubectl: Kubectl, namespace: str) -> None:
    said = kubectl.fails(*run("p", namespace, hostNetwork=True))
    assert 'Error from server (Forbidden): pods "p" is forbidden: violates PodSecurity "baseline:latest"' in said
    done = kubectl.run(*run("p", namespace))
    assert done.returncode == 0 and 'Warning: would violate PodSecurity "restricted:latest"' in done.stderr
    kubectl("create", "namespace", "trusted")
    kubectl("create", "serviceaccount", "default", "-n", "trusted")
    done = kubectl.run(*run("p", "trusted", hostNetwork=True))
    assert done.returncode == 0 and "Warning" not in done.stderr


def test_resource_quota(kubectl: Kubectl, namespace: str) -> None:
    critical = {"priorityClassName": "system-cluster-critical"}
    said = kubectl.fails(*run("p", namespace, **critical))
    assert "insufficient quota to match these scopes: [{PriorityClass In [system-cluster-critical]}]" in said
    balanced = ["create", "service", "loadbalancer", "s", "--tcp=80", "-n", namespace]
    said = kubectl.fails(*balanced)
    assert 'services "s" is forbidden: insufficient quota to consume: services.loadbalancers' in said
    kubectl("create", "service", "clusterip", "plain", "--tcp=80", "-n", namespace)
    kubectl("create", "quota", "s", "--hard=services.loadbalancers=1", "-n", namespace)
    kubectl(*balanced)
    scopes = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}
    spec = {"hard": {"pods": "1"}, "scopeSelector": scopes}
    metadata = {"name": "p", "namespace": namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    kubectl("create", "-f", "-", input=orjson.dumps(quota).decode())
    kubectl(*run("p", namespace, **critical))
    assert "exceeded quota: p" in kubectl.fails(*run("q", namespace, **critical))


def test_event_rate_limit(kubectl: Kubectl, namespace: str) -> None:
    about = {"kind": "Pod", "apiVersion": "v1", "name": "p", "namespace": namespace}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"e{n}", "namespace": namespace},
            "involvedObject": about,
        }
        for n in range(20)
    ]
    body = orjson.dumps({"apiVersion": "v1", "kind": "List", "items": items}).decode()
    said = kubectl.fails("create", "-f", "-", input=body)
    assert f"Too many requests: limit reached on type Namespace for key {namespace}" in said
    assert kubectl("get", "events", "-n", namespace, "-o", "name").startswith("event/e0")


def test_where_pods_go_and_which_images_they_pull(kubectl: Kubectl, namespace: str) -> None:
    kubectl(*run("p", namespace))
    spec = kubectl.json("get", "pod", "p", "-n", namespace)["spec"]
    assert spec["nodeSelector"] == {"pool": "shared"}, "PodNodeSelector"
    assert spec["tolerations"] == [{"effect": "NoSchedule", "key": "spot", "operator": "Exists"}]
    assert spec["containers"][0]["imagePullPolicy"] == "Always"
    said = kubectl.fails(*run("q", namespace, nodeSelector={"pool": "own"}))
    assert "pod node label selector conflicts with its namespace node label selector" in said


def test_image_policy_webhook(kubectl: Kubectl, namespace: str, backend: Backend) -> None:
    said = kubectl.fails(*run("p", namespace, image="evil"))
    assert "image policy webhook backend denied one or more images: evil is not good" in said
    assert ("/images", "Bearer images") in backend.heard


def test_webhook_credentials(kubectl: Kubectl, namespace: str, backend: Backend) -> None:
    hook = {
        "name": "v.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{backend.port}/review",
            "caBundle": base64.b64encode(Path(backend.cert).read_bytes()).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    body = orjson.dumps({**kind, "metadata": {"name": "v"}, "webhooks": [hook]}).decode()
    kubectl("create", "-f", "-", input=body)
    kubectl("create", "configmap", "c", "-n", namespace)
    assert ("/review", "Bearer hooks") in backend.heard


def test_external_addresses(kubectl: Kubectl, namespace: str) -> None:
    ports = {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": namespace}, "spec": ports}
    said = kubectl.fails("create", "-f", "-", input=orjson.dumps(service).decode())
    assert 'services "s" is forbidden: Use of external IPs is denied by admission control' in said
