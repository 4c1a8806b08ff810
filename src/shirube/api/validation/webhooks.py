"""Validation of what calls out of the API server: client configurations, matching rules, selectors.

Follows admissionregistration's and apimachinery's ``webhook`` validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from shirube.api import names
from shirube.api.validation.field import Cause, duplicate, invalid, not_supported, required

Obj = Mapping[str, Any]

OPERATIONS = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]
_SPOKEN = {"apiGroups": "API groups", "apiVersions": "API versions", "operations": "operations"}
_SCOPES = ["*", "Cluster", "Namespaced"]


def validate_client_config(out: list[Cause], config: Obj, path: str) -> None:
    """Exactly one of url and service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        out.append(required(path, "exactly one of url or service is required"))
        return
    if url is not None:
        _validate_url(out, url, f"{path}.url")
    if service is not None:
        for field in ("name", "namespace"):
            if not service.get(field):
                out.append(required(f"{path}.service.{field}", f"service {field} is required"))
        port = service.get("port", 443)
        for message in names.is_port_number(port):
            out.append(invalid(f"{path}.service.port", port, f"port is not valid: {message}"))
        route = service.get("path")
        if route is not None:
            _validate_route(out, route, f"{path}.service.path")


def _validate_route(out: list[Cause], route: str, path: str) -> None:
    if not route:
        out.append(invalid(path, route, "must be non-empty"))
        return
    if route == "/":
        return
    if not route.startswith("/"):
        out.append(invalid(path, route, "must start with a '/'"))
    steps = route.removesuffix("/").removeprefix("/").split("/")
    for i, step in enumerate(steps):
        if not step:
            out.append(invalid(path, route, f"segment[{i}] may not be empty"))
            continue
        out.extend(invalid(path, route, f"segment[{i}]: {m}") for m in names.is_dns1123_subdomain(step))


def _validate_url(out: list[Cause], url: str, path: str) -> None:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        out.append(required(path, f"url must be a valid URL: {error}{form}"))
        return
    if parts.scheme != "https":
        detail = f"'https' is the only allowed URL scheme{form}"
        out.append(invalid(path, parts.scheme, detail))
    if not parts.hostname:
        out.append(invalid(path, parts.netloc, f"host must be specified{form}"))
    if parts.username:
        out.append(invalid(path, parts.username, "user information is not permitted in the URL"))
    if parts.fragment:
        out.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        out.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))


def _validate_resources(out: list[Cause], resources: list[str], path: str) -> None:
    """Resources and subresources, none of them named twice by way of wildcards."""
    for i, name in enumerate(resources):
        at = f"{path}[{i}]"
        if not name:
            out.append(required(at))
        if name == "*/*" and len(resources) > 1:
            detail = "if '*/*' is present, must not specify other resources"
            out.append(invalid(path, list(resources), detail))
        resource, slash, sub = name.partition("/")
        if not slash:
            if resource == "*" and any("/" not in r and r != "*" for r in resources):
                detail = "if '*' is present, must not specify other resources without subresources"
                out.append(invalid(path, list(resources), detail))
            continue
        if f"{resource}/*" in resources and sub != "*":
            detail = f"if '{resource}/*' is present, must not specify {name}"
            out.append(invalid(at, name, detail))
        if f"*/{sub}" in resources and resource != "*":
            out.append(invalid(at, name, f"if '*/{sub}' is present, must not specify {name}"))


def validate_rule(out: list[Cause], rule: Obj, path: str) -> None:
    """Which operations on which resources are meant."""
    for field in ("apiGroups", "apiVersions", "resources", "operations"):
        values = rule.get(field) or []
        if not values:
            out.append(required(f"{path}.{field}"))
        elif "*" in values and len(values) > 1 and field != "resources":
            detail = f"if '*' is present, must not specify other {_SPOKEN[field]}"
            out.append(invalid(f"{path}.{field}", list(values), detail))
        for i, value in enumerate(values):
            if not value and field == "apiVersions":
                out.append(required(f"{path}.{field}[{i}]"))
    _validate_resources(out, rule.get("resources") or [], f"{path}.resources")
    for i, operation in enumerate(rule.get("operations") or ()):
        if operation not in OPERATIONS:
            out.append(not_supported(f"{path}.operations[{i}]", operation, OPERATIONS))
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        out.append(not_supported(f"{path}.scope", scope, _SCOPES))


def validate_match_conditions(out: list[Cause], conditions: list[Obj], path: str) -> None:
    """Names are unique qualified names; expressions are there."""
    seen = set()
    if len(conditions) > 64:
        out.append(Cause.too_many(path, len(conditions), 64))
    for i, condition in enumerate(conditions):
        name, at = condition.get("name", ""), f"{path}[{i}]"
        if not (condition.get("expression") or "").strip():
            out.append(required(f"{at}.expression"))
        if not name:
            out.append(required(f"{at}.name"))
        else:
            out.extend(invalid(f"{at}.name", name, m) for m in names.is_qualified_name(name))
        if name and name in seen:
            out.append(duplicate(f"{at}.name", name))
        seen.add(name)
