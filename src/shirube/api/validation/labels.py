"""Validation of label selectors and node selectors.

Follows k8s.io/apimachinery ``pkg/apis/meta/v1/validation`` and core's ``ValidateNodeSelector``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, forbidden, invalid, required
from shirube.api.validation.object_meta import validate_labels

Obj = Mapping[str, Any]


def validate_label_name(key: str, path: str) -> list[Cause]:
    """A label key is a qualified name."""
    return [invalid(path, key, message) for message in names.is_qualified_name(key)]


def validate_label_selector(selector: Obj | None, path: str) -> list[Cause]:
    """A selector of matchLabels and matchExpressions; an absent one is fine."""
    if not selector:
        return []
    causes: list[Cause] = []
    if labels := selector.get("matchLabels"):
        causes += validate_labels(labels, f"{path}.matchLabels")
    for i, requirement in enumerate(selector.get("matchExpressions") or ()):
        causes += _validate_requirement(requirement, f"{path}.matchExpressions[{i}]")
    return causes


def _validate_requirement(requirement: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(
                forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
            )
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    causes += validate_label_name(requirement.get("key", ""), f"{path}.key")
    for i, value in enumerate(values):
        for message in names.is_label_value(value):
            causes.append(invalid(f"{path}.values[{i}]", value, message))
    return causes


def validate_node_selector(selector: Obj, path: str) -> list[Cause]:
    """A node selector: at least one term, any of which may match."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    causes: list[Cause] = []
    for i, term in enumerate(terms):
        causes += validate_node_selector_term(term, f"{path}.nodeSelectorTerms[{i}]")
    return causes


def validate_node_selector_term(term: Obj, path: str) -> list[Cause]:
    """All expressions about labels and fields of one term."""
    causes: list[Cause] = []
    for i, requirement in enumerate(term.get("matchExpressions") or ()):
        causes += _validate_node_requirement(requirement, f"{path}.matchExpressions[{i}]")
    for i, requirement in enumerate(term.get("matchFields") or ()):
        causes += _validate_node_field(requirement, f"{path}.matchFields[{i}]")
    return causes


def _validate_node_requirement(requirement: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    at = f"{path}.values"
    if operator in ("In", "NotIn"):
        if not values:
            causes.append(required(at, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            causes.append(forbidden(at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            causes.append(required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    return causes + validate_label_name(requirement.get("key", ""), f"{path}.key")


def _validate_node_field(requirement: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator not in ("In", "NotIn"):
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        causes.append(
            required(
                f"{path}.values",
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            )
        )
    key = requirement.get("key", "")
    if key != "metadata.name":
        causes.append(invalid(f"{path}.key", key, "not a valid field selector key"))
    else:
        for i, value in enumerate(values):
            for message in names.is_dns1123_subdomain(value):
                causes.append(invalid(f"{path}.values[{i}]", value, message))
    return causes
