"""One `shirube server` for all tests of this folder: a process of its own, TLS and RBAC on, and clients of others.

What only a node can do (exec, Jobs) is in `tests/cluster`; here is what the API server owes its clients.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import kubectl as official  # noqa: E402


@dataclass
class Kubectl:
    """Official kubectl against the server."""

    config: Path
    home: Path

    def run(self, *arguments: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Whatever comes of it."""
        return subprocess.run(
            [str(official.program()), "--kubeconfig", str(self.config), "--cache-dir", f"{self.home}/c", *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin", **environment},
        )

    def __call__(self, *arguments: str, input: str | None = None, **environment: str) -> str:
        """Its standard output; it must succeed."""
        done = self.run(*arguments, input=input, **environment)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return orjson.loads(self(*arguments, "-o", "json"))

    def fails(self, *arguments: str, input: str | None = None) -> str:
        """Its standard error; it must fail."""
        done = self.run(*arguments, input=input)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} succeeded: {done.stdout}"
        return done.stderr


def start_server(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
    """(the process, its administrator's kubeconfig), once it is ready."""
    folder.mkdir(exist_ok=True)
    told = folder / "server.log"
    with told.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "shirube", "server", "--data-dir", str(folder), "--port", "0", *options],
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )

    def ready() -> bool:
        assert process.poll() is None, f"the server did not start: {told.read_text()}"
        return "ready:" in told.read_text()

    try:
        eventually(ready, "the server is ready")
    except AssertionError:
        stop_server(process)
        raise
    return process, folder / "admin.kubeconfig"


def stop_server(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> Iterator[Path]:
    """The kubeconfig of an administrator of a running server."""
    process, path = start_server(tmp_path_factory.mktemp("server"))
    yield path
    stop_server(process)


@pytest.fixture(scope="session")
def kubectl(config: Path, tmp_path_factory) -> Kubectl:
    made = Kubectl(config, tmp_path_factory.mktemp("kubectl"))
    made("create", "serviceaccount", "default")  # which pods need; no controller makes it
    return made


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> str:
    """A namespace for one test. Nothing ends it: without controllers it would stay Terminating."""
    name = "t-" + request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")[:50].strip("-")
    kubectl("create", "namespace", name)
    kubectl("create", "serviceaccount", "default", "-n", name)
    return name


def definition(plural: str, kind: str, group: str = "interop.example.com", **version: Any) -> dict[str, Any]:
    """A CustomResourceDefinition of one version with status and scale."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 0},
                    "color": {"type": "string", "default": "red"},
                },
                "x-kubernetes-validations": [{"rule": "self.size < 100", "message": "size is too large"}],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                    },
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                    **version,
                }
            ],
        },
    }
