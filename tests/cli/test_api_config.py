"""`shirube server --api-config`: a real process with files that say who may do what."""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request

import orjson
import pytest
from tests.cli.server_process import refused, server

from shirube.cluster.api import Api

ENCRYPTION = f"""
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox: {{keys: [{{name: key1, secret: {base64.b64encode(b"k" * 32).decode()}}}]}}
  - identity: {{}}
"""
AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, resources: [{group: "", resources: [secrets]}]}]
"""
AUTHENTICATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous: {enabled: true, conditions: [{path: /livez}]}
"""


def anonymous(port: int, path: str) -> int:
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_files_take_effect(tmp_path):
    config, data = tmp_path / "config", tmp_path / "data"
    config.mkdir()
    (config / "encryption.yaml").write_text(ENCRYPTION)
    (config / "audit-policy.yaml").write_text(AUDIT)
    (config / "authentication.yaml").write_text(AUTHENTICATION)
    with server(data, "--api-config", str(config)) as port:
        api = Api(data / "admin.kubeconfig")
        secrets = "/api/v1/namespaces/default/secrets"
        status, made = api.request("POST", secrets, {"metadata": {"name": "s"}, "stringData": {"k": "plain text"}})
        assert status == 201, made
        assert api.request("GET", f"{secrets}/s")[0] == 200
        assert (anonymous(port, "/livez"), anonymous(port, "/readyz")) == (200, 401)
    stored = b"".join(path.read_bytes() for path in data.glob("store.db*"))
    assert b"k8s:enc:secretbox:v1:key1:" in stored
    assert base64.b64encode(b"plain text") not in stored
    events = [orjson.loads(line) for line in (data / "audit.log").read_bytes().splitlines()]
    assert [(e["verb"], e["user"]["username"], e["objectRef"]["name"]) for e in events] == [
        ("create", "kubernetes-admin", "s"),
        ("get", "kubernetes-admin", "s"),
    ]


@pytest.mark.parametrize("text", ["kind: Nonsense\n", ENCRYPTION.replace("secretbox", "rot13")])
def test_what_is_wrong_is_said_before_anything_starts(tmp_path, text):
    (tmp_path / "encryption.yaml").write_text(text)
    said = refused(tmp_path / "data", "--api-config", str(tmp_path))
    assert "cannot use " in said and "Traceback" not in said
