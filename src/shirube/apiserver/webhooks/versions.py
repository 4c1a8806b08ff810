"""Objects of a write in the version in which a webhook or policy wants to see them, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import conversion, errors, schema
from shirube.api.kinds import strategy_of

if TYPE_CHECKING:
    from shirube.api.resources import Resource

Json = dict[str, Any]


def plain(obj: Json) -> Json:
    """A copy without embedded fragments of JSON."""
    copy: Json = orjson.loads(orjson.dumps(obj))
    return copy


async def shown(obj: Json | None, have: Resource, want: Resource) -> Json | None:
    """An object of a write on `have` in the version of `want`; what is of another kind (Scale, PodExecOptions) stays
    as it is."""
    if obj is None or have.gvr == want.gvr or obj.get("kind") != have.kind:
        return obj
    return await convert(plain(obj), have, want)


async def convert(obj: Json, have: Resource, want: Resource) -> Json:
    if have.gvr == want.gvr:
        return obj
    definition = getattr(have, "definition", None)
    if definition is not None:
        made: list[Json] = await definition.family.converter.convert([obj], want.api_version)
        return made[0]
    return conversion.convert(obj, have, want)


def settled(obj: Json, resource: Resource) -> Json:
    """A patched object as decoding would have left it: typed, pruned, defaulted. Raises ApiError 500."""
    definition = getattr(resource, "definition", None)
    if definition is not None:
        from shirube.api.crd import pruning

        pruning.prune(obj, definition.node)
    else:
        try:
            obj, _, wrong = schema.check(resource.group, resource.version, obj.get("kind", resource.kind), obj)
        except KeyError:
            return obj
        if wrong:
            raise errors.internal_error(wrong[0].message)
    if obj.get("kind") == resource.kind:
        strategy_of(resource).default(obj)
    return obj
