"""TLS: versions, client certificates, garbage on a TLS port."""

from __future__ import annotations

import asyncio
import datetime
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.serving import tls
from shirube.serving.http import Connection, Request, Response, Upgrade

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def make(path, name, issuer=None, ca=False):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca, None), True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    cert = builder.sign(issuer_key, hashes.SHA256())
    (path / f"{name}.crt").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (path / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, key


@pytest.fixture
def pki(tmp_path):
    ca = make(tmp_path, "ca", ca=True)
    make(tmp_path, "server", ca)
    make(tmp_path, "client", ca)
    make(tmp_path, "stranger")
    return tmp_path


async def who(request: Request) -> Response:
    der = request.peer.certificate
    name = x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "nobody"
    return Response(200, name.encode())


async def ask(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()


async def test_client_certificates_are_optional_and_verified(serve, pki):
    running = await serve(who, tls=tls.server_context(pki / "server.crt", pki / "server.key", pki / "ca.crt"))
    without = tls.client_context(pki / "ca.crt")
    assert (await ask(running.port, without)).endswith(b"nobody")
    known = tls.client_context(pki / "ca.crt", pki / "client.crt", pki / "client.key")
    assert (await ask(running.port, known)).endswith(b"CN=client")
    stranger = tls.client_context(pki / "ca.crt", pki / "stranger.crt", pki / "stranger.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        answer = await ask(running.port, stranger)
        raise ConnectionError(answer)  # TLS 1.3 tells the client only when it reads


async def test_a_client_that_goes_is_nothing_to_warn_of(serve, pki, caplog):
    asked, gone = asyncio.Event(), asyncio.Event()

    async def waits(request: Request) -> Response | Upgrade:
        async def idle(connection: Connection) -> None:
            asked.set()
            assert await connection.read() == b""
            gone.set()

        if request.path == "/tunnel":
            return Upgrade([("Connection", "Upgrade"), ("Upgrade", "echo")], idle)
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    running = await serve(waits, tls=tls.server_context(pki / "server.crt", pki / "server.key"))
    context = tls.client_context(pki / "ca.crt")
    for path, more in (("/tunnel", b"Connection: Upgrade\r\nUpgrade: echo\r\n"), ("/slow", b"")):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=context, server_hostname="localhost")
        writer.write(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
        await asyncio.wait_for(asked.wait(), 20)
        writer.close()
        await asyncio.wait_for(gone.wait(), 20)
        asked.clear()
        gone.clear()
    assert "eof_received" not in caplog.text


async def test_old_tls_is_refused(serve, pki):
    running = await serve(who, tls=tls.server_context(pki / "server.crt", pki / "server.key"))
    context = tls.client_context(pki / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await ask(running.port, context)).endswith(b"nobody")


async def test_plain_http_to_a_tls_port_harms_nobody(serve, pki):
    running = await serve(who, tls=tls.server_context(pki / "server.crt", pki / "server.key"))
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"200" not in await reader.read()
    writer.close()
    assert (await ask(running.port, tls.client_context(pki / "ca.crt"))).endswith(b"nobody")


async def test_an_insecure_client_context_trusts_anyone(serve, pki):
    running = await serve(who, tls=tls.server_context(pki / "stranger.crt", pki / "stranger.key"))
    assert (await ask(running.port, tls.client_context(insecure=True))).endswith(b"nobody")
