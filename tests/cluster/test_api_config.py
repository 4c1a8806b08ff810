"""The directory of `--api-config`: what is in it reaches the API server, what does not belong there is refused."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from shirube.cluster import api_config
from shirube.cluster.api_config import ApiConfigError

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


def test_each_file_becomes_an_option(tmp_path):
    for name in api_config.FILES:
        (tmp_path / name).touch()
    (tmp_path / "README.md").touch()
    made = api_config.options(tmp_path, Path("/logs/audit.log"))
    assert made == {
        "authentication_config": tmp_path / "authentication.yaml",
        "authorization_config": tmp_path / "authorization.yaml",
        "encryption_config": tmp_path / "encryption.yaml",
        "audit_policy": tmp_path / "audit-policy.yaml",
        "audit_log": Path("/logs/audit.log"),
        "admission_control_config_file": tmp_path / "admission.yaml",
    }


def test_files_may_be_absent(tmp_path):
    (tmp_path / "encryption.yaml").touch()
    assert api_config.options(tmp_path, tmp_path) == {"encryption_config": tmp_path / "encryption.yaml"}


def test_a_misspelt_name_is_refused(tmp_path):
    (tmp_path / "audit-policy.yaml").write_text(POLICY)
    (tmp_path / "encription.yaml").touch()
    with pytest.raises(ApiConfigError, match=r"encription\.yaml is not a known name"):
        api_config.check(tmp_path)


ADMISSION = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"


def test_files_that_the_admission_configuration_names_belong_there(tmp_path):
    (tmp_path / "admission.yaml").write_text(ADMISSION + "plugins: [{name: PodSecurity, path: pods.yaml}]\n")
    security = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}
    (tmp_path / "pods.yaml").write_text(repr({**security, "defaults": {"enforce": "baseline"}}))
    api_config.check(tmp_path)
    assert api_config.options(tmp_path, tmp_path) == {"admission_control_config_file": tmp_path / "admission.yaml"}
    (tmp_path / "pods.yaml").write_text(repr({**security, "defaults": {"enforce": "based"}}))
    with pytest.raises(ApiConfigError, match=r'pods\.yaml: defaults\.enforce: Invalid value: "based"'):
        api_config.check(tmp_path)
    (tmp_path / "podz.yaml").touch()
    with pytest.raises(ApiConfigError, match=r"podz\.yaml is not a known name"):
        api_config.check(tmp_path)


def test_plugins_are_looked_at_before_anything_starts(tmp_path):
    api_config.check_plugins("", "", None)
    api_config.check_plugins("AlwaysPullImages", "LimitRanger", None)
    with pytest.raises(ApiConfigError, match='admission plugin "AlwaysPull" is unknown'):
        api_config.check_plugins("AlwaysPull", "", None)
    with pytest.raises(ApiConfigError, match=r"cannot read .*nowhere"):
        api_config.check_plugins("", "", tmp_path / "nowhere")


@pytest.mark.parametrize("make", [lambda p: p / "nowhere", lambda p: p])
def test_an_empty_or_absent_directory_is_refused(tmp_path, make):
    with pytest.raises(ApiConfigError, match=r"it is not a directory|it has none of"):
        api_config.check(make(tmp_path))


@pytest.mark.parametrize("name", api_config.FILES)
def test_every_file_is_read_as_the_server_will(tmp_path, name):
    (tmp_path / name).write_text("kind: Nonsense\n")
    with pytest.raises(ApiConfigError, match=f"cannot use {tmp_path / name}: .*is not supported"):
        api_config.check(tmp_path)


def test_good_files_pass(tmp_path):
    (tmp_path / "audit-policy.yaml").write_text(POLICY)
    api_config.check(tmp_path)


def test_the_examples_of_the_documentation_are_good(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    names = {
        "AuthenticationConfiguration": "authentication.yaml",
        "EncryptionConfiguration": "encryption.yaml",
        "Policy": "audit-policy.yaml",
        "AdmissionConfiguration": "admission.yaml",
    }
    for example in examples:
        kind = re.search(r"^kind: (\w+)$", example, re.MULTILINE)
        if kind is None:  # a part of an object, not a file for the server
            continue
        filled = example.replace("BASE64_OF_32_BYTES", base64.b64encode(b"k" * 32).decode())
        (tmp_path / names.pop(kind[1])).write_text(filled)
    assert not names
    api_config.check(tmp_path)


def test_the_clusters_own_issuer_is_refused_before_anything_starts(tmp_path):
    own = "https://kubernetes.default.svc.cluster.local"
    mappings = "claimMappings: {username: {claim: sub, prefix: ''}}"
    (tmp_path / "authentication.yaml").write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
        f"jwt: [{{issuer: {{url: '{own}', audiences: [a]}}, {mappings}}}]\n"
    )
    with pytest.raises(ApiConfigError, match="must not overlap with disallowed issuers"):
        api_config.check(tmp_path)
