"""A kopf operator with a CRD: handlers, its finalizer, status patches, events, an update, a deletion."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests.interop.conftest import Kubectl, definition
from tests.waiting import eventually

HERE = Path(__file__).resolve().parent


@pytest.fixture
def operator(config: Path, kubectl: Kubectl, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """`kopf run` in a process of its own; the path of its log."""
    kubectl("create", "-f", "-", input=orjson.dumps(definition("presses", "Press")).decode())
    kubectl("wait", "--for=condition=Established", "crd/presses.interop.example.com", "--timeout=10s")
    log = tmp_path / "operator.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "-n", namespace, str(HERE / "press_operator.py")],
            stdout=out,
            stderr=out,
            env={**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)},
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_an_operator(kubectl, namespace, operator):
    press = f"apiVersion: interop.example.com/v1\nkind: Press\nmetadata: {{name: p, namespace: {namespace}}}\n"
    kubectl("create", "-f", "-", input=press + "spec: {size: 3}\n")

    def size() -> str:
        return kubectl.run("-n", namespace, "get", "cm", "p", "-o", "jsonpath={.data.size}").stdout

    def seen(path: str) -> str:
        return kubectl("-n", namespace, "get", "press", "p", "-o", f"jsonpath={path}")

    eventually(lambda: size() == "3", "the operator made the ConfigMap")
    eventually(lambda: seen("{.status.create}") == '{"made":"p"}', "the result is in status")
    assert seen("{.metadata.finalizers}") == '["interop.example.com/operator"]'
    owner = kubectl.json("-n", namespace, "get", "cm", "p")["metadata"]["ownerReferences"][0]
    assert owner["uid"] == seen("{.metadata.uid}")
    kubectl("-n", namespace, "scale", "press/p", "--replicas=5")
    eventually(lambda: size() == "5", "the operator saw the change")
    eventually(lambda: seen("{.status.size}") == "5", "status follows")
    eventually(lambda: "Made" in kubectl("-n", namespace, "events", "--for=press/p"), "the operator's event")
    kubectl("-n", namespace, "delete", "press", "p", "--timeout=20s")
    assert size() == ""
    assert "Traceback" not in operator.read_text()
