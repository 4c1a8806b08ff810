"""A `shirube server` of its own for the API's figures: a namespace, an account allowed everything, pods."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import yaml

from bench import pods
from bench.load import Result, Target, measured
from bench.processes import cpu_seconds

NAMESPACE = "bench"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"  # those that are read and changed: `pod-0` …
COMING = "/api/v1/namespaces/bench-coming/pods"  # those that are created and deleted


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Started by the constructor, ready when it returns; `close` stops it and removes its data."""

    def __init__(self, data: Path | None = None) -> None:
        self.data = data or Path(tempfile.mkdtemp(prefix="shirube-bench-"))
        self.port = free_port()
        began = time.perf_counter()
        self._log = (self.data / "bench-server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shirube", "server", "--data-dir", str(self.data), "--port", str(self.port)],
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")},
        )
        self._wait_until_ready()
        self.ready_after = time.perf_counter() - began
        self._prepared = False
        self._made = 0

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=tls, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            finally:
                connection.close()
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise RuntimeError(f"cannot start the server: see {self._log.name}")

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        shutil.rmtree(self.data, ignore_errors=True)

    # What figures use

    @property
    def target(self) -> Target:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        return self._target

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """One request with the administrator's certificate; the decoded answer."""
        config = yaml.safe_load((self.data / "admin.kubeconfig").read_text())
        return request_as(config, method, path, body)

    def _prepare(self) -> None:
        ca = self.data / "bench-ca.crt"
        config = yaml.safe_load((self.data / "admin.kubeconfig").read_text())
        ca.write_bytes(_file_or_data(config["clusters"][0]["cluster"], "certificate-authority"))
        account = {"metadata": {"name": "default"}}
        for namespace in (NAMESPACE, "bench-coming"):
            self.admin("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            self.admin("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)
        self.admin(
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {
                "metadata": {"name": "bench"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "namespace": NAMESPACE, "name": "default"}],
            },
        )
        answer = self.admin(
            "POST",
            f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}},
        )
        self._target = Target("127.0.0.1", self.port, str(ca), answer["status"]["token"])

    def drive(self, requests: list[bytes], writers: int) -> Result:
        """All requests, by so many connections of another process; with the CPU time that they took here."""
        target = self.target
        before = cpu_seconds(self.process.pid)
        result = measured(target, requests, writers)
        result.cpu = cpu_seconds(self.process.pid) - before
        return result

    def create(self, names: list[str], writers: int = 32, path: str = PODS) -> Result:
        target = self.target
        return self.drive([target.request("POST", path, orjson.dumps(pods.pod(name))) for name in names], writers)

    def at_least(self, count: int) -> list[str]:
        """Names of pods that are there: `pod-0` …, made when they are not."""
        if count > self._made:
            self.create([f"pod-{n}" for n in range(self._made, count)])
            self._made = count
        return [f"pod-{n}" for n in range(count)]


def _file_or_data(entry: dict[str, str], name: str) -> bytes:
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data)
    return Path(entry[name]).read_bytes()


def request_as(config: Any, method: str, path: str, body: Any = None) -> Any:
    """One request with the credentials of a kubeconfig; the decoded answer. Raises RuntimeError when refused."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = ssl.create_default_context(cadata=_file_or_data(cluster, "certificate-authority").decode())
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(_file_or_data(user, "client-certificate") + b"\n" + _file_or_data(user, "client-key"))
        pair.flush()
        tls.load_cert_chain(pair.name)
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=tls, timeout=30)
    try:
        data = orjson.dumps(body) if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500].decode(errors='replace')}")
        return orjson.loads(text)
    finally:
        connection.close()
