"""Request bodies to objects: limits, media types, kind and version, types, unknown and duplicate fields.

What comes out is a plain object of the expected kind whose values have the types of the schema, without nulls
and unknown fields. `fieldValidation` decides whether those that were dropped are an error (Strict), a warning
(Warn, the default) or nothing (Ignore). Errors are worded as upstream's decoder does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shirube.api import decode, errors, schema
from shirube.api.crd import pruning
from shirube.apiserver.negotiation import ACCEPTED, JSON, PROTOBUF, YAML, media_type
from shirube.serving.messages import BodyTooLarge

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext

Json = dict[str, Any]

LIMIT = 3 * 1024 * 1024  # bytes, as upstream
FIELD_VALIDATION = ("Ignore", "Strict", "Warn")


async def read(rc: RequestContext, limit: int = LIMIT) -> bytes:
    """The raw body. Raises ApiError 413."""
    try:
        data = await rc.request.read(limit)
    except BodyTooLarge:
        raise errors.request_entity_too_large(f"limit is {limit}") from None
    if rc.audit is not None:
        rc.audit.sent(data, media_type(rc.request.headers.get("content-type")))
    return data


async def body_of_kind(rc: RequestContext, group: str, version: str, kind: str) -> Json:
    """The request's object; its apiVersion and kind are checked or filled in. Raises ApiError."""
    data = await read(rc)
    return parse(rc, data, media_type(rc.request.headers.get("content-type")), group, version, kind)


async def optional_body_of_kind(rc: RequestContext, group: str, version: str, kind: str) -> Json | None:
    data = await read(rc)
    if not data:
        return None
    return parse(rc, data, media_type(rc.request.headers.get("content-type")), group, version, kind)


_OPTIONS = {"PUT": "UpdateOptions", "PATCH": "PatchOptions"}


def field_validation(rc: RequestContext) -> str:
    directive = rc.params.get("fieldValidation") or "Warn"
    if directive not in FIELD_VALIDATION:
        cause = errors.Cause.not_supported("fieldValidation", directive, FIELD_VALIDATION)
        kind = _OPTIONS.get(rc.request.method, "CreateOptions")
        raise errors.invalid("meta.k8s.io", kind, "", [cause])
    return directive


def parse(rc: RequestContext, data: bytes, media: str, group: str, version: str, kind: str) -> Json:
    if media == PROTOBUF:
        from shirube.api import protobuf

        obj = protobuf.decode(data, (f"{group}/{version}" if group else version, kind))
        check_kind(obj, group, version, kind)
        return _with_metadata(obj)
    if media not in (JSON, "", YAML):
        raise errors.unsupported_media_type(ACCEPTED)
    try:
        obj = decode.yaml_body(data) if media == YAML else decode.json_body(data)
        if obj is None:
            obj = {}  # null leaves everything out
        if not isinstance(obj, dict):
            raise errors.bad_request(
                f"couldn't get version/kind; json parse error: json: cannot unmarshal {json_kind(obj)} "
                "into Go value of type struct { APIVersion string; Kind string }"
            )
    except errors.ApiError as error:
        if error.code != 400:
            raise
        what = f"the object provided is unrecognized (must be of type {kind})"
        raise errors.bad_request(f"{what}: {error.message} ({_summary(data)})") from None
    check_kind(obj, group, version, kind)
    return validated(rc, obj, group, version, kind, data, media)


def parse_options(data: bytes, media: str) -> Json:
    """DeleteOptions, of any group: every client sends those of its own. Raises ApiError 400."""
    if media == PROTOBUF:
        from shirube.api import protobuf

        return protobuf.decode(data, ("v1", "DeleteOptions"))
    obj = decode.yaml_body(data) if media == YAML else decode.json_body(data)
    if not isinstance(obj, dict):
        raise errors.bad_request("DeleteOptions must be an object")
    if obj.get("kind") not in (None, "", "DeleteOptions"):
        raise errors.bad_request(f"decoded object cannot be converted to DeleteOptions: {obj['kind']}")
    return obj


def validated(
    rc: RequestContext,
    obj: Json,
    group: str,
    version: str,
    kind: str,
    text: bytes = b"",
    media: str = JSON,
    patch: bytes | None = None,
    twice: Sequence[str] = (),
) -> Json:
    """Types checked, unknown fields dealt with. `text` is what it came from, to find duplicate fields in; `patch` is
    what it was made with, whose fault upstream calls "invalid" rather than "bad", `twice` the fields that it has
    more than once."""
    directive = field_validation(rc)
    served = rc.server.table.by_kind(group, version, kind)
    if served is not None and served.definition is not None:
        keys = schema.count_keys(obj)
        unknown, bad = pruning.prune(_with_metadata(obj), served.definition.node)
    else:
        try:
            obj, unknown, wrong, keys = schema.check_counting(group, version, kind, obj)
        except KeyError:  # a kind without schema: types are its handler's business
            return _with_metadata(obj)
        bad = [error.message for error in wrong]
    if bad:
        raise cannot_handle(kind, version, bad[0])
    problems = [f'duplicate field "{path}"' for path in twice] + [f'unknown field "{path}"' for path in unknown]
    if directive != "Ignore":
        if media == YAML:
            problems += decode.yaml_duplicates(text)
        elif text and decode.may_have_duplicates(text, keys):
            problems += [f'duplicate field "{path}"' for path in decode.duplicates(text)]
        if problems and directive == "Strict":
            why = "strict decoding error: " + ", ".join(problems)
            if patch is not None:
                shown = patch.decode(errors="replace")
                raise errors.invalid("", "", "", [errors.Cause.invalid("patch", shown, why)])
            raise cannot_handle(kind, version, why)
        rc.warnings += problems
    return _with_metadata(obj)


def _with_metadata(obj: Json) -> Json:
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    return obj


def cannot_handle(kind: str, version: str, why: str) -> errors.ApiError:
    return errors.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def check_kind(obj: Json, group: str, version: str, kind: str) -> None:
    """Fill in or compare apiVersion and kind. Raises ApiError 400."""
    expected = f"{group}/{version}" if group else version
    api_version = obj.get("apiVersion")
    if not api_version:
        obj["apiVersion"] = expected
    elif api_version != expected:
        raise errors.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )
    found = obj.get("kind")
    if not found:
        obj["kind"] = kind
    elif found != kind:
        raise errors.bad_request(
            f'{found} in version "{version}" cannot be handled as a {kind}: '
            f"the body's kind is not the one that this path serves"
        )


def _summary(data: bytes) -> str:
    """The beginning of a body that nobody understands."""
    if not data:
        return "<empty>"
    start = data[:30]
    shown = start.decode(errors="replace") if data[:1] == b"{" else start.hex()
    return shown if len(data) <= 30 else f"{shown} ..."


def json_kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    return "null" if value is None else "number"
