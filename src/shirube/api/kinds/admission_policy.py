"""Admission policies in CEL and their bindings: shape only; expressions are compiled where they run.

Follows admissionregistration's defaults and ``ValidateValidatingAdmissionPolicy``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.webhooks import validate_match_conditions, validate_rule

_ACTIONS = ["Audit", "Deny", "Warn"]
_PATCHES = ["ApplyConfiguration", "JSONPatch"]


class _PolicyStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        _default_match(spec.get("matchConstraints"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_policy(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_policy(obj["spec"])


class ValidatingAdmissionPolicyStrategy(_PolicyStrategy):
    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_validations(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_validations(obj["spec"])


class MutatingAdmissionPolicyStrategy(_PolicyStrategy):
    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_mutations(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_mutations(obj["spec"])


def _default_match(match: Obj | None) -> None:
    if match is None:
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for field in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(field) or ():
            rule.setdefault("scope", "*")


def _validate_match(causes: list[Cause], match: Obj, path: str) -> None:
    policy = match.get("matchPolicy")
    if policy is not None and policy not in ("Equivalent", "Exact"):
        causes.append(not_supported(f"{path}.matchPolicy", policy, ["Equivalent", "Exact"]))
    for field in ("namespaceSelector", "objectSelector"):
        causes.extend(validate_label_selector(match.get(field), f"{path}.{field}"))
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            validate_rule(causes, rule, f"{path}.{field}[{i}]")


def _validate_policy(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("failurePolicy") not in ("Fail", "Ignore"):
        causes.append(not_supported("spec.failurePolicy", spec.get("failurePolicy", ""), ["Fail", "Ignore"]))
    kind = spec.get("paramKind")
    if kind is not None:
        for field in ("apiVersion", "kind"):
            if not kind.get(field):
                causes.append(required(f"spec.paramKind.{field}"))
    match = spec.get("matchConstraints")
    if match is None:
        causes.append(required("spec.matchConstraints"))
    else:
        _validate_match(causes, match, "spec.matchConstraints")
        if not match.get("resourceRules"):
            causes.append(required("spec.matchConstraints.resourceRules"))
    validate_match_conditions(causes, spec.get("matchConditions") or [], "spec.matchConditions")
    for i, variable in enumerate(spec.get("variables") or ()):
        at, name = f"spec.variables[{i}]", variable.get("name", "")
        if not name:
            causes.append(required(f"{at}.name", "name is not specified"))
        else:
            causes.extend(invalid(f"{at}.name", name, m) for m in names.is_c_identifier(name))
        if not (variable.get("expression") or "").strip():
            causes.append(required(f"{at}.expression", "expression is not specified"))
    return causes


def _validate_validations(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    validations, audits = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not audits:
        detail = "validations or auditAnnotations must contain at least one item"
        causes += [required("spec.validations", detail), required("spec.auditAnnotations", detail)]
    for i, validation in enumerate(validations):
        at = f"spec.validations[{i}]"
        if not (validation.get("expression") or "").strip():
            causes.append(required(f"{at}.expression", "expression is not specified"))
        message = validation.get("message", "")
        if "\n" in message:
            causes.append(invalid(f"{at}.message", message, "must not contain line breaks"))
    for i, audit in enumerate(audits):
        at, key = f"spec.auditAnnotations[{i}]", audit.get("key", "")
        causes.extend(invalid(f"{at}.key", key, m) for m in names.is_qualified_name(key))
        if not (audit.get("valueExpression") or "").strip():
            causes.append(required(f"{at}.valueExpression", "valueExpression is not specified"))
    return causes


def _validate_mutations(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    mutations = spec.get("mutations") or []
    if not mutations:
        causes.append(required("spec.mutations", "mutations must contain at least one item"))
    for i, mutation in enumerate(mutations):
        at, kind = f"spec.mutations[{i}]", mutation.get("patchType", "")
        if kind not in _PATCHES:
            causes.append(not_supported(f"{at}.patchType", kind, _PATCHES))
            continue
        field = "applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch"
        if not ((mutation.get(field) or {}).get("expression") or "").strip():
            causes.append(required(f"{at}.{field}.expression", "expression is not specified"))
    if spec.get("reinvocationPolicy") not in ("IfNeeded", "Never"):
        value = spec.get("reinvocationPolicy", "")
        causes.append(not_supported("spec.reinvocationPolicy", value, ["IfNeeded", "Never"]))
    return causes


class ValidatingAdmissionPolicyBindingStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        _default_match(obj.setdefault("spec", {}).get("matchResources"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_binding(obj["spec"]) + _validate_actions(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_binding(obj["spec"]) + _validate_actions(obj["spec"])


class MutatingAdmissionPolicyBindingStrategy(Strategy):
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        _default_match(obj.setdefault("spec", {}).get("matchResources"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_binding(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_binding(obj["spec"])


def _validate_binding(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    name = spec.get("policyName", "")
    if not name:
        causes.append(required("spec.policyName"))
    else:
        causes.extend(invalid("spec.policyName", name, m) for m in names.is_dns1123_subdomain(name))
    ref = spec.get("paramRef")
    if ref is not None:
        at = "spec.paramRef"
        if ref.get("name") and ref.get("selector") is not None:
            causes.append(forbidden(f"{at}.name", "name and selector are mutually exclusive"))
        elif not ref.get("name") and ref.get("selector") is None:
            causes.append(required(at, "one of name or selector must be specified"))
        action = ref.get("parameterNotFoundAction")
        if action not in ("Allow", "Deny"):
            where = f"{at}.parameterNotFoundAction"
            causes.append(not_supported(where, action, ["Allow", "Deny"]) if action else required(where))
    if (match := spec.get("matchResources")) is not None:
        _validate_match(causes, match, "spec.matchResources")
    return causes


def _validate_actions(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    actions = spec.get("validationActions") or []
    if not actions:
        causes.append(required("spec.validationActions", "at least one validation action is required"))
    for i, action in enumerate(actions):
        if action not in _ACTIONS:
            causes.append(not_supported(f"spec.validationActions[{i}]", action, _ACTIONS))
        if action in actions[:i]:
            causes.append(Cause.duplicate(f"spec.validationActions[{i}]", action))
    if "Deny" in actions and "Warn" in actions:
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the "
            "API response and headers serves no purpose)"
        )
        causes.append(invalid("spec.validationActions", actions, detail))
    return causes
