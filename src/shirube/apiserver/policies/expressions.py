"""Expressions are compiled when policies, webhook configurations and selectors of devices are written, so that nobody
finds out later.

Upstream does this in the validation of the kinds; here it is a plugin so that the pure rules of the kinds need no
engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from shirube.api import cel, errors
from shirube.api.errors import Cause
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.webhooks.matching import ADMISSION_GROUP

Json = dict[str, Any]

_REQUEST = frozenset(("object", "oldObject", "request", "authorizer"))
_POLICY = _REQUEST | {"namespaceObject", "variables"}
# What the engine lists among the variables of an expression and is none.
_SCALARS = ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "type", "null_type", "dyn")
_LIBRARIES = ("timestamp", "duration", "optional", "optional_type", "math", "sets", "base64", "strings", "lists")
_TYPES = frozenset(_SCALARS + _LIBRARIES)
_BOUND = re.compile(r"\(\s*([A-Za-z_]\w*)\s*,")
_WEBHOOKS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
_POLICIES = ("validatingadmissionpolicies", "mutatingadmissionpolicies")
_DEVICES_GROUP = "resource.k8s.io"
_DEVICES = ("deviceclasses", "resourceclaims", "resourceclaimtemplates")
_DEVICE = frozenset(("device",))


class AdmissionExpressions(Plugin):
    name = "AdmissionExpressions"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset(
        [(ADMISSION_GROUP, resource) for resource in _WEBHOOKS + _POLICIES]
        + [(_DEVICES_GROUP, resource) for resource in _DEVICES]
    )

    async def validate(self, req: AdmissionRequest) -> None:
        obj = req.obj or {}
        if req.resource.name in _WEBHOOKS:
            found = _of_webhooks(obj)
        elif req.resource.group == _DEVICES_GROUP:
            found = _of_devices(obj.get("spec") or {}, "spec")
        else:
            found = _of_policy(obj.get("spec") or {})
        causes = [c for path, text, known in found if (c := check(path, text, known)) is not None]
        if causes:
            raise errors.invalid(req.resource.group, req.resource.kind, req.shown_name, causes)


def check(path: str, text: str, known: frozenset[str]) -> Cause | None:
    """What is wrong with an expression in which `known` may be named; None when nothing is."""
    try:
        expression = cel.compiled(text)
    except cel.CelError as error:
        return Cause.invalid(path, text, str(error))
    unknown = expression.variables - known - _TYPES - set(_BOUND.findall(text))
    if unknown:
        what = f"compilation failed: undeclared reference to '{min(unknown)}' (in container '')"
        return Cause.invalid(path, text, what)
    return None


def _of_webhooks(obj: Json) -> Iterator[tuple[str, str, frozenset[str]]]:
    for i, webhook in enumerate(obj.get("webhooks") or ()):
        for j, condition in enumerate(webhook.get("matchConditions") or ()):
            yield f"webhooks[{i}].matchConditions[{j}].expression", condition.get("expression", ""), _REQUEST


def _of_policy(spec: Json) -> Iterator[tuple[str, str, frozenset[str]]]:
    params = frozenset(("params",)) if spec.get("paramKind") else frozenset()
    known = _POLICY | params
    for i, condition in enumerate(spec.get("matchConditions") or ()):
        seen = _REQUEST | params | {"namespaceObject"}
        yield f"spec.matchConditions[{i}].expression", condition.get("expression", ""), seen
    for i, variable in enumerate(spec.get("variables") or ()):
        yield f"spec.variables[{i}].expression", variable.get("expression", ""), known
    for i, validation in enumerate(spec.get("validations") or ()):
        yield f"spec.validations[{i}].expression", validation.get("expression", ""), known
        if validation.get("messageExpression"):
            yield f"spec.validations[{i}].messageExpression", validation["messageExpression"], known
    for i, audit in enumerate(spec.get("auditAnnotations") or ()):
        yield f"spec.auditAnnotations[{i}].valueExpression", audit.get("valueExpression", ""), known
    for i, mutation in enumerate(spec.get("mutations") or ()):
        for kind in ("jsonPatch", "applyConfiguration"):
            if text := (mutation.get(kind) or {}).get("expression"):
                yield f"spec.mutations[{i}].{kind}.expression", text, known


def _of_devices(spec: Json, path: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Of a class, a claim, or the claim in a template."""
    if "spec" in spec:
        yield from _of_devices(spec["spec"] or {}, f"{path}.spec")
    yield from _of_selectors(spec, path)
    for i, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
        at = f"{path}.devices.requests[{i}]"
        yield from _of_selectors(request.get("exactly") or {}, f"{at}.exactly")
        for j, choice in enumerate(request.get("firstAvailable") or ()):
            yield from _of_selectors(choice, f"{at}.firstAvailable[{j}]")


def _of_selectors(holder: Json, path: str) -> Iterator[tuple[str, str, frozenset[str]]]:
    for i, selector in enumerate(holder.get("selectors") or ()):
        if text := (selector.get("cel") or {}).get("expression"):
            yield f"{path}.selectors[{i}].cel.expression", text, _DEVICE
