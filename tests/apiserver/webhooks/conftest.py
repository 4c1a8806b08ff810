"""A webhook server on a real socket behind real TLS, which answers as the test says."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.serving import tls
from shirube.serving.http import Server
from shirube.serving.messages import Request, Response


@dataclass
class Hook:
    """`answer(request)` returns the `response` of the review (uid and allowed are filled in)."""

    bundle: str
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    heard: list[Request] = field(default_factory=list)
    answers: dict[str, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)

    async def handle(self, request: Request) -> Response:
        self.heard.append(request)
        review = orjson.loads(await request.read(8 << 20))
        asked = review["request"]
        self.requests.append(asked)
        answer = self.answers.get(request.path, lambda asked: {})(asked)
        if hasattr(answer, "__await__"):
            answer = await answer
        if isinstance(answer, Response):
            return answer
        response = {"uid": asked["uid"], "allowed": True, **answer}
        return Response(200, orjson.dumps({**review, "request": None, "response": response}))

    def config(self, path: str = "/") -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.bundle}

    def service(self, path: str = "/") -> dict[str, Any]:
        service = {"namespace": "default", "name": "hook", "port": self.port, "path": path}
        return {"service": service, "caBundle": self.bundle}


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def patched(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(list(operations))).decode()}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate file, key file): signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook")])
    names = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.DNSName("hook.default.svc"),
        x509.DNSName("localhost"),
    ]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("hook")
    cert, key_file = folder / "hook.crt", folder / "hook.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, key_file


@pytest.fixture
async def hook(certificate):
    cert, key = certificate
    found = Hook(base64.b64encode(cert.read_bytes()).decode())
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(found.handle, tls=tls.server_context(cert, key))
    await server.start([sock])
    found.port = sock.getsockname()[1]
    yield found
    await server.drain(0.1)


def webhook(name: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "clientConfig": config,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


GROUP = "/apis/admissionregistration.k8s.io/v1"


async def register(api, kind: str, name: str, *webhooks: dict[str, Any]) -> dict[str, Any]:
    body = {"metadata": {"name": name}, "webhooks": list(webhooks)}
    return await api.ok("POST", f"{GROUP}/{kind}webhookconfigurations", body)
