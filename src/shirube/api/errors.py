"""Failures as the API words them: `ApiError` (a `Status`) and `Cause` (one field that is wrong).

Every way a request can fail has a constructor here whose code, reason and message are upstream's
(`k8s.io/apimachinery/pkg/api/errors` and `pkg/util/validation/field`), because clients match on them:
`client-go`'s `IsNotFound` reads the reason, people read the message. Validation collects `Cause`s
(`Cause.required("spec.a")`) and hands them to `invalid`; everything else raises one `ApiError`. The server
renders `status()` as the body of the answer and adds `headers` (Retry-After); the client makes the same
exception with `from_status`.

A `resource` argument is anything that names a resource: a `GVR`, a `Resource`, or text such as `"pods"`
and `"deployments.apps"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
IMMUTABLE = "field is immutable"

# a rejected value that the message does not repeat: upstream's field.OmitValueType
OMITTED: Any = type("Omitted", (), {"__repr__": lambda self: "OMITTED"})()

_TITLES = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}


# ---------------------------------------------------------------------------------------- causes


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object: `message` is without the field, as in `details.causes`."""

    reason: str
    message: str
    field: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def to_dict(self) -> Json:
        out: Json = {}
        if self.reason:
            out["reason"] = self.reason
        if self.message:
            out["message"] = self.message
        if self.field:
            out["field"] = self.field
        return out

    @staticmethod
    def required(path: str, detail: str = "") -> Cause:
        return _cause("FieldValueRequired", path, None, detail)

    @staticmethod
    def invalid(path: str, value: Any, detail: str) -> Cause:
        return _cause("FieldValueInvalid", path, show(value), detail)

    @staticmethod
    def immutable(path: str, value: Any) -> Cause:
        """`invalid` for a field that must stay as it was; `value` is the new one."""
        return _cause("FieldValueInvalid", path, show(value), IMMUTABLE)

    @staticmethod
    def not_supported(path: str, value: Any, supported: Iterable[str]) -> Cause:
        """Sets are sorted; sequences keep the order that they are given in."""
        values = sorted(supported) if isinstance(supported, set | frozenset) else list(supported)
        detail = "supported values: " + ", ".join(quote(v) for v in values) if values else ""
        return _cause("FieldValueNotSupported", path, show(value), detail)

    @staticmethod
    def duplicate(path: str, value: Any) -> Cause:
        return _cause("FieldValueDuplicate", path, show(value), "")

    @staticmethod
    def forbidden(path: str, detail: str) -> Cause:
        return _cause("FieldValueForbidden", path, None, detail)

    @staticmethod
    def too_long(path: str, limit: int) -> Cause:
        """`limit` is in bytes."""
        unit = "byte" if limit == 1 else "bytes"
        return _cause("FieldValueTooLong", path, None, f"may not be more than {limit} {unit}")

    @staticmethod
    def too_many(path: str, count: int, limit: int) -> Cause:
        unit = "item" if limit == 1 else "items"
        return _cause("FieldValueTooMany", path, str(count), f"must have at most {limit} {unit}")

    @staticmethod
    def not_found(path: str, value: Any) -> Cause:
        return _cause("FieldValueNotFound", path, show(value), "")

    @staticmethod
    def type_invalid(path: str, value: Any, detail: str) -> Cause:
        return _cause("FieldValueTypeInvalid", path, show(value), detail)

    @staticmethod
    def internal(path: str, detail: str) -> Cause:
        return _cause("InternalError", path, None, detail)


def _cause(reason: str, path: str, value: str | None, detail: str) -> Cause:
    message = _TITLES[reason]
    if value is not None:
        message += ": " + value
    if detail:
        message += ": " + detail
    return Cause(reason, message, path)


def quote(text: str) -> str:
    """Text in double quotes with escapes, as Go's `%q` prints it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    out = ['"']
    for c in text:
        if c in '"\\':
            out.append("\\" + c)
        elif c.isprintable():
            out.append(c)
        else:
            out.append(_GO_ESCAPES.get(c) or _code_point_escape(ord(c)))
    out.append('"')
    return "".join(out)


_GO_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


def _code_point_escape(code: int) -> str:
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def show(value: Any) -> str | None:
    """A rejected value as field errors print it: strings quoted, scalars plain, the rest as JSON; None for OMITTED."""
    if value is OMITTED:
        return None
    if isinstance(value, str):
        return quote(value)
    if value is None:
        return "null"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str, sort_keys=True)


# ---------------------------------------------------------------------------------------- statuses


class ApiError(Exception):
    """A request that failed: what its `Status` answer says.

    `details` is the Status' `details` object or None; `headers` go into the answer beside the body.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers if headers is not None else {}

    def status(self) -> Json:
        """The `Status` object (kind Status, version v1) that answers the request."""
        out: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        if self.message:
            out["message"] = self.message
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out

    @classmethod
    def from_status(cls, status: Json, code: int = 500) -> ApiError:
        """The exception behind a `Status` answer; `code` stands in when the Status has none."""
        details = status.get("details")
        return cls(
            int(status.get("code") or code),
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            details if isinstance(details, dict) else None,
        )

    @property
    def causes(self) -> list[Json]:
        return list((self.details or {}).get("causes") or ())

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the server asks to try again, if it does."""
        seconds = (self.details or {}).get("retryAfterSeconds")
        return seconds if isinstance(seconds, int) and seconds > 0 else None

    def __repr__(self) -> str:
        return f"ApiError({self.code}, {self.reason!r}, {self.message!r})"


def group_resource(resource: Any) -> tuple[str, str]:
    """(group, plural) of a GVR, a Resource, or text such as `deployments.apps`."""
    if isinstance(resource, str):
        plural, _, group = resource.partition(".")
        return group, plural
    named = getattr(resource, "resource", None)
    return resource.group, named if named is not None else resource.name


def _display(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(group: str, kind: str, name: str = "", **more: Any) -> Json:
    out: Json = {}
    if name:
        out["name"] = name
    if group:
        out["group"] = group
    if kind:
        out["kind"] = kind
    out.update((k, v) for k, v in more.items() if v)
    return out


def not_found(resource: Any, name: str) -> ApiError:
    group, plural = group_resource(resource)
    message = f"{_display(group, plural)} {quote(name)} not found"
    return ApiError(404, "NotFound", message, _details(group, plural, name))


def path_not_found() -> ApiError:
    """A URL that no resource is served at."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Any, name: str) -> ApiError:
    group, plural = group_resource(resource)
    message = f"{_display(group, plural)} {quote(name)} already exists"
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


