"""ServiceAccount issuer discovery: two documents that let anybody with HTTP verify our tokens.

See "ServiceAccount issuer discovery" in the upstream documentation (KEP-1393) and OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

CONFIGURATION_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
JWKS_CONTENT_TYPE = "application/jwk-set+json"


def openid_configuration(issuer: str, jwks_uri: str) -> bytes:
    """The body of `/.well-known/openid-configuration`; `jwks_uri` must be reachable from pods."""
    document: dict[str, Any] = {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    return orjson.dumps(document)


def jwks(keys: Sequence[dict[str, str]]) -> bytes:
    """The body of `/openid/v1/jwks`; `keys` are JWKs (`ServiceAccountTokens.keys`)."""
    return orjson.dumps({"keys": list(keys)})
