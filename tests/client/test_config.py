from __future__ import annotations

import base64
import datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.client.config import ConfigError, KubeConfig, TokenFile
from shirube.foundation.clock import ManualClock


def pair() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def kubeconfig(tmp_path: Path, cluster: dict, user: dict, **context: str) -> Path:
    path = tmp_path / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", **context}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_embedded_certificates(tmp_path: Path):
    certificate, key = pair()
    text = {k: base64.b64encode(v).decode() for k, v in (("c", certificate), ("k", key))}
    path = kubeconfig(
        tmp_path,
        {"server": "https://h:1/", "certificate-authority-data": text["c"]},
        {"client-certificate-data": text["c"], "client-key-data": text["k"]},
        namespace="ns",
    )
    config = KubeConfig.load(path)
    assert (config.server, config.namespace) == ("https://h:1", "ns")
    assert config.tls is not None
    assert config.without_certificate().ca_pem == certificate


def test_files_are_relative_to_the_kubeconfig(tmp_path: Path):
    certificate, key = pair()
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    (tmp_path / "token").write_text("t\n")
    path = kubeconfig(
        tmp_path,
        {"server": "https://h:1", "certificate-authority": "c.pem"},
        {"client-certificate": "c.pem", "client-key": "k.pem", "tokenFile": "token"},
    )
    config = KubeConfig.load(path)
    assert TokenFile(config.token_file).current() == "t"


@pytest.mark.parametrize(
    "cluster,user,message",
    [
        ({"server": "ftp://x"}, {}, "not an http"),
        ({"server": "https://x", "certificate-authority-data": "%%"}, {}, "not base64"),
        ({"server": "https://x", "certificate-authority": "none.pem"}, {}, "certificate-authority"),
        ({"server": "https://x"}, {"exec": {"command": "aws"}}, "not supported"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, cluster: dict, user: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        KubeConfig.load(kubeconfig(tmp_path, cluster, user))


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot read kubeconfig"):
        KubeConfig.load(tmp_path / "none")


def test_token_files_are_read_again_when_they_rotate(tmp_path: Path):
    clock = ManualClock()
    file = tmp_path / "token"
    file.write_text("one")
    token = TokenFile(str(file), clock)
    assert token.current() == "one"
    file.write_text("two")
    assert token.current() == "one"
    clock.advance(61)
    assert token.current() == "two"
    file.unlink()
    clock.advance(61)
    assert token.current() == "two", "a token that vanishes for a moment is no reason to fail"
