"""CustomResourceDefinitions: names, versions, and the shape of their schemas.

Names are accepted and the API is established by the server's own controller, in the status.
Follows apiextensions' defaults and ``ValidateCustomResourceDefinition``.
"""

from __future__ import annotations

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, invalid, not_supported, required, too_many
from shirube.api.validation.object_meta import immutable
from shirube.api.validation.webhooks import validate_client_config

_MAX_SELECTABLE = 8
_SCOPES = ["Cluster", "Namespaced"]
_APPROVAL = "api-approved.kubernetes.io"
_COLUMN_TYPES = ["boolean", "date", "integer", "number", "string"]


class CustomResourceDefinitionStrategy(Strategy):
    qualified_finalizers = False
    allow_unconditional_update = False
    has_generation = True

    def default(self, obj: Obj) -> None:
        spec = obj.setdefault("spec", {})
        given = spec.setdefault("names", {})
        if not given.get("singular"):
            given["singular"] = given.get("kind", "").lower()
        if not given.get("listKind") and given.get("kind"):
            given["listKind"] = f"{given['kind']}List"
        conversion = spec.setdefault("conversion", {})
        if not conversion.get("strategy"):
            conversion["strategy"] = "None"
        service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        stored = [v.get("name", "") for v in obj["spec"].get("versions") or () if v.get("storage")]
        empty = {"kind": "", "plural": ""}
        obj["status"] = {"conditions": [], "acceptedNames": empty, "storedVersions": stored}

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        stored = list((old.get("status") or {}).get("storedVersions") or ())
        for version in obj["spec"].get("versions") or ():
            if version.get("storage") and version.get("name") not in stored:
                stored.append(version.get("name"))
                obj["status"] = {**(old.get("status") or {}), "storedVersions": stored}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        _validate(causes, obj)
        _validate_schemas(causes, obj["spec"].get("versions") or [])
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        _validate(causes, obj)
        spec, before = obj["spec"], old["spec"]
        if spec.get("versions") != before.get("versions"):
            _validate_schemas(causes, spec.get("versions") or [])
        established = any(
            c.get("type") == "Established" and c.get("status") == "True"
            for c in (old.get("status") or {}).get("conditions") or ()
        )
        if established:
            causes += immutable(spec.get("scope"), before.get("scope"), "spec.scope")
            causes += immutable(spec["names"].get("kind"), before["names"].get("kind"), "spec.names.kind")
        causes += immutable(spec.get("group"), before.get("group"), "spec.group")
        causes += immutable(spec["names"].get("plural"), before["names"].get("plural"), "spec.names.plural")
        served = {v.get("name") for v in spec.get("versions") or ()}
        for i, version in enumerate((old.get("status") or {}).get("storedVersions") or ()):
            if version not in served:
                detail = (
                    f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                    "spec.versions until a storage migration ensures no data remains persisted in "
                    f"{version} and removes {version} from status.storedVersions"
                )
                causes.append(invalid(f"status.storedVersions[{i}]", version, detail))
        return causes

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old)
        _validate_stored(causes, obj)
        return causes


def _validate_stored(causes: list[Cause], obj: Obj) -> None:
    """Versions that objects may be stored in are versions of the definition, the one that is written among them."""
    stored = (obj.get("status") or {}).get("storedVersions") or []
    versions = obj["spec"].get("versions") or []
    if not stored:
        causes.append(invalid("status.storedVersions", stored, "must have at least one stored version"))
        return
    names_of = {v.get("name") for v in versions}
    for i, version in enumerate(stored):
        if version not in names_of:
            causes.append(invalid(f"status.storedVersions[{i}]", version, "must appear in spec.versions"))
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            detail = f"must have the storage version {version.get('name')}"
            causes.append(invalid("status.storedVersions", stored, detail))


def _validate(causes: list[Cause], obj: Obj) -> None:
    spec = obj["spec"]
    given, group, name = spec.get("names") or {}, spec.get("group", ""), obj["metadata"].get("name", "")
    if name != f"{given.get('plural', '')}.{group}":
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    _validate_group(causes, obj, group)
    if spec.get("scope") not in _SCOPES:
        at = "spec.scope"
        causes.append(not_supported(at, spec["scope"], _SCOPES) if spec.get("scope") else required(at))
    if spec.get("preserveUnknownFields"):
        detail = "must be false in order to use defaults in the schema"
        causes.append(invalid("spec.preserveUnknownFields", True, detail))
    _validate_versions(causes, spec.get("versions") or [])
    _validate_names(causes, given, "spec.names")
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        webhook = conversion.get("webhook") or {}
        if not webhook.get("clientConfig"):
            at = "spec.conversion.webhook.clientConfig"
            causes.append(required(at, "required when strategy is set to Webhook"))
        else:
            validate_client_config(causes, webhook["clientConfig"], "spec.conversion.webhook.clientConfig")
        spoken, at = webhook.get("conversionReviewVersions"), "spec.conversion.webhook.conversionReviewVersions"
        if not spoken:
            causes.append(required(at))
        elif not {"v1", "v1beta1"} & set(spoken):
            causes.append(invalid(at, spoken, "must include at least one of v1, v1beta1"))
    elif conversion.get("strategy") != "None":
        at = "spec.conversion.strategy"
        causes.append(not_supported(at, conversion.get("strategy", ""), ["None", "Webhook"]))


