"""AdmissionReview (admission.k8s.io/v1, v1beta1): the question and the answer, as pure functions.

An answer is believed only when it is of the version that was asked, is about this very request and, where it
carries a patch, says that the patch is a JSON patch. Wordings are upstream's (`webhook/request`).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from shirube.api import errors
from shirube.api.errors import ApiError, quote
from shirube.apiserver.webhooks import matching

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.user import User

Json = dict[str, Any]

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")


class InvalidAnswer(Exception):
    """What came back is no answer to the question."""


class Verdict(NamedTuple):
    allowed: bool
    status: Json | None
    patch: Any  # a list of operations, or None
    warnings: list[str]
    annotations: dict[str, str] = {}  # noqa: RUF012 - never changed


def version_for(accepted: list[str] | None) -> str | None:
    """The version to ask in: the first that both sides know."""
    return next((v for v in accepted or () if v in VERSIONS), None)


def user_info(user: User) -> Json:
    out: Json = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = {key: list(values) for key, values in user.extra.items()}
    return out


def kind_of(resource: Resource, req: AdmissionRequest, obj: Json | None) -> Json:
    """group, version and kind of the object of a request: that of the resource, or the subresource's own."""
    kind, group, version = resource.kind, resource.group, resource.version
    declared = resource.subresources.get(req.subresource) if req.subresource else None
    if obj is not None and obj.get("kind") not in (None, resource.kind):
        kind = obj["kind"]
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
    elif declared is not None and obj is None:
        kind, group, version = declared.kind, declared.group or group, declared.version or version
    return {"group": group, "version": version, "kind": kind}


def _gvr(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "resource": resource.name}


def request_of(req: AdmissionRequest, uid: str, resource: Resource, obj: Json | None, old: Json | None) -> Json:
    """The `request` of a review; `obj` and `old` are in the version of `resource`."""
    shown = obj if obj is not None else old
    request: Json = {
        "uid": uid,
        "kind": kind_of(resource, req, shown),
        "resource": _gvr(resource),
        "requestKind": kind_of(req.requested, req, shown if resource is req.requested else None),
        "requestResource": _gvr(req.requested),
    }
    if req.subresource:
        request["subResource"] = request["requestSubResource"] = req.subresource
    name = req.name or ((shown or {}).get("metadata") or {}).get("name", "")
    if name:
        request["name"] = name
    if namespace := matching.namespace_of(req):
        request["namespace"] = namespace
    request |= {
        "operation": req.operation,
        "userInfo": user_info(req.user),
        "object": obj,
        "oldObject": old,
        "dryRun": req.dry_run,
        "options": req.options or None,
    }
    return request


def question(version: str, request: Json) -> bytes:
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request})


def answer(data: bytes, version: str, uid: str, *, mutating: bool) -> Verdict:
    """Raises InvalidAnswer."""
    try:
        review = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidAnswer(f"couldn't get version/kind; json parse error: {error}") from None
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise InvalidAnswer("webhook response was absent")
    if version == "v1":
        _check_envelope(review, response, uid, mutating)
    status, warnings, notes = response.get("status"), response.get("warnings"), response.get("auditAnnotations")
    return Verdict(
        response.get("allowed") is True,
        status if isinstance(status, dict) else None,
        _patch(response, version) if mutating else None,
        [w for w in warnings if isinstance(w, str)] if isinstance(warnings, list) else [],
        {k: v for k, v in notes.items() if isinstance(v, str)} if isinstance(notes, dict) else {},
    )


def _check_envelope(review: Json, response: Json, uid: str, mutating: bool) -> None:
    have = f"{review.get('apiVersion', '')}, Kind={review.get('kind', '')}"
    want = f"{GROUP}/v1, Kind=AdmissionReview"
    if have != want:
        raise InvalidAnswer(f"expected webhook response of {want}, got {have}")
    if response.get("uid") != uid:
        raise InvalidAnswer(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid', '')))}")
    if not mutating and response.get("patch"):
        raise InvalidAnswer("validating webhook may not return response.patch")
    if not mutating and response.get("patchType"):
        raise InvalidAnswer("validating webhook may not return response.patchType")


def _patch(response: Json, version: str) -> Any:
    text = response.get("patch")
    if not text:
        if version == "v1" and response.get("patchType"):
            raise InvalidAnswer("webhook returned response.patchType but not response.patch")
        return None
    kind = response.get("patchType")
    if version == "v1" and not kind:
        raise InvalidAnswer("webhook returned response.patch but not response.patchType")
    if version == "v1" and kind != "JSONPatch":
        raise InvalidAnswer(f"invalid value of response.patchType = {quote(str(kind))}: must be JSONPatch")
    try:
        return orjson.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidAnswer(f"cannot read response.patch: {error}") from None


def refusal(name: str, status: Json | None) -> ApiError:
    """What a webhook that says no answers the client with: its own status under its own name."""
    status = status or {}
    denied = f"admission webhook {quote(name)} denied the request"
    why = status.get("message") or status.get("reason")
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    details = status.get("details")
    return ApiError(
        code,
        str(status.get("reason") or ""),
        f"{denied}: {why}" if why else f"{denied} without explanation",
        details if isinstance(details, dict) else None,
    )


def no_dry_run(name: str) -> ApiError:
    return errors.bad_request(f"admission webhook {quote(name)} does not support dry run")
