"""The whole process over real sockets and TLS: start, serve, stop, start again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import subprocess
import sys

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.apiserver.main import Options, run
from shirube.serving import tls

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def make(path, name, issuer=None, organization=""):
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    subject = x509.Name(attributes)
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(issuer is None, None), True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    )
    cert = builder.sign(issuer_key, hashes.SHA256())
    (path / f"{name}.crt").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (path / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return cert, key


@pytest.fixture
def pki(tmp_path):
    ca = make(tmp_path, "ca")
    make(tmp_path, "server", ca)
    make(tmp_path, "admin", ca, "system:masters")
    make(tmp_path, "bob", ca)
    return tmp_path


@contextlib.asynccontextmanager
async def running(pki):
    """(base URL, the stop event) of a server in its own task; stopped, and waited for, on leaving."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    options = Options(
        data_dir=pki / "data",
        sockets=[sock],
        tls_cert=pki / "server.crt",
        tls_key=pki / "server.key",
        client_ca=pki / "ca.crt",
        service_account_key=pki / "server.key",
        drain_seconds=2,
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(options, stop, ready.set))
        started = group.create_task(ready.wait())
        await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        try:
            yield f"https://localhost:{port}", stop
        finally:
            stop.set()


def client(pki, who: str = "", **more):
    cert = (pki / f"{who}.crt", pki / f"{who}.key") if who else (None, None)
    context = tls.client_context(pki / "ca.crt", *cert)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), **more)


async def test_certificates_decide_who_may(pki):
    async with (
        running(pki) as (url, _),
        client(pki, "admin") as admin,
        client(pki, "bob") as bob,
        client(pki) as nobody,
    ):
        async with admin.get(f"{url}/api/v1/namespaces") as answer:
            assert answer.status == 200
        async with bob.get(f"{url}/api/v1/namespaces") as answer:
            assert answer.status == 403
            assert 'User "bob" cannot list' in (await answer.json())["message"]
        async with nobody.get(f"{url}/api/v1/namespaces") as answer:
            assert answer.status == 403
            assert "system:anonymous" in (await answer.json())["message"]
        for path in ("/readyz", "/version", "/livez"):
            async with nobody.get(url + path) as answer:
                assert answer.status == 200, path
        async with nobody.get(f"{url}/api", headers={"Authorization": "Bearer made-up"}) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (401, "Unauthorized")


async def test_what_was_acknowledged_is_there_after_a_restart(pki):
    async with running(pki) as (url, _), client(pki, "admin") as admin:
        target = url + CONFIGMAPS
        async with admin.post(target, json={"metadata": {"name": "a"}}) as answer:
            assert answer.status == 201
            made = await answer.json()
    async with running(pki) as (url, _), client(pki, "admin") as admin, admin.get(f"{url}{CONFIGMAPS}/a") as answer:
        assert await answer.json() == made


async def test_stopping_ends_watches_and_lets_requests_finish(pki):
    async with client(pki, "admin") as admin, running(pki) as (url, stop):
        target = url + CONFIGMAPS
        async with admin.get(f"{target}?watch=true") as watch:
            assert watch.status == 200
            async with admin.post(url + CONFIGMAPS, json={"metadata": {"name": "a"}}) as answer:
                assert answer.status == 201
            assert b'"type":"ADDED"' in await watch.content.readline()
            stop.set()
            async with asyncio.timeout(60):
                assert await watch.content.read() == b""


async def test_a_port_in_use_is_one_clear_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = Options(data_dir=tmp_path, listen_port=taken.getsockname()[1])
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*another server"):
            await run(options, asyncio.Event())


def test_the_server_imports_only_what_it_uses():
    """Memory and start-up time: no gRPC, NumPy, schema sources or terminal libraries in this process."""
    code = (
        "import sys, shirube.apiserver.main\n"
        "print(*sorted({m.partition('.')[0] for m in sys.modules} & set(sys.argv[1:])))"
    )
    unwanted = [
        "grpc",
        "numpy",
        "rich",
        "kubernetes_validate",
        "prometheus_client",
        "pyroute2",
        "dns",
        "re2",
        "aiohttp",
    ]
    done = subprocess.run([sys.executable, "-c", code, *unwanted], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
