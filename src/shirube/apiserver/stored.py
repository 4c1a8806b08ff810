"""Objects as storage keeps them: JSON without resourceVersion, `apiVersion`, `kind`, `metadata` first.

The order makes the first `"metadata":{` of the bytes the object's own, so a revision is spliced in and cut out
without parsing. Every stored object has a name and a uid, so metadata is never empty. Stored objects are in the
hub version of their kind (`Resource.storage`); other served versions are converted on the way out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import conversion

if TYPE_CHECKING:
    from shirube.api.resources import Resource, ResourceTable

Json = dict[str, Any]

_METADATA = b'"metadata":{'
_VERSION = b'"resourceVersion":"'


def encode(obj: Json) -> bytes:
    """The bytes to store; `obj` may carry a resourceVersion, which is left out."""
    meta = obj["metadata"]
    if "resourceVersion" in meta:
        obj = {**obj, "metadata": {k: v for k, v in meta.items() if k != "resourceVersion"}}
    # The first mention of a key decides about its place, the last about its value.
    return orjson.dumps({"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": None, **obj})


def splice(value: bytes, revision: int) -> bytes:
    """The bytes to serve: what was stored, with its revision as `metadata.resourceVersion`."""
    at = value.find(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def decode(data: bytes) -> Json:
    """The caller's own copy."""
    obj: Json = orjson.loads(data)
    return obj


def hub(table: ResourceTable, resource: Resource) -> Resource:
    """The resource in the version that is stored."""
    if resource.storage == resource.gvr:
        return resource
    found = table.by_gvr(resource.storage)
    return found if found is not None else resource


def to_hub(table: ResourceTable, resource: Resource, obj: Json) -> Json:
    """An object of a served version in the stored one."""
    if resource.storage == resource.gvr:
        return obj
    return conversion.convert(obj, resource, hub(table, resource))


def from_hub(table: ResourceTable, resource: Resource, obj: Json) -> Json:
    """A stored object in a served version."""
    if resource.storage == resource.gvr:
        return obj
    return conversion.convert(obj, hub(table, resource), resource)
