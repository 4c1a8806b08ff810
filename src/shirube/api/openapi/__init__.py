"""OpenAPI v2 and v3 of what a table of resources serves, as bytes.

What the built-in resources contribute was written when the schemas were compiled; serving them is reading a file.
Only group versions whose resources differ from `BUILTIN` and `OPTIONAL` are written anew: `v2` joins the pieces, `v3`
makes one document per group version. The schemas of custom resources are passed in by (group, version, kind).

Making a document takes milliseconds, so callers keep it as long as the table's `generation` stays the same.
"""

from __future__ import annotations

import functools
import marshal
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from shirube.api.openapi import version2, version3
from shirube.api.openapi.pieces import document_hash, document_name, file_name, members
from shirube.api.openapi.schemas import CustomSchemas, custom_definitions
from shirube.api.resources import BUILTIN, OPTIONAL, Resource, ResourceTable, built_in
from shirube.api.schema import cache

__all__ = ["CustomSchemas", "v2", "v3", "v3_index"]

_NONE: CustomSchemas = MappingProxyType({})


def v2(table: ResourceTable, schemas: CustomSchemas = _NONE) -> bytes:
    """The OpenAPI v2 document as JSON."""
    kinds = cache.index().kinds
    definitions = [cache.document("v2/definitions")]
    paths = [cache.document("v2/paths/fixed")]
    for group in table.groups():
        paths.append(members(version2.group_paths(group)))
        for version in table.versions(group):
            if any(OPTIONAL.by_gvr(resource.gvr) == resource for resource in table.resources(group, version)):
                definitions.append(cache.document(f"v2/definitions-of/{file_name(document_name(group, version))}"))
            if _as_built(table, group, version):
                paths.append(cache.document(f"v2/paths/{file_name(document_name(group, version))}"))
                continue
            made = version2.group_version_paths(group, version)
            for resource in table.resources(group, version):
                made |= version2.resource_paths(resource, kinds, custom=_custom(resource))
                if _custom(resource):
                    definitions.append(members(_definitions(resource, schemas, v3=False)))
            paths.append(members(made))
    return b"".join(
        (
            orjson.dumps(version2.HEAD)[:-1],
            b',"paths":{',
            b",".join(paths),
            b'},"definitions":{',
            b",".join(definitions),
            b'},"parameters":{',
            cache.document("v2/parameters"),
            b"}}",
        )
    )


def v3_index(table: ResourceTable, schemas: CustomSchemas = _NONE) -> dict[str, Any]:
    """The document at `/openapi/v3`: names of documents and where each is, with its hash."""
    hashes = dict(_hashes())
    served = {*version2.fixed_paths()}
    for group in table.groups():
        served.add(name := document_name(group))
        if name not in hashes:
            hashes[name] = document_hash(v3(table, name, schemas))
        for version in table.versions(group):
            served.add(name := document_name(group, version))
            if not _as_built(table, group, version):
                hashes[name] = document_hash(v3(table, name, schemas))
    return {
        "paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={hashes[name]}"} for name in sorted(served)}
    }


def v3(table: ResourceTable, name: str, schemas: CustomSchemas = _NONE) -> bytes:
    """One OpenAPI v3 document as JSON: "api/v1", "apis/apps/v1", "apis/apps", "version". KeyError if not served."""
    if name in version2.fixed_paths():
        return cache.document(f"v3/{file_name(name)}")
    root, _, rest = name.partition("/")
    group, _, version = rest.partition("/") if root == "apis" else ("", "", rest)
    if root not in ("api", "apis") or (root == "apis" and not group) or not table.versions(group):
        raise KeyError(name)
    if version and version not in table.versions(group):
        raise KeyError(name)
    if name in _hashes() and (not version or _as_built(table, group, version)):
        return cache.document(f"v3/{file_name(name)}")
    if not version:
        return orjson.dumps(
            version3.complete(version3.from_v2_paths(version2.group_paths(group)), {}, _shared_schemas())
        )
    return orjson.dumps(_mixed(table, group, version, schemas))


def _mixed(table: ResourceTable, group: str, version: str, schemas: CustomSchemas) -> dict[str, Any]:
    """The document of a group version that is not as it was built: its custom resources beside any others."""
    paths = version3.from_v2_paths(version2.group_version_paths(group, version))
    own: dict[str, Any] = {}
    kinds = cache.index().kinds
    for resource in table.resources(group, version):
        paths |= version3.resource_paths(resource, kinds, custom=_custom(resource))
        if _custom(resource):
            own |= _definitions(resource, schemas, v3=True)
    known: Mapping[str, Any] = _shared_schemas()
    if (name := document_name(group, version)) in _hashes():
        built = orjson.loads(cache.document(f"v3/{file_name(name)}"))
        known = {**known, **built["components"].get("schemas", {})}
    return version3.complete(paths, own, known)


def _definitions(resource: Resource, schemas: CustomSchemas, *, v3: bool) -> dict[str, Any]:
    kind = (resource.group, resource.version, resource.kind)
    return custom_definitions(*kind, schemas.get(kind), v3=v3)


def _custom(resource: Resource) -> bool:
    return not built_in(resource)


def _as_built(table: ResourceTable, group: str, version: str) -> bool:
    if table is BUILTIN:
        return True
    here = list(table.resources(group, version))
    return any(here == list(built.resources(group, version)) for built in (BUILTIN, OPTIONAL))


@functools.cache
def _hashes() -> Mapping[str, str]:
    return marshal.loads(cache.document("v3/hashes"))  # noqa: S302 - our own file


def _shared_schemas() -> Mapping[str, Any]:
    return marshal.loads(cache.document("v3/schemas"))  # noqa: S302 - our own file
