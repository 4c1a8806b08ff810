"""AuthenticationConfiguration (`apiserver.config.k8s.io/v1`): OIDC issuers and who may stay anonymous.

`read` checks a file as upstream does, messages included, and compiles every expression, so that a configuration that is
accepted can only fail on tokens. See "Using Authentication Configuration" in the upstream documentation.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from shirube.api.cel import CelError, Expression, compiled
from shirube.apiserver.authentication.claims import Condition, Mappings, Source
from shirube.apiserver.authentication.key_sets import KeySet
from shirube.apiserver.authentication.oidc import Issuer
from shirube.apiserver.configuration_file import ConfigurationError, Fields, parse
from shirube.foundation.clock import Clock
from shirube.serving.tls import client_context

GROUP = "apiserver.config.k8s.io"
KIND = "AuthenticationConfiguration"
VERSIONS = ("v1", "v1beta1", "v1alpha1")
MAX_ISSUERS = 64

_EMAIL = re.compile(r"claims\s*(\.\s*\??\s*email(?![A-Za-z0-9_])|\[\s*\??\s*['\"]email['\"]\s*\])")
_VERIFIED = re.compile(r"claims\s*(\.\s*\??\s*email_verified(?![A-Za-z0-9_])|\[\s*\??\s*['\"]email_verified['\"]\s*\])")
_EXTRA_KEY = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[^\s/][^\s]*")
_RESERVED = re.compile(r"(.*\.)?(kubernetes|k8s)\.io/.*")


class Anonymous(NamedTuple):
    enabled: bool
    paths: frozenset[str] | None  # None: everywhere


class Configuration(NamedTuple):
    issuers: tuple[Issuer, ...]
    anonymous: Anonymous | None  # None: as the server's options say


def read(data: bytes, clock: Clock, disallowed: Collection[str] = ()) -> Configuration:
    """`disallowed` issuers are the server's own. Raises ConfigurationError."""
    fields = parse(data, GROUP, KIND, VERSIONS)
    entries = fields.objects("jwt")
    if len(entries) > MAX_ISSUERS:
        raise ConfigurationError(f"jwt: Too many: {len(entries)}: must have at most {MAX_ISSUERS} items")
    issuers: list[Issuer] = []
    seen: set[str] = set()
    for entry in entries:
        issuers.append(_authenticator(entry, clock, disallowed, seen))
    anonymous = _anonymous(fields.object("anonymous"))
    fields.done()
    return Configuration(tuple(issuers), anonymous)


def _anonymous(fields: Fields | None) -> Anonymous | None:
    if fields is None:
        return None
    enabled = fields.flag("enabled")
    conditions = fields.objects("conditions")
    paths = set()
    for condition in conditions:
        paths.add(condition.text("path", required=True))
        condition.done()
    fields.done()
    if conditions and not enabled:
        raise ConfigurationError(
            "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined"
        )
    return Anonymous(enabled, frozenset(paths) if conditions else None)


def _authenticator(fields: Fields, clock: Clock, disallowed: Collection[str], seen: set[str]) -> Issuer:
    issuer = fields.object("issuer")
    if issuer is None:
        raise ConfigurationError(f"{fields.path}.issuer.url: Required value")
    url = _url(issuer, "url", required=True)
    if url in disallowed:
        shown = " ".join(sorted(disallowed))
        raise _invalid(issuer, "url", url, f"URL must not overlap with disallowed issuers: [{shown}]")
    discovery = _url(issuer, "discoveryURL")
    if discovery and discovery.rstrip("/") == url.rstrip("/"):
        raise _invalid(issuer, "discoveryURL", discovery, "discoveryURL must be different from URL")
    for name, value in (("url", url), ("discoveryURL", discovery)):
        if value in seen:
            raise ConfigurationError(f'{issuer.at(name)}: Duplicate value: "{value}"')
    seen.update(value for value in (url, discovery) if value)
    audiences = _audiences(issuer)
    context = _trust(issuer)
    if egress := issuer.text("egressSelectorType"):
        why = "egress selection is not supported: leave it out, the server reaches issuers directly"
        raise _invalid(issuer, "egressSelectorType", egress, why)
    issuer.done()
    mappings = _mappings(fields)
    fields.done()
    return Issuer(url, audiences, mappings, KeySet(url, discovery, context, clock), clock)


def _invalid(fields: Fields, name: str, value: str, why: str) -> ConfigurationError:
    return ConfigurationError(f'{fields.at(name)}: Invalid value: "{value}": {why}')


def _url(fields: Fields, name: str, *, required: bool = False) -> str:
    url = fields.text(name, required=required)
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        port_is_good = parts.port != 0
    except ValueError as error:
        raise _invalid(fields, name, url, str(error)) from error
    for wrong, why in (
        (parts.scheme != "https", "URL scheme must be https"),
        (parts.username is not None or parts.password is not None, "URL must not contain a username or password"),
        (bool(parts.query), "URL must not contain a query"),
        (bool(parts.fragment), "URL must not contain a fragment"),
        (not parts.hostname or not port_is_good, "URL must name a host"),
    ):
        if wrong:
            raise _invalid(fields, name, url, why)
    return url


def _audiences(fields: Fields) -> tuple[str, ...]:
    audiences, policy = fields.texts("audiences"), fields.text("audienceMatchPolicy")
    where = fields.at("audiences")
    if not audiences:
        raise ConfigurationError(f"{where}: Required value: at least one {where} is required")
    for n, audience in enumerate(audiences):
        if not audience:
            raise ConfigurationError(f"{where}[{n}]: Required value")
        if audience in audiences[:n]:
            raise ConfigurationError(f'{where}[{n}]: Duplicate value: "{audience}"')
    if len(audiences) > 1 and policy != "MatchAny":
        why = "audienceMatchPolicy must be MatchAny for multiple audiences"
        raise _invalid(fields, "audienceMatchPolicy", policy, why)
    if policy not in ("", "MatchAny"):
        why = "audienceMatchPolicy must be empty or MatchAny for single audience"
        raise _invalid(fields, "audienceMatchPolicy", policy, why)
    return audiences


