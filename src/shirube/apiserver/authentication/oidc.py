"""Tokens of OIDC issuers: the structured JWT authenticators of an AuthenticationConfiguration.

An issuer is asked about the tokens that name it and about no others. A token is believed when one of the issuer's keys
signed it, it is meant for one of the configured audiences, it is valid now, and every rule holds; the mappings then say
whose it is. Verdicts are remembered for ten seconds, as upstream does, and never beyond the token's end.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from shirube.apiserver.authentication import claims as mapping
from shirube.apiserver.authentication.claims import Mappings
from shirube.apiserver.authentication.jwt import InvalidToken
from shirube.apiserver.authentication.key_sets import KeySet
from shirube.apiserver.user import User
from shirube.foundation.clock import Clock

VERDICT_SECONDS = 10.0
LEEWAY = 300.0  # seconds that an issuer's clock may be ahead, as upstream's library allows for `nbf`
_CACHED = 1024


class _Verdict(NamedTuple):
    user: User
    until: float  # monotonic
    ends: float  # of the token


class Issuer:
    def __init__(self, url: str, audiences: tuple[str, ...], mappings: Mappings, keys: KeySet, clock: Clock) -> None:
        self.url = url
        self._audiences = frozenset(audiences)
        self._mappings = mappings
        self._keys = keys
        self._clock = clock
        self._verdicts: OrderedDict[str, _Verdict] = OrderedDict()

    async def user(self, token: str) -> User:
        """Whose token this is. Raises InvalidToken."""
        verdict = self._verdicts.get(token)
        if verdict is not None and self._clock.monotonic() < verdict.until and self._clock.now() < verdict.ends:
            return verdict.user
        claims = await self._keys.verified(token)
        if claims.get("iss") != self.url:
            raise InvalidToken("oidc: token has another issuer")
        self._check_audience(claims)
        ends = self._check_time(claims)
        user = mapping.user_of(self._mappings, claims)
        self._verdicts[token] = _Verdict(user, self._clock.monotonic() + VERDICT_SECONDS, ends)
        if len(self._verdicts) > _CACHED:
            self._verdicts.popitem(last=False)
        return user

    def _check_audience(self, claims: dict[str, Any]) -> None:
        meant = claims.get("aud")
        meant = [meant] if isinstance(meant, str) else meant
        if not isinstance(meant, list) or not self._audiences.intersection(a for a in meant if isinstance(a, str)):
            raise InvalidToken("oidc: expected audience is not among those of the token")

    def _check_time(self, claims: dict[str, Any]) -> float:
        now = self._clock.now()
        ends, begins = claims.get("exp"), claims.get("nbf", now)
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            raise InvalidToken("oidc: token has times that are no numbers")
        if now > ends:
            raise InvalidToken("oidc: token is expired")
        if now + LEEWAY < begins:
            raise InvalidToken("oidc: token is not valid yet")
        return float(ends)
