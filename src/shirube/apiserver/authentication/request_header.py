"""Users vouched for by a front proxy: `X-Remote-User` and its companions, believed only with its certificate.

The certificate must be signed by the front-proxy CA and bear an allowed name; a certificate of that CA is never a
user's own. This is how API servers that aggregate one another, and authenticating proxies, say who asks.
See "Authenticating Proxy" in the upstream documentation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from shirube.apiserver.user import ALL_AUTHENTICATED, User
from shirube.foundation.clock import Clock
from shirube.serving.messages import Headers

ALLOWED = ("front-proxy-client",)
EXTRA = "x-remote-extra-"
_CACHED = 64


class RequestHeader:
    def __init__(self, authority: Path, clock: Clock, allowed: Collection[str] = ALLOWED) -> None:
        """`authority`: PEM of the front-proxy CA. Raises OSError, ValueError."""
        self._authorities = x509.load_pem_x509_certificates(authority.read_bytes())
        self._clock = clock
        self._allowed = allowed
        self._known: OrderedDict[bytes, tuple[bool, x509.Certificate | None]] = OrderedDict()

    def signed(self, der: bytes) -> bool:
        """Whether the front-proxy CA signed this certificate: then it is no user's own."""
        return self._read(der)[0]

    def user(self, der: bytes, headers: Headers) -> User | None:
        """Who is asking through the proxy; None when it does not say, or is not one that may."""
        signed, cert = self._read(der)
        if not signed or cert is None:
            return None
        now = self._clock.now()
        if not cert.not_valid_before_utc.timestamp() <= now <= cert.not_valid_after_utc.timestamp():
            return None
        names = [str(a.value) for a in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if not names or names[0] not in self._allowed:
            return None
        name = headers.get("x-remote-user")
        if not name:
            return None
        groups = tuple(headers.get_all("x-remote-group"))
        if ALL_AUTHENTICATED not in groups:
            groups += (ALL_AUTHENTICATED,)
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in headers.items():
            if header.startswith(EXTRA):
                key = unquote(header.removeprefix(EXTRA)).lower()
                extra[key] = (*extra.get(key, ()), value)
        return User(name, headers.get("x-remote-uid") or "", groups, extra)

    def _read(self, der: bytes) -> tuple[bool, x509.Certificate | None]:
        known = self._known.get(der)
        if known is None:
            known = self._known[der] = self._judged(der)
            if len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return known

    def _judged(self, der: bytes) -> tuple[bool, x509.Certificate | None]:
        try:
            cert = x509.load_der_x509_certificate(der)
        except ValueError:
            return False, None
        for authority in self._authorities:
            try:
                cert.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return True, cert
        return False, cert