def _trust(fields: Fields) -> ssl.SSLContext:
    authority = fields.text("certificateAuthority")
    try:
        return client_context(ca_data=authority or None)
    except (ssl.SSLError, ValueError) as error:
        where = fields.at("certificateAuthority")
        raise ConfigurationError(f"{where}: Invalid value: <omitted>: not certificates in PEM: {error}") from error


def _mappings(fields: Fields) -> Mappings:
    claim_rules = _unique_rules(fields.objects("claimValidationRules"), _claim_rule)
    given = fields.object("claimMappings")
    if given is None:
        raise ConfigurationError(
            f"{fields.path}.claimMappings.username: Required value: claim or expression is required"
        )
    username = _source(given, "username", required=True)
    groups = _source(given, "groups")
    uid = _source(given, "uid", prefixed=False)
    extra = [_extra(item) for item in given.objects("extra")]
    keys = [key for key, _ in extra]
    for n, key in enumerate(keys):
        if key in keys[:n]:
            raise ConfigurationError(f'{given.at("extra")}[{n}].key: Duplicate value: "{key}"')
    given.done()
    user_rules = _unique_rules(fields.objects("userValidationRules"), _user_rule)
    _check_email(given, username, claim_rules, [expression for _, expression in extra])
    return Mappings(username, groups, uid, extra, claim_rules, user_rules)


def _check_email(fields: Fields, username: Source, rules: list[Condition], extra: list[Expression]) -> None:
    """An address is a name only when somebody looks at whether it was verified."""
    if username.expression is None or not _EMAIL.search(username.expression.text):
        return
    used = [username.expression, *extra, *(rule.expression for rule in rules if rule.expression is not None)]
    if not any(_VERIFIED.search(expression.text) for expression in used):
        why = (
            "claims.email_verified must be used in claimMappings.username.expression or "
            "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in "
            "claimMappings.username.expression"
        )
        raise _invalid(fields, "username.expression", username.expression.text, why)


def _expression(fields: Fields, name: str, text: str) -> Expression:
    try:
        return compiled(text)
    except CelError as error:
        raise _invalid(fields, name, text, str(error)) from error


def _source(parent: Fields, name: str, *, required: bool = False, prefixed: bool = True) -> Source:
    fields = parent.object(name)
    if fields is None:
        if required:
            raise ConfigurationError(f"{parent.at(name)}: Required value: claim or expression is required")
        return Source()
    has_prefix = fields.has("prefix")
    claim, prefix, text = fields.text("claim"), fields.text("prefix"), fields.text("expression")
    fields.done()
    if claim and text:
        raise ConfigurationError(f"{fields.path}: Invalid value: claim and expression can't both be set")
    if required and not claim and not text:
        raise ConfigurationError(f"{fields.path}: Required value: claim or expression is required")
    if text:
        if has_prefix:
            raise ConfigurationError(f"{fields.path}: Invalid value: prefix can't be set when expression is set")
        return Source(expression=_expression(fields, "expression", text))
    if not claim and has_prefix and prefix:
        raise ConfigurationError(f"{fields.path}: Required value: claim is required when prefix is set")
    if claim and prefixed and not has_prefix:
        raise ConfigurationError(
            f"{fields.at('prefix')}: Required value: prefix is required when claim is set. It can be set to an empty "
            "string to disable prefixing"
        )
    return Source(claim, prefix)


def _extra(fields: Fields) -> tuple[str, Expression]:
    key = fields.text("key", required=True)
    text = fields.text("valueExpression", required=True)
    fields.done()
    if key != key.lower():
        raise _invalid(fields, "key", key, "must be lowercase")
    if not _EXTRA_KEY.fullmatch(key):
        raise _invalid(fields, "key", key, 'must be a domain-prefixed path (such as "acme.io/foo")')
    if _RESERVED.fullmatch(key):
        why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
        raise _invalid(fields, "key", key, why)
    return key, _expression(fields, "valueExpression", text)


def _claim_rule(fields: Fields) -> Condition:
    claim, required = fields.text("claim"), fields.text("requiredValue")
    text, message = fields.text("expression"), fields.text("message")
    fields.done()
    if claim and text:
        raise ConfigurationError(f'{fields.path}: Invalid value: "{claim}": claim and expression can\'t both be set')
    if not claim and not text:
        raise ConfigurationError(f"{fields.path}: Required value: claim or expression is required")
    if claim:
        if message:
            raise _invalid(fields, "message", message, "may not be specified when claim is set")
        return Condition(None, "", claim, required)
    if required:
        raise _invalid(fields, "requiredValue", required, "may not be specified when expression is set")
    return Condition(_expression(fields, "expression", text), message)


def _user_rule(fields: Fields) -> Condition:
    text, message = fields.text("expression", required=True), fields.text("message")
    fields.done()
    return Condition(_expression(fields, "expression", text), message)


def _unique_rules(items: list[Fields], read_one: Callable[[Fields], Condition]) -> list[Condition]:
    rules: list[Condition] = []
    for fields in items:
        rule = read_one(fields)
        key = rule.expression.text if rule.expression is not None else rule.claim
        name = "expression" if rule.expression is not None else "claim"
        for other in rules:
            if (other.expression is None) is (rule.expression is None) and key in (
                other.claim,
                other.expression.text if other.expression is not None else "",
            ):
                raise ConfigurationError(f'{fields.at(name)}: Duplicate value: "{key}"')
        rules.append(rule)
    return rules
