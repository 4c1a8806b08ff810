"""Validation of metadata: names, labels, annotations, owner references, finalizers, and what never changes.

Follows k8s.io/apimachinery ``pkg/api/validation/objectmeta.go``. The name rules are functions
``(name, prefix) -> messages``; with ``prefix`` the value is a generateName and may end in a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from shirube.api import names
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import Cause, forbidden, invalid, required, too_long

STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
NOT_A_FINALIZER = "name is neither a standard finalizer name nor is it fully qualified"
TOTAL_ANNOTATION_SIZE_LIMIT = 256 * 1024
FIELD_MANAGER_MAX_LENGTH = 128

NameRule = Callable[[str, bool], list[str]]

# kinds whose dependents would be deleted by mistake: an event goes away by itself
_BANNED_OWNERS = {("v1", "Event")}


def _mask_trailing_dash(name: str) -> str:
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


def name_is_dns_subdomain(name: str, prefix: bool) -> list[str]:
    """The rule of most kinds: RFC 1123 subdomain."""
    return names.is_dns1123_subdomain(_mask_trailing_dash(name) if prefix else name)


def name_is_dns_label(name: str, prefix: bool) -> list[str]:
    """Namespaces, services, stateful sets: RFC 1123 label."""
    return names.is_dns1123_label(_mask_trailing_dash(name) if prefix else name)


def name_is_path_segment(name: str, prefix: bool) -> list[str]:
    """RBAC kinds: anything that can stand in a URL path."""
    if prefix:
        return [f"may not contain '{bad}'" for bad in "/%" if bad in name]
    return names.is_path_segment_name(name)


def name_is_anything(name: str, prefix: bool) -> list[str]:
    """CertificateSigningRequests: nobody cares what they are called, as long as a URL can name them."""
    return names.is_path_segment_name(name) if not prefix else []


@lru_cache(maxsize=4096)
def _label_key(key: str) -> tuple[str, ...]:
    return tuple(names.is_qualified_name(key))


@lru_cache(maxsize=4096)
def _label_value(value: str) -> tuple[str, ...]:
    return tuple(names.is_label_value(value))


@lru_cache(maxsize=4096)
def _annotation_key(key: str) -> tuple[str, ...]:
    return tuple(names.is_qualified_name(key.lower()))


def validate_labels(labels: Mapping[str, str], path: str) -> list[Cause]:
    """Keys are qualified names, values label values."""
    causes = []
    for key, value in labels.items():
        for message in _label_key(key):
            causes.append(invalid(path, key, message))
        for message in _label_value(value):
            causes.append(invalid(path, value, message))
    return causes


def validate_annotations(annotations: Mapping[str, str], path: str) -> list[Cause]:
    """Keys are qualified names in any case; keys and values together are at most 256 KiB."""
    causes = []
    size = 0
    for key, value in annotations.items():
        size += len(key) + len(value) if value.isascii() and key.isascii() else len((key + value).encode())
        for message in _annotation_key(key):
            causes.append(invalid(path, key, message))
    if size > TOTAL_ANNOTATION_SIZE_LIMIT:
        causes.append(too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT))
    return causes


def validate_owner_references(references: list[dict[str, Any]], path: str) -> list[Cause]:
    """Every reference is complete, and at most one of them is the controller."""
    causes: list[Cause] = []
    controller = ""
    for reference in references:
        api_version, kind = reference.get("apiVersion", ""), reference.get("kind", "")
        version = api_version.rpartition("/")[2]
        if not version:
            causes.append(invalid(f"{path}.apiVersion", api_version, "version must not be empty"))
        if not kind:
            causes.append(invalid(f"{path}.kind", kind, "must not be empty"))
        if not reference.get("name"):
            causes.append(invalid(f"{path}.name", reference.get("name", ""), "must not be empty"))
        if not reference.get("uid"):
            causes.append(invalid(f"{path}.uid", reference.get("uid", ""), "must not be empty"))
        if (api_version, kind) in _BANNED_OWNERS:
            causes.append(invalid(path, reference, f"/{api_version}, Kind={kind} is disallowed from being an owner"))
        if reference.get("controller"):
            current = f"{kind}/{reference.get('name', '')}"
            if controller:
                causes.append(
                    invalid(
                        path,
                        references,
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {current}",
                    )
                )
            else:
                controller = current
    return causes


def validate_finalizers(finalizers: list[str], path: str) -> list[Cause]:
    """Finalizers are qualified names; orphaning and foreground deletion exclude each other."""
    causes = []
    for finalizer in finalizers:
        for message in _label_key(finalizer):
            causes.append(invalid(path, finalizer, message))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        causes.append(invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))
    return causes


def validate_kube_finalizers(metadata: Mapping[str, Any], path: str = "metadata") -> list[Cause]:
    """Finalizers of built-in kinds are fully qualified, but for the three that are older than that rule."""
    causes = []
    for i, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            causes.append(invalid(f"{path}.finalizers[{i}]", finalizer, NOT_A_FINALIZER))
    return causes


def validate_template_metadata(out: list[Cause], metadata: Mapping[str, Any], path: str) -> None:
    """Metadata of what is made from a template: labels and annotations, and nothing else."""
    out.extend(validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations"))
    out.extend(validate_labels(metadata.get("labels") or {}, f"{path}.labels"))
    for field in metadata:
        if field not in ("annotations", "labels") and metadata[field] not in (None, "", {}, []):
            out.append(forbidden(f"{path}.{field}", "cannot be set"))


def _validate_parts(metadata: dict[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if labels := metadata.get("labels"):
        causes += validate_labels(labels, f"{path}.labels")
    if annotations := metadata.get("annotations"):
        causes += validate_annotations(annotations, f"{path}.annotations")
    if references := metadata.get("ownerReferences"):
        causes += validate_owner_references(references, f"{path}.ownerReferences")
    if finalizers := metadata.get("finalizers"):
        causes += validate_finalizers(finalizers, f"{path}.finalizers")
    for i, entry in enumerate(metadata.get("managedFields") or ()):
        if len(entry.get("manager", "")) > FIELD_MANAGER_MAX_LENGTH:
            causes.append(too_long(f"{path}.managedFields[{i}].manager", FIELD_MANAGER_MAX_LENGTH))
    return causes


def validate(metadata: dict[str, Any], *, namespaced: bool, name_rule: NameRule, path: str = "metadata") -> list[Cause]:
    """Check the metadata of an object to be created."""
    causes: list[Cause] = []
    if generate_name := metadata.get("generateName"):
        for message in name_rule(generate_name, True):
            causes.append(invalid(f"{path}.generateName", generate_name, message))
    if not (name := metadata.get("name")):
        causes.append(required(f"{path}.name", "name or generateName is required"))
    else:
        for message in name_rule(name, False):
            causes.append(invalid(f"{path}.name", name, message))
    namespace = metadata.get("namespace", "")
    if namespaced:
        if not namespace:
            causes.append(required(f"{path}.namespace"))
        else:
            for message in names.is_dns1123_label(namespace):
                causes.append(invalid(f"{path}.namespace", namespace, message))
    elif namespace:
        causes.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    if metadata.get("generation", 0) < 0:
        causes.append(invalid(f"{path}.generation", metadata["generation"], "must be greater than or equal to 0"))
    return causes + _validate_parts(metadata, path)


def immutable(new: Any, old: Any, path: str) -> list[Cause]:
    """The cause for a field that may never change, when it did."""
    if semantic_equal(new, old):
        return []
    return [invalid(path, new, "field is immutable")]


def validate_update(new: dict[str, Any], old: dict[str, Any], path: str = "metadata") -> list[Cause]:
    """Check that an update leaves alone what the server owns, and that the rest is valid."""
    causes: list[Cause] = []
    if old.get("deletionTimestamp"):
        added = [f for f in new.get("finalizers") or () if f not in (old.get("finalizers") or ())]
        if added:
            shown = ", ".join(f'"{f}"' for f in added)
            causes.append(
                forbidden(
                    f"{path}.finalizers",
                    "no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{shown}}}",
                )
            )
    causes += immutable(new.get("name", ""), old.get("name", ""), f"{path}.name")
    causes += immutable(new.get("namespace", ""), old.get("namespace", ""), f"{path}.namespace")
    causes += immutable(new.get("uid", ""), old.get("uid", ""), f"{path}.uid")
    for field in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if new.get(field) != old.get(field):
            causes.append(invalid(f"{path}.{field}", new.get(field), "field is immutable"))
    if new.get("generation", 0) < old.get("generation", 0):
        causes.append(invalid(f"{path}.generation", new.get("generation", 0), "must not be decremented"))
    return causes + _validate_parts(new, path)
