"""Events: what happened to an object. Kept in core form, served in both groups.

Writers of events.k8s.io/v1 must fill in the new fields; the core group accepts what old clients send.
Follows core's ``legacyValidateEvent``, ``ValidateEventCreate`` and ``pkg/registry/core/event/strategy.go``.
"""

from __future__ import annotations

from typing import Any

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import invalid, required
from shirube.api.validation.object_meta import immutable

_MAX_TEXT = 128
_MAX_NOTE = 1024


class CoreEventStrategy(Strategy):
    allow_create_on_update = True
    default_propagation = ""

    def default(self, obj: Obj) -> None:
        # the decoded object always carries these two in upstream's answers
        obj.setdefault("source", {})
        obj.setdefault("reportingComponent", "")
        obj.setdefault("reportingInstance", "")

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        about, source = obj.get("involvedObject") or {}, obj.get("source") or {}
        component = obj.get("reportingComponent", "")
        return {
            "involvedObject.kind": about.get("kind", ""),
            "involvedObject.namespace": about.get("namespace", ""),
            "involvedObject.name": about.get("name", ""),
            "involvedObject.uid": about.get("uid", ""),
            "involvedObject.apiVersion": about.get("apiVersion", ""),
            "involvedObject.resourceVersion": about.get("resourceVersion", ""),
            "involvedObject.fieldPath": about.get("fieldPath", ""),
            "reason": obj.get("reason", ""),
            "reportingComponent": component,
            "source": source.get("component", "") or component,
            "type": obj.get("type", ""),
        }


class EventStrategy(CoreEventStrategy):
    """Events written through events.k8s.io/v1: the fields that its clients select and fill differ in name."""

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj) + _validate_series(obj)
        if not obj.get("eventTime"):
            causes.append(required("eventTime"))
        if obj.get("type", "") not in ("Normal", "Warning"):
            causes.append(invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
        old_fields = {f: obj.get(f) for f in ("firstTimestamp", "lastTimestamp", "count")}
        old_fields["source"] = any((obj.get("source") or {}).values())
        return causes + [invalid(f, "", "needs to be unset") for f, value in old_fields.items() if value]

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        if not semantic_equal(obj.get("series"), old.get("series")):
            causes += _validate_series(obj)
        for field, zero in _FIXED.items():
            name = "reportingController" if field == "reportingComponent" else field
            causes += immutable(obj.get(field) or zero, old.get(field) or zero, name)
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        fields = super().selectable_fields(obj)
        renamed = {k.replace("involvedObject.", "regarding."): v for k, v in fields.items()}
        return {**fields, **renamed, "reportingController": fields["reportingComponent"]}


_FIXED: dict[str, Any] = {
    "involvedObject": {}, "reason": "", "message": "", "source": {}, "firstTimestamp": None, "lastTimestamp": None,
    "count": 0, "type": "", "eventTime": None, "action": "", "related": None, "reportingComponent": "",
    "reportingInstance": "",
}  # fmt: skip


def _validate(obj: Obj) -> list[Cause]:
    """What both groups want: more of an event that tells its eventTime, which older writers do not."""
    about, namespace = obj.get("involvedObject") or {}, obj["metadata"].get("namespace", "")
    wanted = about.get("namespace", "")
    causes: list[Cause] = []
    if not obj.get("eventTime"):
        # objects of the cluster report in "default"
        if wanted != namespace and (wanted or namespace not in ("", "default")):
            causes.append(invalid("involvedObject.namespace", wanted, "does not match event.namespace"))
        return causes
    if not wanted and namespace not in ("default", "kube-system"):
        causes.append(invalid("involvedObject.namespace", wanted, "does not match event.namespace"))
    controller = obj.get("reportingComponent", "")
    if not controller:
        causes.append(required("reportingController"))
    causes.extend(invalid("reportingController", controller, m) for m in names.is_qualified_name(controller))
    for field in ("reportingInstance", "action", "reason"):
        text = obj.get(field, "")
        if not text:
            causes.append(required(field))
        if len(text.encode()) > _MAX_TEXT:
            causes.append(invalid(field, "", f"can have at most {_MAX_TEXT} characters"))
    if len(obj.get("message", "").encode()) > _MAX_NOTE:
        causes.append(invalid("message", "", f"can have at most {_MAX_NOTE} characters"))
    return causes


def _validate_series(obj: Obj) -> list[Cause]:
    series, causes = obj.get("series"), []
    if series is not None:
        if series.get("count", 0) < 2:
            causes.append(invalid("series.count", "", "should be at least 2"))
        if not series.get("lastObservedTime"):
            causes.append(required("series.lastObservedTime"))
    return causes
