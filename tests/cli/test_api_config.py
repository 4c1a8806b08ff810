"""`shirube server --api-config`: a real process with files that say who may do what."""

from __future__ import annotations

import base64
import contextlib
import os
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import orjson
import pytest

from shirube.cluster.api import Api

SRC = Path(__file__).resolve().parents[2] / "src"
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


@contextlib.contextmanager
def server(data: Path, config: Path):
    """The process, ready; its port."""
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-m", "shirube", "server", "--data-dir", str(data), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--api-config", str(config)], stderr=subprocess.PIPE, text=True, env=environment
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("ready: "):
                break
        else:
            raise AssertionError("".join(lines))
        yield int(lines[-1].split()[1].rsplit(":", 1)[1])
    finally:
        guard.cancel()
        process.terminate()
        process.communicate(timeout=30)


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
    with server(data, config) as port:
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
    command = [sys.executable, "-m", "shirube", "server", "--data-dir", str(tmp_path / "data"), "--port", "0"]
    done = subprocess.run(
        [*command, "--api-config", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert done.returncode != 0
    assert "cannot use " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
