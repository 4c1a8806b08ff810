"""Approved requests to the four built-in signers get their certificate, or a `Failed` condition that says why
not. All four sign with the cluster's CA; nothing is promised of `legacy-unknown` but that it is signed. A CA that is
replaced on disk is used from then on."""

from __future__ import annotations

import base64

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.controllers.context import Context
from shirube.foundation.clock import rfc3339

_ACCOUNT = "certificate-controller"
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def to_sign(csr: Object) -> bool:
    held = requests.conditions(csr)
    if (csr.get("status") or {}).get("certificate") or "Failed" in held or "Denied" in held:
        return False
    return "Approved" in held and csr["spec"]["signerName"] in requests.SIGNERS


class CertificateSigningController(Controller[str]):
    name = "certificatesigningrequest-signing-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        if context.signing_cert is None or context.signing_key is None:
            raise ValueError("cannot sign certificates: no signing_cert and signing_key files are set")
        self._files = context.signing_cert, context.signing_key
        self._authority: tuple[x509.Certificate, _Key] | None = None
        self._read: tuple[tuple[int, int], ...] = ()  # how the files were when they were read
        self._requests = context.informer(CERTIFICATESIGNINGREQUESTS)
        super().__init__(self._requests)
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._requests.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, csr: Object) -> None:
        if to_sign(csr):
            self.queue.add(key_of(csr))

    def _load(self) -> tuple[x509.Certificate, _Key]:
        """Raises OSError, ValueError."""
        stamps = tuple((stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in self._files))
        if self._authority is None or stamps != self._read:
            cert, key = (path.read_bytes() for path in self._files)
            private = serialization.load_pem_private_key(key, None)
            if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
                raise ValueError(f"cannot sign certificates: {self._files[1]} holds neither an EC nor an RSA key")
            ca = x509.load_pem_x509_certificate(cert)
            if ca.public_key() != private.public_key():
                raise ValueError(f"cannot sign certificates: {self._files[1]} is not the key of {self._files[0]}")
            self._authority, self._read = (ca, private), stamps
        return self._authority

    async def reconcile(self, key: str) -> None:
        csr = self._requests.store.get(None, key)
        if csr is None or not to_sign(csr):
            return
        now = self._clock.now()
        status = dict(csr.get("status") or {})
        try:
            asked = requests.read(csr)
            requests.check(csr, asked)
        except requests.Refused as error:
            stamp = rfc3339(now)
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
                "lastUpdateTime": stamp,
                "lastTransitionTime": stamp,
            }
            status["conditions"] = [*(status.get("conditions") or ()), failed]
        else:
            ca, private = self._load()
            pem = requests.sign(csr, asked, ca, private, now, requests.LONGEST_SECONDS)
            status["certificate"] = base64.b64encode(pem).decode()
        await self._client.update_status(CERTIFICATESIGNINGREQUESTS, {**csr, "status": status})
