"""`--runtime-config` of `server` and `up`: what is asked for is served, what is not there is refused before anything
is made."""

from __future__ import annotations

from pathlib import Path

import orjson
from click.testing import CliRunner
from tests.cli.server_process import refused, server

from shirube.apiserver.runtime_config import RuntimeConfigError
from shirube.cli.commands import up as up_command
from shirube.cluster.api import Api
from shirube.cluster.api_config import ApiConfigError
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


def test_a_server_serves_what_it_is_asked_for(tmp_path: Path):
    with server(tmp_path, "--runtime-config", "api/beta=false", "--runtime-config", "certificates.k8s.io/v1beta1"):
        group = Api(tmp_path / "admin.kubeconfig").get("/apis/certificates.k8s.io")
        assert [version["version"] for version in group["versions"]] == ["v1", "v1beta1"]


def test_what_is_not_there_is_refused_first(tmp_path: Path):
    said = refused(tmp_path / "data", "--runtime-config", "apps/v2=true")
    assert "cannot use --runtime-config apps/v2=true: there is no such API here" in said


def test_up_remembers_it(wanted: list[ClusterSpec]):
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
    assert said("--runtime-config", "policy/v1=false") == "policy/v1=false"
    assert said("--runtime-config", "") == ""
    for needed in ("v1/nodes=false", "coordination.k8s.io/v1=0", "api/all=false,v1=true"):
        done = CliRunner().invoke(up_command.command, ["--name", "edge", "--runtime-config", needed])
        assert isinstance(done.exception, ApiConfigError) and "a cluster cannot be without" in str(done.exception)
    assert orjson.loads(ClusterLayout.of("edge").spec.read_bytes())["runtime_config"] == ""
