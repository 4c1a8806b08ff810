"""Who asks: a client certificate, a bearer token, or nobody.

`Authenticator.authenticate` tries, as upstream does, the certificate that TLS verified, then the bearer token
(`Authorization`, or a WebSocket protocol for browsers), then falls back to `system:anonymous`. Credentials that
are shown and wrong are 401, never anonymous. `impersonation.impersonate` is the step after it.

Modules: `certificates`, `request_header` (users that a front proxy vouches for), `service_account_tokens` (with
`jwt`, `legacy_tokens`), `bootstrap_tokens`, `oidc` (with `configuration`, `claims`, `key_sets`), `impersonation`,
`discovery` (the documents with which others verify our tokens).
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shirube.api import errors
from shirube.apiserver.authentication import bootstrap_tokens
from shirube.apiserver.authentication.certificates import Certificates
from shirube.apiserver.authentication.jwt import InvalidToken, SigningKey, unb64url, unverified_claims
from shirube.apiserver.authentication.request_header import RequestHeader
from shirube.apiserver.authentication.service_account_tokens import ServiceAccountTokens
from shirube.apiserver.user import ALL_UNAUTHENTICATED, ANONYMOUS, User
from shirube.foundation import log
from shirube.foundation.clock import Clock
from shirube.serving.messages import Headers, Peer

if TYPE_CHECKING:
    from shirube.apiserver.authentication.configuration import Configuration
    from shirube.apiserver.authentication.legacy_tokens import Remarks
    from shirube.apiserver.authentication.oidc import Issuer
    from shirube.apiserver.context import ServerContext
    from shirube.apiserver.reader import Reader

_logger = log.get("authentication")
NOBODY = User(ANONYMOUS, groups=(ALL_UNAUTHENTICATED,))
_WEBSOCKET_BEARER = "base64url.bearer.authorization.k8s.io."


class Authenticator:
    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        *,
        tokens: ServiceAccountTokens | None = None,
        audiences: Sequence[str] = (),
        anonymous: bool = True,
        request_header: RequestHeader | None = None,
    ) -> None:
        """`audiences` are those that a token must carry to be used here; `tokens` None: none are believed."""
        self._reader = reader
        self._clock = clock
        self.tokens = tokens
        self.audiences = tuple(audiences)
        self._anonymous = anonymous
        self._configuration: Configuration | None = None
        self._issuers: dict[str, Issuer] = {}
        self._certificates = Certificates(clock)
        self._request_header = request_header

    @classmethod
    def of(cls, server: ServerContext) -> Authenticator:
        """As the server's options ask. Raises ValueError when the key cannot be used."""
        options = server.options
        tokens = None
        if options.service_account_key is not None:
            key = SigningKey.load(options.service_account_key)
            tokens = ServiceAccountTokens(key, options.issuer, server.reader, server.clock, server.chance)
        return cls(
            server.reader,
            server.clock,
            tokens=tokens,
            audiences=options.api_audiences or (options.issuer,),
            anonymous=options.anonymous,
            request_header=RequestHeader(options.front_proxy_ca, server.clock) if options.front_proxy_ca else None,
        )

    def configure(self, data: bytes) -> None:
        """Follow an AuthenticationConfiguration from now on. Raises ConfigurationError, and changes nothing then."""
        from shirube.apiserver.authentication import configuration

        disallowed = (self.tokens.issuer,) if self.tokens is not None else ()
        self._configuration = configuration.read(data, self._clock, disallowed)
        self._issuers = {issuer.url: issuer for issuer in self._configuration.issuers}

    async def authenticate(self, headers: Headers, peer: Peer, remarks: Remarks | None = None) -> User:
        """The user of a request; `remarks` hears what else is to be said of it. Raises ApiError 401."""
        if peer.certificate is not None:
            proxy = self._request_header
            if proxy is not None and proxy.signed(peer.certificate):
                user = proxy.user(peer.certificate, headers)
            else:
                user = self._certificates.user(peer.certificate)
            if user is not None:
                return user
        token = bearer_token(headers)
        if token:
            found = await self.review(token, self.audiences, remarks)
            if found is not None:
                return found[0]
            raise errors.unauthorized()
        if peer.certificate is not None or not self._lets_in_anybody:
            raise errors.unauthorized()
        return NOBODY

    @property
    def _lets_in_anybody(self) -> bool:
        configured = self._configuration.anonymous if self._configuration is not None else None
        return self._anonymous if configured is None else configured.enabled

    def check_anonymous(self, path: str) -> None:
        """Anonymous requests may be limited to some paths. Raises ApiError 401."""
        configured = self._configuration.anonymous if self._configuration is not None else None
        if configured is not None and configured.paths is not None and path not in configured.paths:
            raise errors.unauthorized()

    async def review(
        self, token: str, audiences: Sequence[str], remarks: Remarks | None = None
    ) -> tuple[User, tuple[str, ...]] | None:
        """(user, those of `audiences` that the token is good for), as TokenReview answers; None if for none."""
        carried: Sequence[str] = ()
        user: User | None
        if bootstrap_tokens.looks_like(token):
            user = bootstrap_tokens.user(token, self._reader, self._clock)
        elif self.tokens is None or not self.tokens.claims_to_be_ours(token):
            user = await self._issued_elsewhere(token) if self._issuers else None
        else:
            try:
                user, carried = self.tokens.verify(token, remarks)
            except InvalidToken as error:
                _logger.debug("refused a token", reason=str(error))
                return None
        if user is None:
            return None
        # A token that names no audiences (an old one, or none of ours) is for the API server and nobody else.
        meant = carried or self.audiences
        if audiences is meant and audiences:
            return user, self.audiences
        good = tuple([a for a in audiences if a in meant])
        return (user, good) if good else None

    async def _issued_elsewhere(self, token: str) -> User | None:
        """Whose token of an OIDC issuer this is."""
        try:
            issuer = self._issuers.get(str(unverified_claims(token).get("iss")))
            return await issuer.user(token) if issuer is not None else None
        except InvalidToken as error:
            _logger.debug("refused a token", reason=str(error))
            return None


def bearer_token(headers: Headers) -> str:
    """The token that a request shows; "" when it shows none."""
    authorization = headers.get("authorization")
    if authorization:
        scheme, _, token = authorization.strip().partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    protocols = headers.get("sec-websocket-protocol")
    if protocols and _WEBSOCKET_BEARER in protocols:
        for protocol in protocols.split(","):
            protocol = protocol.strip()
            if protocol.startswith(_WEBSOCKET_BEARER):
                try:
                    return unb64url(protocol.removeprefix(_WEBSOCKET_BEARER)).decode()
                except (InvalidToken, UnicodeDecodeError, binascii.Error):
                    return ""
    return ""
