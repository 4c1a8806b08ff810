"""The agent's certificates, renewed by CertificateSigningRequests while it runs: its client certificate and that of its
server.

When 70 to 90 % of a certificate's life is over (which, is chance: nodes made together do not ask together) a new key
is made and a request for it created; once it is signed, key and certificate are written to one file below ROOT/pki
in one step and taken into the TLS contexts in use, so that every new connection has them. What is written is found
again after a restart. Requests for client certificates are approved by the cluster; those for serving certificates
wait for `kubectl certificate approve`, as upstream leaves them. Until then the old certificate serves.
Follows https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#certificate-rotation.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.api.errors import ApiError
from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import Clock

_logger = log.get("kubelet.certificates")
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"
_EARLIEST, _LATEST = 0.7, 0.9  # of a certificate's life
_LOOK_FIRST, _LOOK_MOST = 0.2, 10.0
_SIGNING_SECONDS = 900.0
_RETRY_FIRST, _RETRY_MOST = 10.0, 3600.0
_LONGEST_SLEEP = 3600.0


class RotationError(Exception):
    """No new certificate this time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    node: str
    signer: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()

    @property
    def usages(self) -> list[str]:
        # A key on an elliptic curve enciphers no keys.
        return ["digital signature", "server auth" if self.signer == SERVING_SIGNER else "client auth"]


class CertificateRotation:
    """One certificate of the agent."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        wanted: Wanted,
        file: Path,
        contexts: list[ssl.SSLContext],
        used: Callable[[], Awaitable[None]],
        chance: Chance | None = None,
    ) -> None:
        """`contexts` get each new certificate; `used` is awaited after that."""
        self._client, self._clock, self._wanted = client, clock, wanted
        self._file, self._contexts, self._used = file, contexts, used
        self._chance = chance or Chance()

    async def run(self, given: bytes) -> None:
        """Until cancelled. `given` is the certificate (PEM) that the agent was started with."""
        current = await self._start(x509.load_pem_x509_certificate(given))
        pause = _RETRY_FIRST
        due = self._due(current)
        while True:
            left = due - self._clock.now()
            if left > 0:
                # In steps: a machine that slept must not sleep on.
                await asyncio.sleep(min(left, _LONGEST_SLEEP))
                continue
            try:
                current = await self._renew()
            except (RotationError, ApiError) as error:
                _logger.warning(
                    "cannot renew a certificate, trying again", signer=self._wanted.signer, error=str(error)
                )
                await asyncio.sleep(self._chance.jitter(pause))
                pause = min(pause * 2, _RETRY_MOST)
                continue
            pause, due = _RETRY_FIRST, self._due(current)

    def _due(self, certificate: x509.Certificate) -> float:
        begins = certificate.not_valid_before_utc.timestamp()
        life = certificate.not_valid_after_utc.timestamp() - begins
        return begins + life * self._chance.uniform(_EARLIEST, _LATEST)

    async def _start(self, given: x509.Certificate) -> x509.Certificate:
        """What an earlier agent got, if that is better than what this one was given."""
        try:
            kept = x509.load_pem_x509_certificate(self._file.read_bytes())
        except (OSError, ValueError):
            return given
        if kept.not_valid_after_utc <= given.not_valid_after_utc or kept.subject != given.subject:
            return given
        await self._use()
        return kept

    async def _use(self) -> None:
        for context in self._contexts:
            context.load_cert_chain(self._file)
        await self._used()

    async def _renew(self) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"csr-{self._chance.suffix(10)}"
        spec = {
            "request": base64.b64encode(_request(self._wanted, key)).decode(),
            "signerName": self._wanted.signer,
            "usages": self._wanted.usages,
        }
        made = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name}}
        await self._client.create(CERTIFICATESIGNINGREQUESTS, {**made, "spec": spec})
        chain = await self._signed(name)
        certificate = x509.load_pem_x509_certificate(chain)
        if certificate.public_key() != key.public_key():
            raise RotationError(f"the certificate of {name} is for another key")
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        await asyncio.to_thread(_write, self._file, chain + secret)
        await self._use()
        until = f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        _logger.info("renewed a certificate", signer=self._wanted.signer, until=until)
        return certificate

    async def _signed(self, name: str) -> bytes:
        pause, waited = _LOOK_FIRST, 0.0
        while waited < _SIGNING_SECONDS:
            found = (await self._client.get(CERTIFICATESIGNINGREQUESTS, name)).get("status") or {}
            for condition in found.get("conditions") or ():
                if condition["type"] in ("Denied", "Failed"):
                    why = condition.get("message") or condition.get("reason") or ""
                    raise RotationError(f"request {name} is {condition['type'].lower()}: {why}")
            if text := found.get("certificate"):
                return base64.b64decode(text)
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, _LOOK_MOST)
        raise RotationError(
            f"request {name} is not signed after {_SIGNING_SECONDS:.0f} s; approve it: "
            f"kubectl certificate approve {name}"
        )


def _request(wanted: Wanted, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{wanted.node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    alternative: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.names]
    alternative += [x509.IPAddress(ipaddress.ip_address(address)) for address in wanted.addresses]
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _write(file: Path, pem: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, pem)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(new, file)
