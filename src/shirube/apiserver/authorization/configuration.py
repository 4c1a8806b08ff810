"""AuthorizationConfiguration (`apiserver.config.k8s.io/v1`): the authorisers that are asked, in order.

`Node`, `RBAC`, `AlwaysAllow`, `AlwaysDeny` and any number of webhooks; the first with an opinion decides. The group
system:masters is let in before any of them, as upstream. See "Authorization Configuration" in the upstream
documentation (KEP-3221).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from shirube.api import names
from shirube.api.cel import CelError, Expression, compiled
from shirube.apiserver.configuration_file import ConfigurationError, Fields, parse

GROUP = "apiserver.config.k8s.io"
KIND = "AuthorizationConfiguration"
VERSIONS = ("v1", "v1beta1")
ONCE = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
TYPES = (*ONCE, "Webhook")
MAX_CONDITIONS = 64

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class WebhookConfig(NamedTuple):
    name: str
    kubeconfig: Path | None  # None: the one of the pod that the server runs in
    timeout: float
    authorized_ttl: float
    unauthorized_ttl: float
    cache_authorized: bool
    cache_unauthorized: bool
    fails_closed: bool
    version: str  # of SubjectAccessReview
    conditions: tuple[Expression, ...]


class Entry(NamedTuple):
    type: str
    webhook: WebhookConfig | None


def read(data: bytes) -> list[Entry]:
    """Raises ConfigurationError."""
    fields = parse(data, GROUP, KIND, VERSIONS)
    entries: list[Entry] = []
    seen: set[str] = set()
    for item in fields.objects("authorizers"):
        entries.append(_entry(item, seen))
    fields.done()
    if not entries:
        raise ConfigurationError("authorizers: Required value: at least one authorization mode must be defined")
    return entries


def _entry(fields: Fields, seen: set[str]) -> Entry:
    kind, name = fields.text("type", required=True), fields.text("name")
    if kind not in TYPES:
        shown = ", ".join(f'"{known}"' for known in sorted(TYPES))
        raise ConfigurationError(f'{fields.at("type")}: Unsupported value: "{kind}": supported values: {shown}')
    if kind in ONCE and kind in seen:
        raise ConfigurationError(f'{fields.at("type")}: Duplicate value: "{kind}"')
    if not name:
        raise ConfigurationError(f"{fields.at('name')}: Required value")
    if wrong := names.is_dns1123_subdomain(name):
        raise ConfigurationError(f'{fields.at("name")}: Invalid value: "{name}": {wrong[0]}')
    if f"/{name}" in seen:
        raise ConfigurationError(f'{fields.at("name")}: Duplicate value: "{name}"')
    seen.update((kind, f"/{name}"))
    given = fields.object("webhook")
    fields.done()
    if kind != "Webhook":
        if given is not None:
            raise ConfigurationError(f"{given.path}: Invalid value: may only be specified when type=Webhook")
        return Entry(kind, None)
    if given is None:
        raise ConfigurationError(f"{fields.at('webhook')}: Required value: required when type=Webhook")
    return Entry(kind, _webhook(given, name))


def _webhook(fields: Fields, name: str) -> WebhookConfig:
    timeout = _seconds(fields, "timeout", None)
    if not 0 < timeout <= 30:
        raise ConfigurationError(f"{fields.at('timeout')}: Invalid value: must be greater than 0s and at most 30s")
    fails_closed = _choice(fields, "failurePolicy", ("NoOpinion", "Deny")) == "Deny"
    config = WebhookConfig(
        name,
        _connection(fields),
        timeout,
        _seconds(fields, "authorizedTTL", 300.0),
        _seconds(fields, "unauthorizedTTL", 30.0),
        fields.flag("cacheAuthorizedRequests", True),
        fields.flag("cacheUnauthorizedRequests", True),
        fails_closed,
        _choice(fields, "subjectAccessReviewVersion", ("v1", "v1beta1")),
        _conditions(fields),
    )
    fields.done()
    return config


def _choice(fields: Fields, name: str, known: tuple[str, ...]) -> str:
    value = fields.text(name, required=True)
    if value not in known:
        shown = ", ".join(f'"{k}"' for k in known)
        raise ConfigurationError(f'{fields.at(name)}: Unsupported value: "{value}": supported values: {shown}')
    return value


def _seconds(fields: Fields, name: str, default: float | None) -> float:
    text = fields.text(name, required=default is None)
    if not text:
        assert default is not None
        return default
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigurationError(f'{fields.at(name)}: Invalid value: "{text}": must be a duration such as 3s or 5m')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _connection(fields: Fields) -> Path | None:
    given = fields.object("connectionInfo")
    if given is None:
        raise ConfigurationError(f"{fields.at('connectionInfo')}: Required value")
    kind = _choice(given, "type", ("InClusterConfig", "KubeConfigFile"))
    path = given.text("kubeConfigFile")
    given.done()
    where = given.at("kubeConfigFile")
    if kind == "InClusterConfig":
        if path:
            raise ConfigurationError(f"{where}: Invalid value: can only be set when type=KubeConfigFile")
        return None
    if not path:
        raise ConfigurationError(f"{where}: Required value")
    if not Path(path).is_absolute():
        raise ConfigurationError(f'{where}: Invalid value: "{path}": must be an absolute path')
    if not Path(path).is_file():
        raise ConfigurationError(f'{where}: Invalid value: "{path}": must be a regular file')
    return Path(path)


def _conditions(fields: Fields) -> tuple[Expression, ...]:
    items = fields.objects("matchConditions")
    version = fields.text("matchConditionSubjectAccessReviewVersion")
    if items and version != "v1":
        where = fields.at("matchConditionSubjectAccessReviewVersion")
        raise ConfigurationError(f'{where}: Unsupported value: "{version}": supported values: "v1"')
    if len(items) > MAX_CONDITIONS:
        raise ConfigurationError(
            f"{fields.at('matchConditions')}: Too many: {len(items)}: must have at most {MAX_CONDITIONS} items"
        )
    made: list[Expression] = []
    for item in items:
        text = item.text("expression", required=True)
        item.done()
        if any(other.text == text for other in made):
            raise ConfigurationError(f'{item.at("expression")}: Duplicate value: "{text}"')
        try:
            made.append(compiled(text))
        except CelError as error:
            raise ConfigurationError(f'{item.at("expression")}: Invalid value: "{text}": {error}') from error
    return tuple(made)
