"""JSON Web Tokens, as far as service-account tokens need them: ES256, compact form, nothing else.

`alg` is checked against the key, never the other way round, so a token cannot choose how it is verified.
(PyJWT would do; its import costs 80 ms and 4 MB, a tenth of the API server's time to start.)
RFC 7515 (JWS), RFC 7518 section 3.4 (ES256), RFC 7517 (JWK).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

_ES256 = ec.ECDSA(hashes.SHA256())
MAX_TOKEN = 16 * 1024


class InvalidToken(Exception):
    """A token that is malformed, not ours, or not valid now; the message says which."""


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    try:
        # validate: "urlsafe_b64decode" passes over characters that are not of the alphabet
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidToken("token is not base64url") from error


class SigningKey:
    """A P-256 key with the id that upstream gives it: the digest of its public half."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = VerifyingKey(private.public_key())

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"cannot read service-account key {path}: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError(f"cannot use service-account key {path}: it is not a P-256 private key")
        return cls(key)

    def sign(self, claims: dict[str, Any]) -> str:
        header = orjson.dumps({"alg": "ES256", "kid": self.public.kid})
        body = f"{b64url(header)}.{b64url(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._private.sign(body.encode(), _ES256))
        return f"{body}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class VerifyingKey:
    def __init__(self, public: ec.EllipticCurvePublicKey) -> None:
        self._public = public
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.kid = b64url(hashlib.sha256(der).digest())

    def jwk(self) -> dict[str, str]:
        numbers = self._public.public_numbers()
        return {
            "use": "sig",
            "kty": "EC",
            "kid": self.kid,
            "crv": "P-256",
            "alg": "ES256",
            "x": b64url(numbers.x.to_bytes(32, "big")),
            "y": b64url(numbers.y.to_bytes(32, "big")),
        }

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that this key signed; says nothing about issuer, audience or time."""
        head, claims, signature = split(token)
        if head.get("alg") != "ES256" or head.get("kid") not in (None, self.kid):
            raise InvalidToken("token is signed with another key")
        raw = unb64url(signature)
        if len(raw) != 64:
            raise InvalidToken("token has a bad signature")
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        try:
            self._public.verify(der, token[: token.rindex(".")].encode(), _ES256)
        except InvalidSignature as error:
            raise InvalidToken("token has a bad signature") from error
        return _object(claims)


def split(token: str) -> tuple[dict[str, Any], str, str]:
    """(header, encoded claims, encoded signature)."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN:
        raise InvalidToken("token is not a JWT")
    return _object(parts[0]), parts[1], parts[2]


def unverified_claims(token: str) -> dict[str, Any]:
    """For deciding whose token it is; never for believing it."""
    return _object(split(token)[1])


def _object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(unb64url(part))
    except orjson.JSONDecodeError as error:
        raise InvalidToken("token is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidToken("token is not a JSON object")
    return value
