"""PATCH: four ways to say what should change, all applied to the state that is replaced.

JSON patch, merge patch and strategic merge patch change the object in the version of the request; the result is
checked like a body that was PUT. Apply (server-side apply) merges by field ownership and makes the object when
there is none. A patch that loses a race is applied anew to the newer state, up to five times, unless it names a
resourceVersion. See "Patch" and "Server-Side Apply" in the upstream documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import decode, errors, managed_fields, schema
from shirube.api.patch import json_patch, merge_patch, strategic
from shirube.apiserver import authorizing, create, decoding, stored, undeclared, update
from shirube.apiserver.context import RequestContext
from shirube.apiserver.negotiation import PATCHES, YAML, media_type
from shirube.apiserver.write import Write, Written

if TYPE_CHECKING:
    from shirube.api.resources import Resource

Json = dict[str, Any]

JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH = PATCHES
_EMPTY = re.compile(rb"\[\s*\]|\{\s*\}")


def check_options(rc: RequestContext, media: str) -> None:
    """What each kind of patch demands of its parameters. Raises ApiError 415, 422."""
    if media not in PATCHES:
        raise errors.unsupported_media_type(PATCHES)
    causes = []
    if media == APPLY_PATCH:
        if not rc.params.get("fieldManager"):
            causes.append(errors.Cause.required("fieldManager", "is required for apply patch"))
    elif "force" in rc.params:
        causes.append(errors.Cause.forbidden("force", "may not be specified for non-apply patch"))
    if causes:
        raise errors.invalid("meta.k8s.io", "PatchOptions", "", causes)


async def patch(rc: RequestContext, w: Write) -> Written:
    media = media_type(rc.request.headers.get("content-type"))
    check_options(rc, media)
    body = await decoding.read(rc)
    if media == APPLY_PATCH:
        return await _apply(rc, w, body)
    document = _document(body, media)
    kind = w.resource
    type_ = _type(kind.group, kind.version, kind.kind)

    directive = decoding.field_validation(rc)  # whether or not it comes to be needed
    twice: list[str] = []
    if directive != "Ignore" and decode.may_have_duplicates(body, decode.count_keys(document)):
        twice = decode.duplicates(body)
    clean = media != JSON_PATCH and not twice and _is_clean(kind, body, document)
    # Who owns which fields is most of many an object, and hardly ever what a patch is about.
    aside = b"managedFields" not in body

    def change(old: Json) -> Json:
        meta = old["metadata"]
        version = meta.get("resourceVersion")
        managed = meta.get("managedFields") if aside else None
        if managed is not None:
            old = {**old, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
        served = stored.from_hub(w.server.table, w.resource, old)
        if media == JSON_PATCH:
            new = json_patch.apply(served, document)
        elif media == MERGE_PATCH:
            new = merge_patch.apply(served, document)
        else:
            if type_ is None:
                raise errors.unsupported_media_type(m for m in PATCHES if m != STRATEGIC_PATCH)
            new = strategic.apply(served, document, type_)
        if not clean:
            # Of a strategic merge patch upstream shows what it was made with, of the others what was made.
            outcome = directive == "Strict" and media != STRATEGIC_PATCH
            shown = orjson.dumps(new, option=orjson.OPT_SORT_KEYS) if outcome else body
            new = _validated(rc, w, new, shown, twice)
        new = _checked(w, new, version)
        if managed is not None:
            new["metadata"]["managedFields"] = managed
        return new

    return await update.guaranteed(w, change, copy=False, tries=update.PATCH_TRIES)


def _is_clean(kind: Resource, body: bytes, document: Any) -> bool:
    """Whether nothing in the patch of an object calls for a check of the outcome: all its fields are known and of
    the right type, and it has neither nulls (which stay behind in lists) nor directives. What it is merged with
    was checked when it was stored. Puts scalars of the patch into canonical form."""
    if not isinstance(document, dict) or b"null" in body or b'"$' in body or b"\\u" in body:
        return False
    if _EMPTY.search(body):  # in a patch it empties, in an object it is as good as absent
        return False
    trial = decode.json_body(body)
    try:
        _, unknown, wrong = schema.check(kind.group, kind.version, kind.kind, trial)
    except KeyError:
        return False
    if unknown or wrong:
        return False  # they are told of as parts of the whole object
    document.clear()
    document.update(trial)
    return True


def _type(group: str, version: str, kind: str) -> schema.Type | None:
    try:
        return schema.type_of(group, version, kind)
    except KeyError:
        return None


def _document(body: bytes, media: str) -> Any:
    """A patch that is not applied by ownership. Raises ApiError 400."""
    try:
        document = decode.json_body(body)
    except errors.ApiError as error:
        if error.code != 400:
            raise
        why = error.message.rpartition("json parse error: ")[2]
        raise errors.bad_request(f"error decoding patch: {why}") from None
    wanted, name = (list, "[]interface {}") if media == JSON_PATCH else (dict, "map[string]interface {}")
    if not isinstance(document, wanted):
        why = f"json: cannot unmarshal {decoding.json_kind(document)} into Go value of type {name}"
        raise errors.bad_request(f"error decoding patch: {why}")
    return document


def _validated(rc: RequestContext, w: Write, new: Any, patch: bytes, twice: list[str]) -> Json:
    resource = w.resource
    if not isinstance(new, dict):
        raise decoding.cannot_handle(resource.kind, resource.version, "the patched document is not an object")
    decoding.check_kind(new, resource.group, resource.version, resource.kind)
    return decoding.validated(rc, new, resource.group, resource.version, resource.kind, patch=patch, twice=twice)


def _checked(w: Write, new: Json, version: str | None) -> Json:
    """The outcome of a patch, held to the place that it was sent to, in the stored version."""
    resource = w.resource
    decoding.check_kind(new, resource.group, resource.version, resource.kind)
    meta = new["metadata"]
    _check_name(w, meta)
    given = meta.get("resourceVersion")
    if given and given != version:
        raise errors.conflict(resource, w.name)
    if version:
        meta["resourceVersion"] = version
    return stored.to_hub(w.server.table, resource, new)


def _check_name(w: Write, meta: Json) -> None:
    """Raises ApiError 400 when an object is another one than the URL says."""
    name, namespace = meta.get("name", w.name), meta.get("namespace") or w.namespace
    if name != w.name:
        raise errors.bad_request(f"the name of the object ({name}) does not match the name on the URL ({w.name})")
    if w.resource.namespaced and namespace != w.namespace:
        raise errors.bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the request ({w.namespace})"
        )


async def _apply(rc: RequestContext, w: Write, body: bytes) -> Written:
    resource = w.resource
    try:
        applied = decode.yaml_body(body)
    except errors.ApiError as error:
        if error.code != 400:
            raise
        raise errors.bad_request(f"error decoding YAML: {error.message}") from None
    if not isinstance(applied, dict):
        raise errors.bad_request("error decoding YAML: the patch is not an object")
    if not applied.get("apiVersion") or not applied.get("kind"):
        raise errors.bad_request("invalid object type: apiVersion and kind must be set in an apply patch")
    decoding.check_kind(applied, resource.group, resource.version, resource.kind)
    if resource.definition is None:
        _refuse_undeclared(w, applied)
    if decoding.field_validation(rc) == "Strict" and (twice := decode.yaml_duplicates(body)):
        why = "".join(f"\n  {one}" for one in twice)
        raise errors.bad_request(f"error strict decoding YAML: yaml: unmarshal errors:{why}")
    applied = decoding.validated(rc, applied, resource.group, resource.version, resource.kind, body, YAML)
    meta = applied["metadata"]
    _check_name(w, meta)
    if meta.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    meta["name"] = w.name
    if resource.namespaced:
        meta["namespace"] = w.namespace
    applied = stored.to_hub(w.server.table, resource, applied)
    merge = _merge(rc, w, applied)

    async def missing() -> Written:
        if meta.get("uid"):
            raise errors.conflict(
                resource,
                w.name,
                f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found",
            )
        if w.subresource:
            raise errors.not_found(resource, w.name)
        await authorizing.as_create(rc)
        return await create.create(w, merge(None), own=False)

    return await update.guaranteed(w, merge, own=False, copy=False, tries=update.PATCH_TRIES, missing=missing)


def _refuse_undeclared(w: Write, applied: Json) -> None:
    """Ownership is of fields that the schema knows: upstream's merge fails over others, which is a 500 to it."""
    resource, type_ = w.resource, _type(w.resource.group, w.resource.version, w.resource.kind)
    if type_ is None:
        return
    found = [f"{path}: field not declared in schema" for path in undeclared.paths(applied, type_)]
    if not found:
        return
    why = found[0] if len(found) == 1 else "\n  ".join(["errors:", *found])
    meta = applied.get("metadata") or {}
    kind = f"{resource.group}/{resource.version}, Kind={resource.kind}"
    place = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {kind}"
    raise errors.ApiError(500, "", f"failed to create typed patch object ({place}): {why}")


