"""An OIDC issuer on a loopback socket behind TLS, with keys of several kinds."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from shirube.serving import tls
from shirube.serving.http import Server
from shirube.serving.messages import Request, Response

AUDIENCE = "kubernetes"
Json = dict[str, Any]


def number(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Key:
    kid: str
    algorithm: str
    private: Any

    def public(self) -> Json:
        shown: Json = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        numbers = self.private.public_key().public_numbers()
        if isinstance(self.private, rsa.RSAPrivateKey):
            return {**shown, "kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        curve = {"secp256r1": "P-256", "secp384r1": "P-384"}[self.private.curve.name]
        return {**shown, "kty": "EC", "crv": curve, "x": number(numbers.x), "y": number(numbers.y)}


@dataclass
class Oidc:
    """What the issuer says can be changed by the test."""

    authority: str
    port: int = 0
    path: str = ""
    keys: list[Key] = field(default_factory=list)
    heard: list[Request] = field(default_factory=list)
    documents: dict[str, Response] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}{self.path}"

    async def handle(self, request: Request) -> Response:
        self.heard.append(request)
        if request.path in self.documents:
            return self.documents[request.path]
        if request.path == self.path + "/.well-known/openid-configuration":
            return Response(200, orjson.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}))
        if request.path == self.path + "/keys":
            return Response(200, orjson.dumps({"keys": [key.public() for key in self.keys]}))
        return Response(404, b"not here")

    def fetched(self, path: str) -> int:
        return sum(request.path == path for request in self.heard)

    def token(self, now: float, key: int | Key = 0, **claims: Any) -> str:
        used = self.keys[key] if isinstance(key, int) else key
        whole = {"iss": self.url, "aud": AUDIENCE, "sub": "jane", "exp": int(now) + 600, **claims}
        return jwt.encode(
            {k: v for k, v in whole.items() if v is not None},
            used.private,
            algorithm=used.algorithm,
            headers={"kid": used.kid} if used.kid else None,
        )

    def configuration(self, **more: Any) -> Json:
        """One entry of `jwt`: user from `sub`, groups from `groups`."""
        return {
            "issuer": {
                "url": self.url,
                "audiences": [AUDIENCE],
                "certificateAuthority": self.authority,
                **more.pop("issuer", {}),
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": "oidc:"},
                "groups": {"claim": "groups", "prefix": ""},
                **more.pop("claimMappings", {}),
            },
            **more,
        }


def certificate(directory: Path) -> tuple[Path, Path, str]:
    """(certificate, key, the authority as PEM): self-signed for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)
        .sign(key, hashes.SHA256())
    )
    cert, private = directory / "issuer.crt", directory / "issuer.key"
    pem = made.public_bytes(serialization.Encoding.PEM)
    cert.write_bytes(pem)
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return cert, private, pem.decode()


@pytest.fixture(scope="session")
def signing_keys() -> list[Key]:
    """RSA is slow to make: once for all tests."""
    return [
        Key("rsa", "RS256", rsa.generate_private_key(65537, 2048)),
        Key("ec", "ES256", ec.generate_private_key(ec.SECP256R1())),
        Key("ec384", "ES384", ec.generate_private_key(ec.SECP384R1())),
        Key("spare", "RS256", rsa.generate_private_key(65537, 2048)),
    ]


async def serve(oidc: Oidc, cert: Path, key: Path) -> Server:
    sock = socket.create_server(("127.0.0.1", 0))
    oidc.port = sock.getsockname()[1]
    server = Server(oidc.handle, tls=tls.server_context(cert, key))
    await server.start([sock])
    return server


@pytest.fixture
async def issuer(tmp_path, signing_keys):
    cert, key, authority = certificate(tmp_path)
    oidc = Oidc(authority, keys=signing_keys[:3])
    server = await serve(oidc, cert, key)
    async with asyncio.timeout(60):
        yield oidc
    await server.drain(0)
