"""Audit events (`audit.k8s.io/v1` Event): from what was recorded of a request to one line of JSON.

Runs in the writer's thread: bodies are decoded, trimmed and embedded here, never on the event loop. Nothing is taken
out of bodies but managed fields where the policy says so: as upstream, what must not be written (secrets, token
reviews) is logged at the level Metadata by the policy.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from shirube.api import decode
from shirube.api.errors import ApiError
from shirube.apiserver.audit.policy import LEVELS, METADATA, REQUEST, REQUEST_RESPONSE
from shirube.apiserver.negotiation import JSON, PROTOBUF, YAML
from shirube.foundation.clock import rfc3339_micro

Json = dict[str, Any]

MAX_USER_AGENT = 1024
MAX_RESPONSE = 16 << 20  # bytes of an answer that are written down
_APPLY = "application/apply-patch+yaml"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(slots=True)
class Body:
    """Bytes as they travelled."""

    data: bytes
    media: str = JSON
    gzip: bool = False


@dataclass(slots=True)
class Record:
    """What is known of a request, complete enough to make its events at any stage."""

    level: int
    omitted: frozenset[str]
    omit_managed_fields: bool
    head: Json  # what all stages show; never changed, only replaced: the writer's thread reads it
    received: float
    ref: Json | None = None
    request: Body | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    long: bool = False  # its answer goes on for as long as the client wants

    def sent(self, data: bytes, media: str) -> None:
        """The request's body has been read."""
        self.request = Body(data, media)


def source_ips(forwarded: str | None, real: str | None, peer: str) -> list[str]:
    """As upstream: everybody who claims to have passed the request on, then who did."""
    ips = [ip.strip() for ip in (forwarded or "").split(",") if _is_address(ip.strip())]
    if real and _is_address(real) and real not in ips:
        ips.append(real)
    if peer and (not ips or ips[-1] != peer):
        ips.append(peer)
    return ips


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def line(
    record: Record,
    stage: str,
    at: float,
    head: Json,
    request: Body | None = None,
    status: int = 0,
    answer: Body | None = None,
    annotations: dict[str, str] | None = None,
    message: str = "",
) -> bytes:
    """One event, ending in a newline. `head` and `request` as they were at the stage; `status` 0: no answer yet."""
    event: Json = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": LEVELS[record.level],
        "auditID": head["auditID"],
        "stage": stage,
        **{key: value for key, value in head.items() if key != "auditID"},
    }
    sent = _decoded(request) if request is not None and request.data else None
    if record.ref is not None:
        event["objectRef"] = _completed(record.ref, sent)
    if status:
        shown = _status(answer)
        event["responseStatus"] = {"metadata": {}, **(shown or {}), "code": status}
        if message:
            event["responseStatus"] |= {"status": "Failure", "message": message}
    if record.level >= REQUEST and sent is not None:
        event["requestObject"] = _trimmed(sent, record.omit_managed_fields)
    if record.level >= REQUEST_RESPONSE and answer is not None:
        made = _decoded(answer)
        if made is not None:
            event["responseObject"] = _trimmed(made, record.omit_managed_fields)
    event["requestReceivedTimestamp"] = rfc3339_micro(record.received)
    event["stageTimestamp"] = rfc3339_micro(at)
    if annotations:
        event["annotations"] = annotations
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _decoded(body: Body) -> Any:
    """The value of a body; None when it is none."""
    data = body.data
    try:
        if body.gzip:
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            data = inflate.decompress(data, MAX_RESPONSE)
            if inflate.unconsumed_tail:
                return None
        if body.media in (JSON, "", *_PATCHES):
            return orjson.loads(data)
        if body.media in (YAML, _APPLY):
            return decode.yaml_body(data)
        if body.media == PROTOBUF:
            from shirube.api import protobuf

            return protobuf.decode(data)
    except (ApiError, ValueError, zlib.error):
        return None  # the request has been, or will be, answered with what is wrong about it
    return None


def _completed(ref: Json, sent: Any) -> Json:
    """The reference with what the object that was sent says of itself."""
    meta = sent.get("metadata") if isinstance(sent, dict) else None
    if not isinstance(meta, dict):
        return ref
    ref = dict(ref)
    for key in ("namespace", "name", "uid", "resourceVersion"):
        value = meta.get(key)
        if isinstance(value, str) and value and not ref.get(key):
            ref[key] = value
    return ref


def _status(answer: Body | None) -> Json | None:
    """The fields of a Status that was answered."""
    if answer is None or b"Status" not in answer.data[:256]:
        return None
    found = _decoded(answer)
    if not isinstance(found, dict) or found.get("kind") != "Status" or found.get("apiVersion") != "v1":
        return None
    return {key: found[key] for key in ("status", "message", "reason", "details") if found.get(key)}


def _trimmed(value: Any, omit: bool) -> Any:
    if not omit or not isinstance(value, dict):
        return value
    value = _without_managed_fields(value)
    if isinstance(value.get("items"), list):
        value["items"] = [_without_managed_fields(item) for item in value["items"]]
    if isinstance(value.get("rows"), list):
        for row in value["rows"]:
            if isinstance(row, dict) and isinstance(row.get("object"), dict):
                row["object"] = _without_managed_fields(row["object"])
    return value


def _without_managed_fields(obj: Any) -> Any:
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if isinstance(meta, dict):
        meta.pop("managedFields", None)
    return obj


__all__ = ["MAX_RESPONSE", "METADATA", "Body", "Record", "line", "source_ips"]
