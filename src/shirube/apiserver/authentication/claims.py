"""Claims of a verified token to a user: mappings and rules of an AuthenticationConfiguration. Pure.

A mapping is a claim with a prefix, or a CEL expression over `claims`; rules are CEL over `claims` (before) and over
`user` (after). What a rule or mapping cannot evaluate refuses the token. See "Using Authentication Configuration" in
the upstream documentation (KEP-3331).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from shirube.api.cel import CelError, Expression
from shirube.apiserver.authentication.certificates import CREDENTIAL_ID
from shirube.apiserver.authentication.jwt import InvalidToken
from shirube.apiserver.user import ALL_AUTHENTICATED, User

Json = dict[str, Any]


class Source(NamedTuple):
    """Where a value comes from: a claim, prefixed, or an expression."""

    claim: str = ""
    prefix: str = ""
    expression: Expression | None = None

    @property
    def given(self) -> bool:
        return bool(self.claim) or self.expression is not None


class Condition(NamedTuple):
    """A claim that must have a value, or an expression that must be true."""

    expression: Expression | None
    message: str = ""
    claim: str = ""
    required: str = ""


class Mappings(NamedTuple):
    username: Source
    groups: Source
    uid: Source
    extra: Sequence[tuple[str, Expression]]
    claim_rules: Sequence[Condition]
    user_rules: Sequence[Condition]


def user_of(mappings: Mappings, claims: Json) -> User:
    """Raises InvalidToken: what is wrong, without the token's contents."""
    variables = {"claims": claims}
    for rule in mappings.claim_rules:
        _check(rule, variables, claims)
    name = _username(mappings.username, claims, variables)
    groups = _groups(mappings.groups, claims, variables)
    uid = _text(mappings.uid, claims, variables, "uid") if mappings.uid.given else ""
    extra: dict[str, tuple[str, ...]] = {}
    for key, expression in mappings.extra:
        if values := _strings(_value(expression, variables, f"extra {key!r}"), f"extra {key!r}"):
            extra[key] = tuple(value for value in values if value)
    if isinstance(jti := claims.get("jti"), str) and jti:
        extra[CREDENTIAL_ID] = (f"JTI={jti}",)
    shown = {"username": name, "uid": uid, "groups": groups, "extra": {k: list(v) for k, v in extra.items()}}
    for rule in mappings.user_rules:
        _check(rule, {"user": shown}, shown)
    everybody = () if ALL_AUTHENTICATED in groups else (ALL_AUTHENTICATED,)
    return User(name, uid, (*groups, *everybody), extra)


def _check(rule: Condition, variables: Mapping[str, Any], claims: Json) -> None:
    if rule.expression is None:
        if claims.get(rule.claim) != rule.required:
            raise InvalidToken(f"oidc: claim {rule.claim!r} does not have the required value")
        return
    value = _value(rule.expression, variables, "validation")
    if value is not True:
        why = rule.message or f"validation expression '{rule.expression.text}' failed"
        raise InvalidToken(f"oidc: {why}")


def _username(source: Source, claims: Json, variables: Mapping[str, Any]) -> str:
    # An address that its provider does not vouch for could be anybody's.
    if source.claim == "email" and claims.get("email_verified", True) is not True:
        raise InvalidToken("oidc: email not verified")
    name = _text(source, claims, variables, "username")
    if not name:
        raise InvalidToken("oidc: username claim value is empty")
    return name


def _text(source: Source, claims: Json, variables: Mapping[str, Any], what: str) -> str:
    if source.expression is not None:
        value = _value(source.expression, variables, what)
    else:
        if source.claim not in claims:
            raise InvalidToken(f"oidc: parse {what} claims {source.claim!r}: claim not present")
        value = claims[source.claim]
    if not isinstance(value, str):
        raise InvalidToken(f"oidc: {what} is not a string")
    return source.prefix + value if value else ""


def _groups(source: Source, claims: Json, variables: Mapping[str, Any]) -> list[str]:
    if source.expression is not None:
        value = _value(source.expression, variables, "groups")
    else:
        value = claims.get(source.claim) if source.claim else None
    return [source.prefix + group for group in _strings(value, "groups") if group]


def _strings(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise InvalidToken(f"oidc: {what} is neither a string nor a list of strings")
    return values


def _value(expression: Expression, variables: Mapping[str, Any], what: str) -> Any:
    try:
        return expression.evaluate(variables)
    except CelError as error:
        raise InvalidToken(f"oidc: cannot evaluate {what}: {error}") from error
