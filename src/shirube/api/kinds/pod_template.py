"""PodTemplates: a template that stands by itself."""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.kinds.pod_defaults import default_pod_template
from shirube.api.kinds.pod_warnings import pod_warnings
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.pod_spec import validate_pod_template


class PodTemplateStrategy(Strategy):
    has_generation = True

    def default(self, obj: Obj) -> None:
        default_pod_template(obj.setdefault("template", {}))

    def spec_changed(self, obj: Obj, old: Obj) -> bool:
        return not semantic_equal(obj.get("template"), old.get("template"))

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        validate_pod_template(causes, obj["template"], "template")
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        validate_pod_template(causes, obj["template"], "template")
        return causes

    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        return pod_warnings(obj["template"].get("spec") or {}, "template.")
