"""The public keys of an OIDC issuer: found through its discovery document, kept, fetched again for a key id unknown.

Fetches go over TLS with the issuer's own authorities, follow no redirects, carry no credentials, are bounded in
time and size, happen one at a time and at most every `MIN_INTERVAL` seconds: a flood of tokens with invented key ids
does not become one of fetches. Signatures are verified by PyJWT, imported with the first issuer.
OpenID Connect Discovery 1.0, RFC 7517.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from shirube.apiserver.authentication.jwt import InvalidToken, split
from shirube.foundation import log
from shirube.foundation.clock import Clock

if TYPE_CHECKING:
    from jwt import PyJWK

_logger = log.get("authentication")

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
MIN_INTERVAL = 5.0
TIMEOUT = 10.0
MAX_DOCUMENT = 1 << 20
MAX_KEYS = 256
_WELL_KNOWN = "/.well-known/openid-configuration"


class Key(NamedTuple):
    jwk: PyJWK
    algorithm: str | None  # the only one that the issuer uses it with, if it says so


class KeySet:
    def __init__(self, issuer: str, discovery_url: str, context: ssl.SSLContext, clock: Clock) -> None:
        """`discovery_url`: where the discovery document is, if not below the issuer's own URL."""
        self._issuer = issuer
        self._discovery = discovery_url or issuer.rstrip("/") + _WELL_KNOWN
        self._context = context
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._jwks_uri = ""
        self._fetched = -MIN_INTERVAL  # on the monotonic clock
        self._lock = asyncio.Lock()

    async def verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that one of the issuer's keys signed. Raises InvalidToken."""
        head, _, _ = split(token)
        algorithm, kid = head.get("alg"), head.get("kid")
        if algorithm not in ALGORITHMS:
            raise InvalidToken("oidc: token is signed with an algorithm that is not supported")
        if not self._candidates(kid, algorithm):
            await self._refresh()
        for key in self._candidates(kid, algorithm):
            claims = self._claims(token, key, algorithm)
            if claims is not None:
                return claims
        raise InvalidToken("oidc: failed to verify signature: no key of the issuer fits")

    def _candidates(self, kid: Any, algorithm: str) -> list[Key]:
        if isinstance(kid, str) and kid:
            found = [key for key in (self._keys.get(kid),) if key is not None]
        else:
            found = list(self._keys.values())
        return [key for key in found if _fits(key, algorithm)]

    def _claims(self, token: str, key: Key, algorithm: str) -> dict[str, Any] | None:
        import jwt

        try:
            payload = jwt.PyJWS().decode(token, key.jwk.key, algorithms=[algorithm])
            claims = orjson.loads(payload)
        except (jwt.InvalidTokenError, orjson.JSONDecodeError, ValueError, TypeError):
            return None
        return claims if isinstance(claims, dict) else None

    async def _refresh(self) -> None:
        """Fetch the keys, unless that has just been done. Raises InvalidToken when they cannot be had."""
        async with self._lock:
            if self._clock.monotonic() - self._fetched < MIN_INTERVAL:
                return
            self._fetched = self._clock.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT):
                    if not self._jwks_uri:
                        self._jwks_uri = await self._discover()
                    document = await self._document(self._jwks_uri)
            except (OSError, ValueError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                self._jwks_uri = ""
                _logger.error("cannot fetch the keys of an issuer", issuer=self._issuer, error=why)
                raise InvalidToken("oidc: authenticator not initialized") from error
            self._keys = _read_keys(document)
            _logger.info("fetched the keys of an issuer", issuer=self._issuer, keys=len(self._keys))

    async def _discover(self) -> str:
        document = await self._document(self._discovery)
        if document.get("issuer") != self._issuer:
            raise ValueError(f"the discovery document at {self._discovery} is of another issuer")
        uri = document.get("jwks_uri")
        if not isinstance(uri, str) or urlsplit(uri).scheme != "https":
            raise ValueError(f"the discovery document at {self._discovery} has no https jwks_uri")
        return uri

    async def _document(self, url: str) -> dict[str, Any]:
        # Here, because handlers import admission, which imports authentication.
        from shirube.apiserver.subresources import http_stream

        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        answer = await http_stream.exchange(
            host,
            port,
            "GET",
            target,
            [("Host", parts.netloc), ("Accept", "application/json"), ("User-Agent", "kube-apiserver")],
            self._context,
            server_hostname=host,
        )
        data = await http_stream.read_all(answer.body, MAX_DOCUMENT + 1)
        if answer.status != 200:
            raise ValueError(f"{url} answers {answer.status}; redirects are not followed")
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"{url} answers with more than {MAX_DOCUMENT} bytes")
        document = orjson.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"{url} does not answer with a JSON object")
        return document


_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC"}


def _fits(key: Key, algorithm: str) -> bool:
    """A token must not choose to be verified in a way that its key was not made for."""
    return key.jwk.key_type == _FAMILIES[algorithm[:2]] and key.algorithm in (None, algorithm)


def _read_keys(document: dict[str, Any]) -> dict[str, Key]:
    from jwt import PyJWK
    from jwt.exceptions import PyJWKError, PyJWTError

    keys: dict[str, Key] = {}
    listed = document.get("keys")
    for n, raw in enumerate(listed[:MAX_KEYS] if isinstance(listed, list) else ()):
        if not isinstance(raw, dict) or raw.get("use", "sig") != "sig" or raw.get("kty") not in ("RSA", "EC"):
            continue
        try:
            key = Key(PyJWK(raw), raw.get("alg"))
        except (PyJWKError, PyJWTError, ValueError, TypeError):
            continue  # of a kind that is not ours to understand: another may fit
        keys[str(raw.get("kid") or f"#{n}")] = key
    return keys
