"""Events: what happened to an object. Kept in core form, served in both groups.

Writers of events.k8s.io/v1 must fill in the new fields; the core group accepts what old clients send.
Follows core's ``legacyValidateEvent``, ``ValidateEventCreate`` and ``pkg/registry/core/event/strategy.go``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required, too_long
from shirube.api.validation.object_meta import immutable

_MAX_REASON = 128
_MAX_ACTION = 128
_MAX_NOTE = 1024
_MAX_INSTANCE = 128


class CoreEventStrategy(Strategy):
    allow_create_on_update = True

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
        return super().validate(obj) + _validate_new_style(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        fields = {"involvedObject": "regarding", "message": "note"}
        for field in (
            "involvedObject", "reason", "message", "type", "action", "eventTime",
            "related", "reportingComponent", "reportingInstance",
        ):  # fmt: skip
            causes += immutable(obj.get(field), old.get(field), fields.get(field, field))
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        fields = super().selectable_fields(obj)
        renamed = {k.replace("involvedObject.", "regarding."): v for k, v in fields.items()}
        return {**fields, **renamed, "reportingController": fields["reportingComponent"]}


def _validate(obj: Obj) -> list[Cause]:
    """The namespace of an event is that of its object; objects of the cluster report in "default"."""
    about, namespace = obj.get("involvedObject") or {}, obj["metadata"].get("namespace", "")
    wanted = about.get("namespace", "")
    if not wanted:
        if namespace not in ("", "default"):
            return [invalid("involvedObject.namespace", wanted, "does not match event.namespace")]
    elif wanted != namespace:
        return [invalid("involvedObject.namespace", wanted, "does not match event.namespace")]
    return []


def _validate_new_style(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if not obj.get("eventTime"):
        causes.append(required("eventTime"))
    controller, instance = obj.get("reportingComponent", ""), obj.get("reportingInstance", "")
    if not controller:
        causes.append(required("reportingController"))
    causes.extend(invalid("reportingController", controller, m) for m in names.is_qualified_name(controller))
    if not instance:
        causes.append(required("reportingInstance"))
    if len(instance) > _MAX_INSTANCE:
        causes.append(too_long("reportingInstance", _MAX_INSTANCE))
    for field, limit in (("action", _MAX_ACTION), ("reason", _MAX_REASON)):
        value = obj.get(field, "")
        if not value:
            causes.append(required(field))
        if len(value) > limit:
            causes.append(too_long(field, limit))
    if len(obj.get("message", "")) > _MAX_NOTE:
        causes.append(too_long("message", _MAX_NOTE))
    if obj.get("type", "") not in ("Normal", "Warning"):
        causes.append(invalid("type", obj.get("type", ""), "has invalid value: " + repr(obj.get("type", ""))))
    return causes
