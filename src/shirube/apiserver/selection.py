"""Label and field selectors of a request: parsed, checked against what the kind can be selected by.

Selectable fields are those of the kind's strategy, and `metadata.name` and `metadata.namespace` of every kind.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from shirube.api import errors, selectors
from shirube.api.kinds import strategy_of

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.params import Params

_METADATA = ("metadata.name", "metadata.namespace")


class Selection(NamedTuple):
    labels: selectors.LabelSelector | None  # None: every label will do
    fields: selectors.FieldSelector | None

    @property
    def empty(self) -> bool:
        return self.labels is None and self.fields is None

    @property
    def name(self) -> str:
        """The only name that the field selector lets through; "" when it does not say."""
        return (self.fields.exact("metadata.name") or "") if self.fields is not None else ""


EVERYTHING = Selection(None, None)


def of(resource: Resource, params: Params) -> Selection:
    """Raises ApiError 400."""
    labels_text, fields_text = params.get("labelSelector"), params.get("fieldSelector")
    if not labels_text and not fields_text:
        return EVERYTHING
    labels = selectors.parse_label_selector(labels_text) if labels_text else None
    fields = selectors.parse_field_selector(fields_text) if fields_text else None
    if fields is not None and not fields.empty:
        known = selectable(resource)
        for requirement in fields.requirements:
            if requirement[0] not in known:
                raise errors.bad_request(_not_supported(resource, requirement[0]))
        if resource.storage != resource.gvr:
            fields = fields.transformed(_stored_field)
    return Selection(
        labels if labels is not None and not labels.empty else None,
        fields if fields is not None and fields.requirements else None,
    )


def _not_supported(resource: Resource, field: str) -> str:
    """Kinds with fields of their own say it in words of their own."""
    if resource.kind == "Job":
        return f'field label "{field}" not supported for Job'
    if resource.definition is not None or selectable(resource) > frozenset(_METADATA):
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _stored_field(field: str, value: str) -> tuple[str, str]:
    """A field of events.k8s.io by its name in the stored version."""
    if field.startswith("regarding."):
        return "involvedObject." + field.removeprefix("regarding."), value
    return ("reportingComponent" if field == "reportingController" else field), value


@lru_cache(maxsize=1024)
def selectable(resource: Resource) -> frozenset[str]:
    """The fields that objects of this resource can be selected by."""
    empty = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
    return frozenset((*_METADATA, *strategy_of(resource).selectable_fields(empty)))


def named(chosen: Selection, name: str) -> Selection:
    """The same, of the object `name` alone."""
    more = selectors.parse_field_selector(f"metadata.name={name}").requirements
    fields = [*(chosen.fields.requirements if chosen.fields is not None else ()), *more]
    return Selection(chosen.labels, selectors.FieldSelector(fields))