def _merge(rc: RequestContext, w: Write, applied: Json) -> Callable[[Json | None], Json]:
    type_ = w.type
    version = applied["metadata"].get("resourceVersion")
    if type_ is None:
        raise errors.unsupported_media_type(m for m in PATCHES if m != APPLY_PATCH)
    # What this endpoint ignores, nobody comes to own through it.
    reset: tuple[tuple[str, ...], ...] = ()
    if w.subresource == "status":
        reset = (("spec",),)
    elif w.strategy.has_status and not w.subresource:
        reset = (("status",),)

    def merge(live: Json | None) -> Json:
        if version and live is not None and version != live["metadata"]["resourceVersion"]:
            raise errors.conflict(w.resource, w.name)
        merged = managed_fields.apply_patch(
            live,
            applied,
            type_,
            manager=w.manager,
            force=rc.params.flag("force"),
            now=rc.server.clock.now(),
            subresource=w.subresource,
            reset_fields=reset,
        )
        if w.resource.definition is None:
            # What nobody wants any more may have left an empty list or map behind.
            merged, _, _ = schema.check(w.resource.group, w.resource.version, w.resource.kind, merged)
        return merged

    return merge


async def scale_patch(rc: RequestContext) -> Callable[[Json], Json]:
    """A patch of the scale subresource, as a function from one Scale to another."""
    media = media_type(rc.request.headers.get("content-type"))
    check_options(rc, media)
    body = await decoding.read(rc)
    document = decode.yaml_body(body) if media == APPLY_PATCH else decode.json_body(body)
    type_ = _type("autoscaling", "v1", "Scale")

    def apply(current: Json) -> Json:
        if media == JSON_PATCH:
            new = json_patch.apply(current, document)
        elif media == STRATEGIC_PATCH:
            new = strategic.apply(current, document, type_)
        else:
            new = merge_patch.apply(current, document)
        if not isinstance(new, dict):
            raise decoding.cannot_handle("Scale", "v1", "the patched document is not an object")
        return decoding.validated(rc, new, "autoscaling", "v1", "Scale")

    return apply
