"""Admission policies in CEL and their bindings: shape only; expressions are compiled where they run.

Follows admissionregistration's defaults and ``ValidateValidatingAdmissionPolicy``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import validate_label_selector
from shirube.api.validation.webhooks import validate_match_conditions, validate_rule

_REASONS = ["Forbidden", "Invalid", "RequestEntityTooLarge"]
_MAX_AUDITS = 20
_MAX_AUDIT_LENGTH = 5 * 1024
_CEL_RESERVED = {
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
}  # fmt: skip
_ACTIONS = ["Audit", "Deny", "Warn"]
_PATCHES = ["ApplyConfiguration", "JSONPatch"]


class _PolicyStrategy(Strategy):
    qualified_finalizers = False
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
        return super().validate(obj) + _validate_validations(obj["spec"]) + _validate_audits(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate_validations(obj["spec"]) + _validate_audits(obj)


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
    if policy is None:
        causes.append(required(f"{path}.matchPolicy"))
    elif policy not in ("Equivalent", "Exact"):
        causes.append(not_supported(f"{path}.matchPolicy", policy, ["Equivalent", "Exact"]))
    for field in ("namespaceSelector", "objectSelector"):
        causes.extend(validate_label_selector(match.get(field), f"{path}.{field}"))
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            _validate_resource_names(causes, rule.get("resourceNames") or [], f"{path}.{field}[{i}].resourceNames")
            validate_rule(causes, rule, f"{path}.{field}[{i}]")


def _validate_resource_names(causes: list[Cause], given: list[str], path: str) -> None:
    for i, name in enumerate(given):
        causes.extend(invalid(f"{path}[{i}]", name, m) for m in names.is_path_segment_name(name))
        if name in given[:i]:
            causes.append(duplicate(f"{path}[{i}]", name))


def _validate_policy(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("failurePolicy") not in ("Fail", "Ignore"):
        causes.append(not_supported("spec.failurePolicy", spec.get("failurePolicy", ""), ["Fail", "Ignore"]))
    kind = spec.get("paramKind")
    if kind is not None:
        _validate_param_kind(causes, kind, "spec.paramKind")
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
        if not name.strip():
            causes.append(required(f"{at}.name", "name is not specified"))
        else:
            if names.is_c_identifier(name) or name in _CEL_RESERVED:
                causes.append(invalid(f"{at}.name", name, "name is not a valid CEL identifier"))
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
        text, message = validation.get("messageExpression") or "", validation.get("message") or ""
        if text and not text.strip():
            causes.append(invalid(f"{at}.messageExpression", text, "must be non-empty if specified"))
        if message and not message.strip():
            causes.append(invalid(f"{at}.message", message, "message must be non-empty if specified"))
        elif "\n" in message.strip() or "\r" in message.strip():
            causes.append(invalid(f"{at}.message", message, "message must not contain line breaks"))
        reason = validation.get("reason")
        if reason is not None and reason not in _REASONS:
            causes.append(not_supported(f"{at}.reason", reason, _REASONS))
    return causes


def _validate_audits(obj: Obj) -> list[Cause]:
    """Annotations of the audit log are named after the policy: together a qualified name."""
    causes: list[Cause] = []
    audits, policy = obj["spec"].get("auditAnnotations") or [], obj["metadata"].get("name", "")
    if len(audits) > _MAX_AUDITS:
        detail = f"must not have more than {_MAX_AUDITS} auditAnnotations"
        causes.append(invalid("spec.auditAnnotations", audits, detail))
    keys = [a.get("key", "") for a in audits]
    for i, audit in enumerate(audits):
        at, key = f"spec.auditAnnotations[{i}]", f"{policy}/{keys[i]}"
        causes.extend(invalid(f"{at}.key", key, m) for m in names.is_qualified_name(key))
        expression = (audit.get("valueExpression") or "").strip()
        if not expression:
            causes.append(required(f"{at}.valueExpression", "valueExpression is not specified"))
        elif len(expression) > _MAX_AUDIT_LENGTH:
            detail = f"must not exceed {_MAX_AUDIT_LENGTH} bytes in length"
            causes.append(required(f"{at}.valueExpression", detail))
        if keys[i] in keys[:i]:
            causes.append(duplicate(f"{at}.key", keys[i]))
    return causes


def _validate_param_kind(causes: list[Cause], kind: Obj, path: str) -> None:
    version, name = kind.get("apiVersion", ""), kind.get("kind", "")
    at = f"{path}.apiVersion"
    group, _slash, last = version.rpartition("/")
    if not version:
        causes.append(required(at))
    elif version.count("/") > 1:
        causes.append(invalid(at, version, f"unexpected GroupVersion string: {version}"))
    else:
        if group and (messages := names.is_dns1123_subdomain(group)):
            causes.append(invalid(at, group, ",".join(messages)))
        if not last:
            causes.append(invalid(at, version, "version must be specified"))
        elif messages := names.is_dns1035_label(last):
            causes.append(invalid(at, last, ",".join(messages)))
    if not name:
        causes.append(required(f"{path}.kind"))
    elif messages := names.is_dns1035_label(name.lower()):
        detail = "may have mixed case, but should otherwise match: " + ",".join(messages)
        causes.append(invalid(f"{path}.kind", name, detail))


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


class _BindingStrategy(Strategy):
    qualified_finalizers = False
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        _default_match(obj.setdefault("spec", {}).get("matchResources"))

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + self.judge(obj["spec"])

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + self.judge(obj["spec"])

    def judge(self, spec: Obj) -> list[Cause]:
        return _validate_binding(spec)


class MutatingAdmissionPolicyBindingStrategy(_BindingStrategy):
    """It says where and with what, nothing else."""


class ValidatingAdmissionPolicyBindingStrategy(_BindingStrategy):
    def judge(self, spec: Obj) -> list[Cause]:
        return super().judge(spec) + _validate_actions(spec)


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
        if name := ref.get("name"):
            causes.extend(invalid(f"{at}.name", name, m) for m in names.is_path_segment_name(name))
        causes.extend(validate_label_selector(ref.get("selector"), f"{at}.selector"))
        if ref.get("name") and ref.get("selector") is not None:
            detail = "name and selector are mutually exclusive"
            causes += [forbidden(f"{at}.name", detail), forbidden(f"{at}.selector", detail)]
        elif not ref.get("name") and ref.get("selector") is None:
            causes.append(required(at, "one of name or selector must be specified"))
        action = ref.get("parameterNotFoundAction")
        if action not in ("Allow", "Deny"):
            where = f"{at}.parameterNotFoundAction"
            causes.append(not_supported(where, action, ["Deny", "Allow"]) if action else required(where))
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