def generate_name_conflict(resource: Any, name: str, retry_after: int = 1) -> ApiError:
    group, plural = group_resource(resource)
    message = (
        f"{_display(group, plural)} {quote(name)} already exists, the server was not able to generate a "
        "unique name for the object"
    )
    details = _details(group, plural, name, retryAfterSeconds=retry_after)
    return ApiError(409, "AlreadyExists", message, details, {"Retry-After": str(retry_after)})


def conflict(resource: Any, name: str, why: str = MODIFIED) -> ApiError:
    group, plural = group_resource(resource)
    message = f"Operation cannot be fulfilled on {_display(group, plural)} {quote(name)}: {why}"
    return ApiError(409, "Conflict", message, _details(group, plural, name))


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """A server-side apply that would take fields from others: (who, field path) pairs.

    `who` is the other manager as it is shown: `"kubectl" using apps/v1 at 2026-01-02T03:04:05Z`.
    """
    causes = [Cause("FieldManagerConflict", f"conflict with {who}", field) for who, field in conflicts]
    if len(conflicts) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        by_manager: dict[str, list[str]] = {}
        for who, field in conflicts:
            by_manager.setdefault(who, []).append(field)
        lines = []
        for who in sorted(by_manager):
            lines.append(f"conflicts with {who}:")
            lines.extend(f"- {field}" for field in by_manager[who])
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", message, {"causes": [c.to_dict() for c in causes]})


def aggregate(causes: Iterable[Cause]) -> str:
    """Causes in one line: the message itself when there is one, `[a, b]` when there are more."""
    messages = list(dict.fromkeys(str(c) for c in causes))
    return messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    message = f"{_display(group, kind)} {quote(name)} is invalid"
    if causes:
        message += ": " + aggregate(causes)
    details = _details(group, kind, name, causes=[c.to_dict() for c in causes])
    return ApiError(422, "Invalid", message, details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> ApiError:
    return ApiError(401, "Unauthorized", message)


def forbidden(resource: Any, name: str, why: str) -> ApiError:
    """`resource` is "" where a URL that is no resource was refused."""
    group, plural = group_resource(resource)
    if not plural:
        message = f"forbidden: {why}"
    elif not name:
        message = f"{_display(group, plural)} is forbidden: {why}"
    else:
        message = f"{_display(group, plural)} {quote(name)} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, _details(group, plural, name))


def method_not_allowed(resource: Any = "", action: str = "") -> ApiError:
    group, plural = group_resource(resource)
    if not plural:
        message = "the server does not allow this method on the requested resource"
        return ApiError(405, "MethodNotAllowed", message, {})
    message = f"{action} is not supported on resources of kind {quote(_display(group, plural))}"
    return ApiError(405, "MethodNotAllowed", message, _details(group, plural))


def not_acceptable(accepted: Iterable[str]) -> ApiError:
    message = "only the following media types are accepted: " + ", ".join(accepted)
    return ApiError(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    message = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(accepted))


def request_entity_too_large(detail: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {detail}")


def expired(message: str) -> ApiError:
    """410: the revision asked for is no longer held. Clients list anew."""
    return ApiError(410, "Expired", message)


def gone(message: str) -> ApiError:
    return ApiError(410, "Gone", message)


def too_many_requests(message: str, retry_after: int = 1) -> ApiError:
    """429. Evictions that a disruption budget refuses are of this kind too (`retry_after=0`)."""
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    details = {"retryAfterSeconds": retry_after} if retry_after else {}
    return ApiError(429, "TooManyRequests", message, details, headers)


def internal_error(message: str) -> ApiError:
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details)


def server_timeout(resource: Any, operation: str, retry_after: int = 0) -> ApiError:
    group, plural = group_resource(resource)
    message = (
        f"The {operation} operation against {_display(group, plural)} could not be completed at this time, "
        "please try again."
    )
    details = _details(group, plural, operation, retryAfterSeconds=retry_after)
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return ApiError(500, "ServerTimeout", message, details, headers)


def timeout(message: str, retry_after: int = 0) -> ApiError:
    details = {"retryAfterSeconds": retry_after} if retry_after else {}
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return ApiError(504, "Timeout", f"Timeout: {message}", details, headers)


def service_unavailable(message: str, retry_after: int = 0) -> ApiError:
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return ApiError(503, "ServiceUnavailable", message, None, headers)
