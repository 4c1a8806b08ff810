"""APIServices: who answers for a group version.

Follows kube-aggregator's ``ValidateAPIService`` and its strategy.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required
from shirube.api.validation.object_meta import name_is_path_segment


class APIServiceStrategy(Strategy):
    qualified_finalizers = False
    allow_unconditional_update = False
    name_rule = staticmethod(name_is_path_segment)

    def default(self, obj: Obj) -> None:
        service = obj.setdefault("spec", {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}
        if obj["spec"].get("service") is None:
            condition = {
                "type": "Available",
                "status": "True",
                "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
                "reason": "Local",
                "message": "Local APIServices are always available",
            }
            obj["status"]["conditions"] = [condition]

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old) + _validate(obj)


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name", "")
    group, version, service = spec.get("group", ""), spec.get("version", ""), spec.get("service")
    wanted = f"{version}.{group}"
    if name != wanted and not (group == "" and name == f"{version}."):
        detail = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        causes.append(invalid("metadata.name", name, detail))
    if group:
        causes.extend(invalid("spec.group", group, m) for m in names.is_dns1123_subdomain(group))
    causes.extend(invalid("spec.version", version, m) for m in names.is_dns1035_label(version))
    for field, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
        value = spec.get(field, 0)
        if not 0 < value <= most:
            detail = f"must be positive and less than {most}"
            causes.append(invalid(f"spec.{field}", value, detail))
    if service is None:
        if spec.get("caBundle"):
            causes.append(
                invalid("spec.caBundle", f"{len(spec['caBundle'])} bytes", "local APIServices may not have a caBundle")
            )
        if spec.get("insecureSkipTLSVerify"):
            detail = "local APIServices may not have insecureSkipTLSVerify"
            causes.append(invalid("spec.insecureSkipTLSVerify", True, detail))
        return causes
    for field in ("namespace", "name"):
        if not service.get(field):
            causes.append(required(f"spec.service.{field}"))
    port = service.get("port", 443)
    causes.extend(invalid("spec.service.port", port, f"port is not valid: {m}") for m in names.is_port_number(port))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        detail = "may not be true if caBundle is present"
        causes.append(invalid("spec.insecureSkipTLSVerify", True, detail))
    return causes
