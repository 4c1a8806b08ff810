"""`extension-apiserver-authentication` follows the files on disk, and the authorities of several servers add up."""

from __future__ import annotations

import asyncio
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shirube.apiserver.bootstrap import authentication_config
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance

from ..conftest import ADMIN, Admins, Api  # noqa: TID252 - the fixtures' own house

PATH = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


def authority(name: str, days: int = 10) -> str:
    """A self-signed certificate that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=20))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
async def front(tmp_path, signing_key):
    """A server with authorities of its own, in files of a folder."""
    for name in ("ca", "front"):
        (tmp_path / f"{name}.crt").write_text(authority(name))
    options = Options(
        data_dir=tmp_path,
        service_account_key=signing_key,
        client_ca=tmp_path / "ca.crt",
        front_proxy_ca=tmp_path / "front.crt",
    )
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield Api(server), tmp_path


async def test_what_extension_servers_read(front):
    api, folder = front
    data = (await api.ok("GET", PATH))["data"]
    assert data == {
        "client-ca-file": (folder / "ca.crt").read_text(),
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-client-ca-file": (folder / "front.crt").read_text(),
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-username-headers": '["X-Remote-User"]',
    }


async def test_a_replaced_authority_is_added(front):
    api, folder = front
    old, new = (folder / "ca.crt").read_text(), authority("next")
    (folder / "ca.crt").write_text(new)
    await authentication_config.settle(api.context)
    assert (await api.ok("GET", PATH))["data"]["client-ca-file"] == new + old


async def test_it_comes_back(front):
    api, _ = front
    await api.ok("DELETE", PATH)
    async with asyncio.timeout(60):
        while (await api.get(PATH)).status != 200:
            await asyncio.sleep(0.01)


def test_authorities_add_up_until_they_expire():
    mine, theirs, past = authority("mine"), authority("theirs"), authority("past", days=-1)
    now = datetime.datetime.now(datetime.UTC).timestamp()
    assert authentication_config.bundle(mine, theirs + past + mine, now) == mine + theirs
    have = {"client-ca-file": theirs, "requestheader-allowed-names": "[]", "other": "x"}
    want = {"client-ca-file": mine, "requestheader-allowed-names": '["a"]'}
    assert authentication_config.merged(want, have, now) == {
        "client-ca-file": mine + theirs,
        "requestheader-allowed-names": '["a"]',
    }
