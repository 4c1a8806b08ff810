"""Validation of where a pod may run: affinity, tolerations, topology spread, gates.

Follows core's ``validateAffinity``, ``ValidateTolerations``, ``validateTopologySpreadConstraints``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.labels import (
    validate_label_name,
    validate_label_selector,
    validate_node_selector,
    validate_node_selector_term,
)

Obj = Mapping[str, Any]

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_RANGE = "must be in the range 1-100"


def _validate_node_affinity(out: list[Cause], affinity: Obj, path: str) -> None:
    if (selector := affinity.get(_REQUIRED)) is not None:
        out.extend(validate_node_selector(selector, f"{path}.{_REQUIRED}"))
    for i, term in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        weight = term.get("weight", 0)
        if not 1 <= weight <= 100:
            out.append(invalid(f"{at}.weight", weight, _RANGE))
        out.extend(validate_node_selector_term(term.get("preference") or {}, f"{at}.preference"))


def _validate_match_keys(out: list[Cause], term: Obj, path: str) -> None:
    selector = term.get("labelSelector")
    keys, mismatch = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    for field, listed in (("matchLabelKeys", keys), ("mismatchLabelKeys", mismatch)):
        if not listed:
            continue
        if selector is None:
            out.append(forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set"))
            continue
        for i, key in enumerate(listed):
            out.extend(validate_label_name(key, f"{path}.{field}[{i}]"))
    _validate_selected_twice(out, keys, selector, path)
    for i, key in enumerate(keys):
        if key in mismatch:
            out.append(
                invalid(f"{path}.matchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")
            )


def _validate_pod_term(out: list[Cause], term: Obj, path: str) -> None:
    out.extend(validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector"))
    out.extend(validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector"))
    _validate_match_keys(out, term, path)
    for name in term.get("namespaces") or ():
        out.extend(invalid(f"{path}.namespace", name, m) for m in names.is_dns1123_label(name))
    key = term.get("topologyKey", "")
    if not key:
        out.append(required(f"{path}.topologyKey", "can not be empty"))
    out.extend(validate_label_name(key, f"{path}.topologyKey"))


def _validate_pod_affinity(out: list[Cause], affinity: Obj, path: str) -> None:
    for i, term in enumerate(affinity.get(_REQUIRED) or ()):
        _validate_pod_term(out, term, f"{path}.{_REQUIRED}[{i}]")
    for i, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{i}]"
        weight = weighted.get("weight", 0)
        if not 1 <= weight <= 100:
            out.append(invalid(f"{at}.weight", weight, _RANGE))
        _validate_pod_term(out, weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm")


def validate_affinity(out: list[Cause], affinity: Obj, path: str) -> None:
    """Affinity to nodes, to pods, and away from pods."""
    if (node := affinity.get("nodeAffinity")) is not None:
        _validate_node_affinity(out, node, f"{path}.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        if (pod := affinity.get(field)) is not None:
            _validate_pod_affinity(out, pod, f"{path}.{field}")


def validate_tolerations(out: list[Cause], tolerations: list[Obj], path: str) -> None:
    """Which taints a pod puts up with."""
    for i, toleration in enumerate(tolerations):
        _validate_toleration(out, toleration, f"{path}[{i}]")


def _validate_toleration(out: list[Cause], toleration: Obj, path: str) -> None:
    get = toleration.get
    key, operator, value, effect = get("key", ""), get("operator", ""), get("value", ""), get("effect", "")
    if key:
        out.extend(validate_label_name(key, f"{path}.key"))
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        out.append(invalid(f"{path}.operator", operator, detail))
    if get("tolerationSeconds") is not None and effect != "NoExecute":
        out.append(invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    if operator in ("", "Equal"):
        if messages := names.is_label_value(value):
            out.append(invalid(f"{path}.operator", value, ";".join(messages)))
    elif operator == "Exists":
        if value:
            out.append(invalid(f"{path}.operator", dict(toleration), "value must be empty when `operator` is 'Exists'"))
    else:
        out.append(not_supported(f"{path}.operator", operator, ["Equal", "Exists"]))
    if effect and effect not in TAINT_EFFECTS:
        out.append(not_supported(f"{path}.effect", effect, TAINT_EFFECTS))


def validate_topology_spread(out: list[Cause], constraints: list[Obj], path: str) -> None:
    """How evenly pods spread over domains."""
    pairs = [(c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints]
    for i, constraint in enumerate(constraints):
        at = f"{path}[{i}]"
        _validate_spread(out, constraint, at)
        key, action = pairs[i]
        if pairs[i] in pairs[i + 1 :]:
            out.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))


def _validate_spread(out: list[Cause], constraint: Obj, path: str) -> None:
    skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
    action, domains = constraint.get("whenUnsatisfiable", ""), constraint.get("minDomains")
    if skew <= 0:
        out.append(invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
    if not key:
        out.append(required(f"{path}.topologyKey", "can not be empty"))
    if action not in ("DoNotSchedule", "ScheduleAnyway"):
        out.append(not_supported(f"{path}.whenUnsatisfiable", action, ["DoNotSchedule", "ScheduleAnyway"]))
    if domains is not None:
        if domains <= 0:
            out.append(invalid(f"{path}.minDomains", domains, "must be greater than zero"))
        if action != "DoNotSchedule":
            detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            out.append(invalid(f"{path}.minDomains", domains, detail))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(field)
        if policy is not None and policy not in ("Honor", "Ignore"):
            out.append(not_supported(f"{path}.{field}", policy, ["Honor", "Ignore"]))
    _validate_spread_keys(out, constraint, f"{path}.matchLabelKeys")
    out.extend(validate_label_selector(constraint.get("labelSelector"), f"{path}.labelSelector"))


def _validate_selected_twice(out: list[Cause], keys: list[str], selector: Obj | None, path: str) -> None:
    """Each key has become an expression of the selector by now: found a second time, the user gave it as well."""
    seen = set((selector or {}).get("matchLabels") or ())
    for expression in (selector or {}).get("matchExpressions") or ():
        key = expression.get("key", "")
        if key in keys and key in seen:
            at = f"{path}[{keys.index(key)}]"
            out.append(invalid(at, key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(key)


def _validate_spread_keys(out: list[Cause], constraint: Obj, path: str) -> None:
    keys, selector = constraint.get("matchLabelKeys") or [], constraint.get("labelSelector")
    if not keys:
        return
    if selector is None:
        out.append(forbidden(path, "must not be specified when labelSelector is not set"))
    for i, key in enumerate(keys):
        out.extend(validate_label_name(key, f"{path}[{i}]"))
    _validate_selected_twice(out, keys, selector, path)


def validate_scheduling_gates(out: list[Cause], gates: list[Obj], path: str) -> None:
    """Gates are qualified names, each once."""
    seen = set()
    for i, gate in enumerate(gates):
        name = gate.get("name", "")
        out.extend(invalid(f"{path}[{i}]", name, m) for m in names.is_qualified_name(name))
        if name in seen:
            out.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)


def validate_taints(out: list[Cause], taints: list[Obj], path: str) -> None:
    """The taints of a node: names, values, effects, each (key, effect) once."""
    seen = set()
    for i, taint in enumerate(taints):
        at = f"{path}[{i}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        out.extend(validate_label_name(key, f"{at}.key"))
        if messages := names.is_label_value(value):
            out.append(invalid(f"{at}.value", value, ";".join(messages)))
        if not effect:
            out.append(required(f"{at}.effect"))
        elif effect not in TAINT_EFFECTS:
            out.append(not_supported(f"{at}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            cause = duplicate(at, dict(taint))
            detail = "taints must be unique by key and effect pair"
            out.append(Cause(cause.reason, f"{cause.message}: {detail}", cause.field))
        seen.add((key, effect))