def _validate_group(causes: list[Cause], obj: Obj, group: str) -> None:
    if not group:
        causes.append(required("spec.group"))
        return
    causes.extend(invalid("spec.group", group, m) for m in names.is_dns1123_subdomain(group))
    if "." not in group:
        causes.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    protected = group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))
    if protected and not (obj["metadata"].get("annotations") or {}).get(_APPROVAL):
        detail = (
            f'protected groups must have approval annotation "{_APPROVAL}", see '
            "https://github.com/kubernetes/enhancements/pull/1111"
        )
        causes.append(required("metadata.annotations[api-approved.kubernetes.io]", detail))


def _validate_versions(causes: list[Cause], versions: list[Obj]) -> None:
    found = [v.get("name", "") for v in versions]
    for i, version in enumerate(versions):
        at = f"spec.versions[{i}]"
        causes.extend(invalid(f"{at}.name", found[i], m) for m in names.is_dns1035_label(found[i]))
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            causes.append(required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
        _validate_subresources(causes, version.get("subresources") or {}, f"{at}.subresources")
        _validate_selectable(causes, version, at)
        for j, column in enumerate(version.get("additionalPrinterColumns") or ()):
            where = f"{at}.additionalPrinterColumns[{j}]"
            for field in ("name", "jsonPath"):
                if not column.get(field):
                    causes.append(required(f"{where}.{field}"))
            if column.get("type") not in _COLUMN_TYPES:
                causes.append(not_supported(f"{where}.type", column.get("type", ""), _COLUMN_TYPES))
    if len(set(found)) != len(found):
        causes.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(1 for v in versions if v.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        causes.append(invalid("spec.versions", versions, detail))


def _validate_schemas(causes: list[Cause], versions: list[Obj]) -> None:
    """One schema that all versions share is reported once, as upstream's internal form has it."""
    from shirube.api.crd import schema_rules  # rules bring the expression engine: only who defines pays for it

    schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in versions]
    if len(schemas) > 0 and all(schema == schemas[0] for schema in schemas):
        schemas = schemas[:1]
        paths = ["spec.validation.openAPIV3Schema"]
    else:
        paths = [f"spec.versions[{i}].schema.openAPIV3Schema" for i in range(len(schemas))]
    for schema, path in zip(schemas, paths, strict=True):
        if schema is not None:
            causes += schema_rules.validate(schema, path)


def _validate_subresources(causes: list[Cause], parts: Obj, at: str) -> None:
    scale = parts.get("scale")
    if scale is None:
        return
    for field, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        path = scale.get(field, "")
        if not path:
            if field != "labelSelectorPath":
                causes.append(required(f"{at}.scale.{field}"))
        elif not path.startswith(roots) or "[" in path or "{" in path:
            where = " or ".join(root.rstrip(".") for root in roots)
            causes.append(invalid(f"{at}.scale.{field}", path, f"should be a json path under {where}"))


def _validate_selectable(causes: list[Cause], version: Obj, at: str) -> None:
    fields = version.get("selectableFields") or []
    if len(fields) > _MAX_SELECTABLE:
        causes.append(too_many(f"{at}.selectableFields", len(fields), _MAX_SELECTABLE))
    seen = set()
    for j, field in enumerate(fields):
        where, path = f"{at}.selectableFields[{j}].jsonPath", field.get("jsonPath", "")
        if not path:
            causes.append(required(where))
            continue
        if path in seen:
            causes.append(duplicate(where, path))
        seen.add(path)
        found = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        for name in path.removeprefix(".").split("."):
            found = (found.get("properties") or {}).get(name) or {}
        if not path.startswith(".") or "[" in path:
            causes.append(invalid(where, path, "is an invalid path: must be a simple json path with fields only"))
        elif path.startswith(".metadata."):
            causes.append(invalid(where, path, "must not point to fields in metadata"))
        elif not found:
            causes.append(invalid(where, path, "is an invalid path: does not refer to a valid field"))
        elif found.get("type") not in ("string", "boolean", "integer") or found.get("nullable"):
            causes.append(invalid(where, path, "must point to a field of type string, boolean or integer"))


def _validate_names(causes: list[Cause], given: Obj, path: str) -> None:
    for field in ("plural", "singular"):
        value = given.get(field, "")
        if value:
            causes.extend(invalid(f"{path}.{field}", value, m) for m in names.is_dns1035_label(value))
        elif field == "plural":
            causes.append(required(f"{path}.{field}"))
    for field in ("kind", "listKind"):
        value = given.get(field, "")
        if not value:
            causes.append(required(f"{path}.{field}"))
        else:
            for message in names.is_dns1035_label(value.lower()):
                detail = f"may have mixed case, but should otherwise match: {message}"
                causes.append(invalid(f"{path}.{field}", value, detail))
    for field in ("shortNames", "categories"):
        for i, value in enumerate(given.get(field) or ()):
            causes.extend(invalid(f"{path}.{field}[{i}]", value, m) for m in names.is_dns1035_label(value))
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        causes.append(invalid(f"{path}.listKind", given["listKind"], "kind and listKind may not be the same"))
