"""Webhook configurations: admission that calls out.

Follows admissionregistration's defaults and ``ValidateValidatingWebhookConfiguration``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.domain_names import validate_qualified
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.webhooks import (
    validate_client_config,
    validate_match_conditions,
    validate_rule,
)

_REVIEW_VERSIONS = ("v1", "v1beta1")


class ValidatingWebhookConfigurationStrategy(Strategy):
    qualified_finalizers = False
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        for webhook in obj.get("webhooks") or ():
            default_webhook(webhook)

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        return not semantic_equal(obj.get("webhooks"), old.get("webhooks"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_webhooks(obj.get("webhooks") or [])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_webhooks(obj.get("webhooks") or [])


class MutatingWebhookConfigurationStrategy(ValidatingWebhookConfigurationStrategy):
    def default(self, obj: Obj) -> None:
        super().default(obj)
        for webhook in obj.get("webhooks") or ():
            webhook.setdefault("reinvocationPolicy", "Never")


def default_webhook(webhook: Obj) -> None:
    """Fail closed, match equivalents, wait ten seconds."""
    webhook.setdefault("failurePolicy", "Fail")
    webhook.setdefault("matchPolicy", "Equivalent")
    webhook.setdefault("namespaceSelector", {})
    webhook.setdefault("objectSelector", {})
    webhook.setdefault("timeoutSeconds", 10)
    for rule in webhook.get("rules") or ():
        rule.setdefault("scope", "*")
    if (service := (webhook.get("clientConfig") or {}).get("service")) is not None:
        service.setdefault("port", 443)


def _enumerated(causes: list[Cause], webhook: Obj, field: str, values: list[str], path: str) -> None:
    value = webhook.get(field)
    if value is not None and value not in values:
        causes.append(not_supported(f"{path}.{field}", value, values))


def _validate_webhooks(webhooks: list[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen = set()
    for i, webhook in enumerate(webhooks):
        at, name = f"webhooks[{i}]", webhook.get("name", "")
        validate_qualified(causes, name, f"{at}.name")
        if name and name in seen:
            causes.append(duplicate(f"{at}.name", name))
        seen.add(name)
        _validate_webhook(causes, webhook, at)
    return causes


def _validate_webhook(causes: list[Cause], webhook: Obj, path: str) -> None:
    versions = webhook.get("admissionReviewVersions") or []
    at = f"{path}.admissionReviewVersions"
    if not versions:
        causes.append(required(at, f"must specify one of {', '.join(_REVIEW_VERSIONS)}"))
    else:
        for i, version in enumerate(versions):
            if version in versions[:i]:
                causes.append(invalid(f"{at}[{i}]", version, "duplicate version"))
            else:
                causes.extend(invalid(f"{at}[{i}]", version, m) for m in names.is_dns1035_label(version))
        if not set(versions) & set(_REVIEW_VERSIONS):
            detail = f"must include at least one of {', '.join(_REVIEW_VERSIONS)}"
            causes.append(invalid(at, versions, detail))
    for i, rule in enumerate(webhook.get("rules") or ()):
        validate_rule(causes, rule, f"{path}.rules[{i}]")
    _enumerated(causes, webhook, "failurePolicy", ["Fail", "Ignore"], path)
    _enumerated(causes, webhook, "matchPolicy", ["Equivalent", "Exact"], path)
    _enumerated(causes, webhook, "reinvocationPolicy", ["IfNeeded", "Never"], path)
    effects = webhook.get("sideEffects")
    if effects is None:
        causes.append(required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        _enumerated(causes, webhook, "sideEffects", ["None", "NoneOnDryRun"], path)
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        causes.append(invalid(f"{path}.timeoutSeconds", seconds, detail))
    for field in ("namespaceSelector", "objectSelector"):
        causes.extend(validate_label_selector(webhook.get(field), f"{path}.{field}"))
    validate_client_config(causes, webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    validate_match_conditions(causes, webhook.get("matchConditions") or [], f"{path}.matchConditions")
