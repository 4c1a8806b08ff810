"""Certificates renewed by requests that the cluster's own signer takes."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake_api import FakeApi

from shirube.controllers import certificate_request as signing
from shirube.foundation.clock import SYSTEM
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.certificate_rotation import CLIENT_SIGNER, SERVING_SIGNER, CertificateRotation, Wanted

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests/"


def authority():
    key = ec.generate_private_key(ec.SECP256R1())
    return certificate("ca", key, "ca", key, timedelta(days=1000), organization=None), key


def certificate(name, key, issuer, signer, life, organization="system:nodes", begun=timedelta(0)):
    def named(common, organization):
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
        return x509.Name(
            ([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []) + parts
        )

    now = datetime.fromtimestamp(int(SYSTEM.now()), UTC)
    builder = x509.CertificateBuilder().subject_name(named(name, organization)).issuer_name(named(issuer, None))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - begun).not_valid_after(now - begun + life).sign(signer, hashes.SHA256())


def pem(made):
    return made.public_bytes(serialization.Encoding.PEM)


class Signed:
    """An API whose requests are checked and signed by the rules of the cluster's signers."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.ca, self.key = authority()
        self.used = asyncio.Event()

    async def sign_one(self) -> None:
        async with asyncio.timeout(60):
            while not (
                found := [p for p, o in self.api.objects.items() if p.startswith(REQUESTS) and "status" not in o]
            ):
                await asyncio.sleep(0.005)
        csr = self.api.objects[found[0]]
        asked = signing.read(csr)
        signing.check(csr, asked)
        chain = signing.sign(csr, asked, self.ca, self.key, SYSTEM.now(), 3600)
        status = {
            "certificate": base64.b64encode(chain).decode(),
            "conditions": [{"type": "Approved", "status": "True"}],
        }
        self.api.put(found[0], {**csr, "status": status})

    async def told(self) -> None:
        self.used.set()

    def rotation(self, tmp_path, signer=CLIENT_SIGNER, **more):
        wanted = Wanted("n", signer, **more)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return CertificateRotation(
            self.api.client(), SYSTEM, wanted, tmp_path / "pki/current.pem", [self.context], self.told
        )

    def old(self, life=timedelta(hours=1), begun=timedelta(minutes=59)):
        key = ec.generate_private_key(ec.SECP256R1())
        return pem(certificate("system:node:n", key, "ca", self.key, life, begun=begun))


@pytest.mark.parametrize(
    ("signer", "more"),
    [(CLIENT_SIGNER, {}), (SERVING_SIGNER, {"names": ("n",), "addresses": ("172.30.0.2", "fd00::2")})],
)
async def test_an_old_certificate_is_renewed_and_kept(tmp_path, signer, more):
    it = Signed()
    task = spawn(it.rotation(tmp_path, signer, **more).run(it.old()), name="rotation")
    try:
        await it.sign_one()
        async with asyncio.timeout(60):
            await it.used.wait()
    finally:
        await cancel(task)
    file = tmp_path / "pki/current.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    kept = x509.load_pem_x509_certificate(file.read_bytes())
    assert kept.subject.rfc4514_string() == "CN=system:node:n,O=system:nodes"
    kept.verify_directly_issued_by(it.ca)
    # The next agent takes it at once, and asks for nothing.
    again = Signed()
    again.key = it.key
    task = spawn(again.rotation(tmp_path, signer, **more).run(it.old()), name="rotation")
    try:
        async with asyncio.timeout(60):
            await again.used.wait()
    finally:
        await cancel(task)
    assert not [p for p in again.api.objects if p.startswith(REQUESTS)]


async def test_a_young_certificate_is_left_alone(tmp_path):
    it = Signed()
    task = spawn(it.rotation(tmp_path).run(it.old(timedelta(days=365), timedelta(days=100))), name="rotation")
    for _ in range(20):
        await asyncio.sleep(0)
    await cancel(task)
    assert it.api.requests == [] and not it.used.is_set()


async def test_a_denied_request_changes_nothing(tmp_path):
    it = Signed()
    task = spawn(it.rotation(tmp_path).run(it.old()), name="rotation")
    try:
        async with asyncio.timeout(60):
            while not (found := [p for p in it.api.objects if p.startswith(REQUESTS)]):
                await asyncio.sleep(0.005)
            denied = {"conditions": [{"type": "Denied", "status": "True", "message": "no"}]}
            it.api.put(found[0], {**it.api.objects[found[0]], "status": denied})
            while it.api.requests.count(("GET", found[0])) < 2:
                await asyncio.sleep(0.005)
    finally:
        await cancel(task)
    assert not (tmp_path / "pki").exists() and not it.used.is_set()
