"""Validation of resource requests and limits.

Follows core's ``ValidateResourceRequirements`` and ``pkg/apis/core/helper``. Names are judged once and
remembered; quantities are parsed with a cache, because the pods of one template repeat them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from shirube.api import names, quantity
from shirube.api.quantity import Quantity
from shirube.api.validation.field import Cause, duplicate, forbidden, invalid, not_found, required

Obj = Mapping[str, Any]

NOT_INTEGER = "must be an integer"
NOT_NEGATIVE = "must be greater than or equal to 0"

_CONTAINER_RESOURCES = {"cpu", "memory", "ephemeral-storage"}
_STANDARD_RESOURCES = {
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage",
    "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services",
    "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "storage",
    "requests.storage", "services.nodeports", "services.loadbalancers",
}  # fmt: skip
_INTEGER_RESOURCES = {
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
    "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
}  # fmt: skip


@lru_cache(maxsize=8192)
def parse(text: str) -> Quantity | None:
    """The quantity, or None when the text is none."""
    try:
        return quantity.parse(text)
    except ValueError:
        return None


def parse_any(value: str | int | float) -> Quantity | None:
    """Like ``parse``, for values that JSON may also give as numbers."""
    return parse(value if isinstance(value, str) else str(value))


def is_huge_page(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    """Whether Kubernetes itself defines the resource."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether the name is that of a resource which a device plugin or the user defines."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.is_qualified_name(f"requests.{name}")


def is_standard(name: str) -> bool:
    return name in _STANDARD_RESOURCES or is_huge_page(name)


def is_integer(name: str) -> bool:
    return name in _INTEGER_RESOURCES or is_extended(name)


@lru_cache(maxsize=1024)
def resource_name_messages(name: str) -> tuple[str, ...]:
    """What is wrong with any resource name."""
    messages = names.is_qualified_name(name)
    if not messages and "/" not in name and not is_standard(name):
        messages = ["must be a standard resource type or fully qualified"]
    return tuple(messages)


@lru_cache(maxsize=1024)
def container_resource_messages(name: str) -> tuple[str, ...]:
    """What is wrong with the name of a resource that a container asks for."""
    messages = list(resource_name_messages(name))
    if "/" not in name:
        if name not in _CONTAINER_RESOURCES and not is_huge_page(name):
            messages.append("must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        messages.append("doesn't follow extended resource name standard")
    return tuple(messages)


def _why_not(text: str) -> str:
    try:
        quantity.parse(text)
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=8192)
def quantity_messages(name: str, text: str) -> tuple[str, ...]:
    """What is wrong with an amount of a resource."""
    parsed = parse(text)
    if parsed is None:
        return (_why_not(text),)
    messages = []
    milli = quantity.milli(parsed)
    if milli < 0:
        messages.append(NOT_NEGATIVE)
    if milli % 1000 and is_integer(name):
        messages.append(NOT_INTEGER)
    return tuple(messages)


def validate_quantity(name: str, value: Any, path: str) -> list[Cause]:
    """An amount of the named resource: not negative, whole where parts make no sense."""
    text = value if isinstance(value, str) else str(value)
    return [invalid(path, text, message) for message in quantity_messages(name, text)]


def validate_requirements(out: list[Cause], resources: Obj, path: str, claim_names: Collection[str] = ()) -> None:
    """Requests and limits of a container: names, amounts, and requests within limits."""
    limits: Obj = resources.get("limits") or {}
    requests: Obj = resources.get("requests") or {}
    for field, values in (("limits", limits), ("requests", requests)):
        for name, value in values.items():
            text = value if isinstance(value, str) else str(value)
            if messages := container_resource_messages(name):
                out.extend(invalid(f"{path}.{field}[{name}]", name, m) for m in messages)
            if messages := quantity_messages(name, text):
                out.extend(invalid(f"{path}.{field}[{name}]", text, m) for m in messages)
            elif is_huge_page(name) and not _whole_pages(name, text):
                detail = f"{text} is not positive integer multiple of {name}"
                out.append(invalid(f"{path}.{field}[{name}]", text, detail))
    for name, value in requests.items():
        _validate_request(out, name, value, limits.get(name), path)
    if limits or requests:
        names_used = limits.keys() | requests.keys()
        if any(is_huge_page(n) for n in names_used) and not names_used & {"cpu", "memory"}:
            out.append(forbidden(path, "HugePages require cpu or memory"))
    if claims := resources.get("claims"):
        _validate_claims(out, claims, f"{path}.claims", claim_names)


def _whole_pages(name: str, amount: str) -> bool:
    """Whether the amount is a number of pages of the size that the resource is named after."""
    size, value = parse(name.removeprefix("hugepages-")), parse(amount)
    if size is None or value is None or size.nanos <= 0:
        return False
    return value.nanos >= 0 and value.nanos % size.nanos == 0


def _validate_request(out: list[Cause], name: str, value: Any, limit: Any, path: str) -> None:
    overcommit = is_native(name) and not is_huge_page(name)
    if limit is None:
        if not overcommit:
            out.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        return
    if value == limit:
        return
    asked, most = parse_any(value), parse_any(limit)
    if asked is None or most is None:
        return
    order = quantity.cmp(asked, most)
    if order != 0 and not overcommit:
        out.append(invalid(f"{path}.requests", str(value), f"must be equal to {name} limit of {limit}"))
    elif order > 0:
        out.append(invalid(f"{path}.requests", str(value), f"must be less than or equal to {name} limit of {limit}"))


def _validate_claims(out: list[Cause], claims: list[Obj], path: str, known: Collection[str]) -> None:
    seen = set()
    for i, claim in enumerate(claims):
        name = claim.get("name", "")
        if not name:
            out.append(required(f"{path}[{i}]"))
            continue
        at = (name, claim.get("request", ""))
        if at in seen:
            out.append(duplicate(f"{path}[{i}]", "/".join(filter(None, at))))
        seen.add(at)
        if name not in known:
            cause = not_found(f"{path}[{i}]", name)
            which = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"{cause.message}: must be one of the names in pod.spec.resourceClaims{which}"
            out.append(Cause(cause.reason, detail, cause.field))
