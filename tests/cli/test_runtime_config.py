"""`--runtime-config` of `server` and `up`: what is asked for is served, what is not there is refused before anything
is made."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from shirube.apiserver.runtime_config import RuntimeConfigError
from shirube.cli.commands import up as up_command
from shirube.cluster.api import Api
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec

SRC = Path(__file__).resolve().parents[2] / "src"
COMMAND = [sys.executable, "-m", "shirube", "server", "--port", "0"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC)}


@contextlib.contextmanager
def server(data: Path, *arguments: str):
    command = [*COMMAND, "--data-dir", str(data), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
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
            raise AssertionError(f"the server ended: {''.join(lines)}")
        yield Api(data / "admin.kubeconfig")
    finally:
        guard.cancel()
        process.terminate()
        process.communicate()


def test_a_server_serves_what_it_is_asked_for(tmp_path: Path):
    with server(
        tmp_path, "--runtime-config", "api/beta=false", "--runtime-config", "certificates.k8s.io/v1beta1"
    ) as api:
        group = api.get("/apis/certificates.k8s.io")
        assert [version["version"] for version in group["versions"]] == ["v1", "v1beta1"]


def test_what_is_not_there_is_refused_first(tmp_path: Path):
    data = tmp_path / "data"
    done = subprocess.run(
        [*COMMAND, "--data-dir", str(data), "--runtime-config", "apps/v2=true"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert done.returncode != 0
    assert "cannot use --runtime-config apps/v2=true: there is no such API here" in done.stderr
    assert not data.exists()


def test_up_remembers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    wanted: list[ClusterSpec] = []

    def taken(cluster: ClusterLayout, spec: ClusterSpec, progress: object, *, install: bool) -> None:
        wanted.append(spec)
        spec.save(cluster.spec)

    monkeypatch.setattr(up_command, "up", taken)

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(up_command.command, ["--name", "edge", *arguments])
        assert done.exception is None, done.exception
        return wanted[-1].runtime_config

    assert said() == ""
    both = ["--runtime-config", "certificates.k8s.io/v1beta1=true", "--runtime-config", "api/alpha=false"]
    assert said(*both) == "certificates.k8s.io/v1beta1=true,api/alpha=false"
    assert said() == "certificates.k8s.io/v1beta1=true,api/alpha=false"
    assert said("--runtime-config", "") == ""
    done = CliRunner().invoke(up_command.command, ["--name", "edge", "--runtime-config", "x/v1"])
    assert isinstance(done.exception, RuntimeConfigError)
    assert orjson.loads(ClusterLayout.of("edge").spec.read_bytes())["runtime_config"] == ""
