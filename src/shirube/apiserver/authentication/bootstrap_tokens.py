"""Bootstrap tokens: `abcdef.0123456789abcdef`, kept as secrets `bootstrap-token-abcdef` in kube-system.

A machine that joins shows one to be allowed to ask for its certificate. See "Authenticating with Bootstrap
Tokens" in the upstream documentation.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING, Any

from shirube.api.gvr import SECRETS
from shirube.apiserver.user import ALL_AUTHENTICATED, User
from shirube.foundation.clock import Clock, parse_rfc3339

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_TYPE = "bootstrap.kubernetes.io/token"
_GROUPS = "system:bootstrappers"


def looks_like(token: str) -> bool:
    return _TOKEN.fullmatch(token) is not None


def user(token: str, reader: Reader, clock: Clock) -> User | None:
    """The user that the token stands for; None when there is no such token or it is not for this."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    secret = reader.get(SECRETS, "kube-system", f"bootstrap-token-{match[1]}")
    if secret is None or secret.get("type") != _TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    if not hmac.compare_digest(_value(secret, "token-secret"), match[2]):
        return None
    if _value(secret, "token-id") != match[1] or _value(secret, "usage-bootstrap-authentication") != "true":
        return None
    if expired(secret, clock):
        return None
    groups = [g for g in _value(secret, "auth-extra-groups").split(",") if g]
    if not all(_GROUP.fullmatch(g) for g in groups):
        return None
    everybody = dict.fromkeys([*groups, _GROUPS, ALL_AUTHENTICATED])
    return User(f"system:bootstrap:{match[1]}", "", tuple(everybody))


def expired(secret: dict[str, Any], clock: Clock) -> bool:
    """Without an expiration it never does; one that cannot be read has passed."""
    text = _value(secret, "expiration")
    if not text:
        return False
    try:
        return parse_rfc3339(text) <= clock.now()
    except ValueError:
        return True


def _value(secret: dict[str, Any], key: str) -> str:
    raw = (secret.get("data") or {}).get(key, "")
    try:
        return base64.b64decode(raw).decode()
    except ValueError:
        return ""
