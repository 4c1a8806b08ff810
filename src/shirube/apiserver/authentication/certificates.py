"""Client certificates to users: the common name is the user, organisations are groups.

The TLS layer has verified the chain against the client CA when it hands a certificate over. Parsed
certificates are kept (bounded); only their end is checked for each request, because a connection may outlive it.
See "X509 client certificates" in the upstream documentation.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from shirube.apiserver.user import ALL_AUTHENTICATED, User
from shirube.foundation.clock import Clock

CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_CACHED = 1024


class _Known(NamedTuple):
    user: User | None
    not_before: float
    not_after: float


class Certificates:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def user(self, der: bytes) -> User | None:
        """The user of a verified certificate; None when it names nobody or is not valid now."""
        known = self._known.get(der)
        if known is None:
            known = self._known[der] = _read(der)
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        if not known.not_before <= self._clock.now() <= known.not_after:
            return None
        return known.user


def _read(der: bytes) -> _Known:
    try:
        cert = x509.load_der_x509_certificate(der)
        names = [str(a.value) for a in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [str(a.value) for a in cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        start, end = cert.not_valid_before_utc.timestamp(), cert.not_valid_after_utc.timestamp()
    except ValueError:
        return _Known(None, 0, 0)
    if not names or not names[0]:
        return _Known(None, start, end)
    fingerprint = "X509SHA256=" + hashlib.sha256(der).hexdigest()
    everybody = () if ALL_AUTHENTICATED in groups else (ALL_AUTHENTICATED,)
    user = User(names[0], "", (*groups, *everybody), {CREDENTIAL_ID: (fingerprint,)})
    return _Known(user, start, end)
