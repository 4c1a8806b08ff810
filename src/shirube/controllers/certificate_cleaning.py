"""Certificate requests do not pile up: those that were issued, denied or have failed go after an hour, undecided and
unsigned ones after a day, and those whose certificate has expired at once."""

from __future__ import annotations

import base64

from cryptography import x509

from shirube.api.errors import ApiError
from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.controllers.context import Context
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "certificate-controller"
_DECIDED_SECONDS, _PENDING_SECONDS = 3600.0, 24 * 3600.0


def keep_until(csr: Object) -> float | None:
    """When a request has to go, in seconds since the epoch; None for one that waits for somebody's own conditions."""
    held = requests.conditions(csr)
    certificate = (csr.get("status") or {}).get("certificate")
    deadlines = []
    if not held or ("Approved" in held and not certificate):  # nobody has decided, or nobody has signed
        deadlines.append(parse_rfc3339(csr["metadata"]["creationTimestamp"]) + _PENDING_SECONDS)
    for kind in ("Approved", "Denied", "Failed"):
        at = held.get(kind, {}).get("lastUpdateTime")
        if at and (certificate or kind != "Approved"):
            deadlines.append(parse_rfc3339(at) + _DECIDED_SECONDS)
    if certificate and "Approved" in held and (ends := _ends(certificate)) is not None:
        deadlines.append(ends)
    return min(deadlines, default=None)


def _ends(certificate: str) -> float | None:
    """When it is no longer valid. None for another signer's idea of a certificate: its approval's hour counts."""
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(certificate)).not_valid_after_utc.timestamp()
    except ValueError:
        return None


class CertificateCleaningController(Controller[str]):
    name = "certificatesigningrequest-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._requests = context.informer(CERTIFICATESIGNINGREQUESTS)
        super().__init__(self._requests)
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._requests.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, csr: Object) -> None:
        self.queue.add(key_of(csr))

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.store.get(None, key)
        if csr is None:
            return None
        until = keep_until(csr)
        if until is None:
            return None
        left = until - self._clock.now()
        if left > 0:
            return left
        try:
            uid = csr["metadata"]["uid"]
            await self._client.delete(CERTIFICATESIGNINGREQUESTS, key, preconditions={"uid": uid})
        except ApiError as error:
            if error.code not in (404, 409):  # another of its name is there
                raise
        return None
