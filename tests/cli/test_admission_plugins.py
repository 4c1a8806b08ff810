"""Admission plugins by flags of `server` and `up`: taken, remembered, and refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.server_process import refused, server

from shirube.cli.commands import up as up_command
from shirube.cluster.api import Api
from shirube.cluster.api_config import ApiConfigError
from shirube.cluster.spec import ClusterSpec

CONFIG = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: configmaps, matchContains: [count/]}]
"""


def test_a_server_takes_them(tmp_path: Path):
    (tmp_path / "admission.yaml").write_text(CONFIG)
    arguments = ["--admission-control-config-file", str(tmp_path / "admission.yaml")]
    arguments += ["--enable-admission-plugins", "NamespaceAutoProvision"]
    with server(tmp_path / "data", *arguments):
        api = Api(tmp_path / "data" / "admin.kubeconfig")
        assert api.request("POST", "/api/v1/namespaces/new/secrets", {"metadata": {"name": "s"}})[0] == 201
        status, said = api.request("POST", "/api/v1/namespaces/new/configmaps", {"metadata": {"name": "c"}})
        assert status == 403 and b"insufficient quota to consume: count/configmaps" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--enable-admission-plugins", "PodPolice"], 'admission plugin "PodPolice" is unknown'),
        (["--enable-admission-plugins", "EventRateLimit"], "admission plugin EventRateLimit: it has no configuration"),
        (["--admission-control-config-file", "nowhere.yaml"], "nowhere.yaml: No such file or directory"),
    ],
)
def test_what_is_not_there_is_refused_first(tmp_path: Path, arguments, why):
    said = refused(tmp_path / "data", *arguments)
    assert why in said and "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_one_file_is_enough(tmp_path: Path):
    (tmp_path / "admission.yaml").write_text(CONFIG)
    both = ["--api-config", str(tmp_path), "--admission-control-config-file", str(tmp_path / "admission.yaml")]
    assert "give one of them" in refused(tmp_path / "data", *both)


def test_up_remembers_them(tmp_path: Path, wanted: list[ClusterSpec]):
    def said(*arguments: str) -> tuple[str, str]:
        done = CliRunner().invoke(up_command.command, ["--name", "edge", *arguments])
        assert done.exception is None, done.exception
        return wanted[-1].enable_admission_plugins, wanted[-1].disable_admission_plugins

    assert said() == ("", "")
    choice = ["--enable-admission-plugins", "AlwaysPullImages", "--enable-admission-plugins", "NamespaceExists"]
    choice += ["--disable-admission-plugins", "LimitRanger"]
    assert said(*choice) == ("AlwaysPullImages,NamespaceExists", "LimitRanger")
    assert said() == ("AlwaysPullImages,NamespaceExists", "LimitRanger")
    assert said("--enable-admission-plugins", "") == ("", "LimitRanger")
    for arguments in (["--enable-admission-plugins", "LimitRanger"], ["--enable-admission-plugins", "EventRateLimit"]):
        done = CliRunner().invoke(up_command.command, ["--name", "edge", *arguments])
        assert isinstance(done.exception, ApiConfigError)
    assert said() == ("", "LimitRanger"), "what is refused is not remembered"
    files = tmp_path / "files"
    files.mkdir()
    (files / "admission.yaml").write_text(CONFIG.replace("ResourceQuotaConfiguration", "Configuration"))
    done = CliRunner().invoke(up_command.command, ["--name", "edge", "--api-config", str(files)])
    assert isinstance(done.exception, ApiConfigError) and "plugins[0].configuration: apiVersion" in str(done.exception)
