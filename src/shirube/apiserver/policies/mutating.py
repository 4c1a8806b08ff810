"""MutatingAdmissionPolicy: changes written in CEL, as apply configurations or JSON patches, without calling out.

Mutations are made one after the other, each sees what those before it made of the object. Like webhooks, a policy that
changed something makes all of mutating admission run once more, and policies that ask for it (`reinvocationPolicy:
IfNeeded`) look again when the object has changed since.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import cel, schema
from shirube.api.errors import ApiError, quote
from shirube.api.gvr import MUTATINGADMISSIONPOLICIES, MUTATINGADMISSIONPOLICYBINDINGS
from shirube.api.managed_fields import merging, node_types, nodes
from shirube.api.patch import json_patch
from shirube.apiserver.admission.metrics import POLICY, AdmissionMetrics, observe
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.policies import environment, parameters
from shirube.apiserver.policies.definitions import Binding, Policies, Policy, Scope
from shirube.apiserver.policies.parameters import CannotConfigure
from shirube.apiserver.webhooks import matching, versions
from shirube.apiserver.webhooks.rounds import Rounds
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_logger = log.get("policies")
_FIXED = ("apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.uid")


class CannotMutate(Exception):
    """An expression failed, or what it made is no change of the object."""


class MutatingAdmissionPolicy(Plugin):
    name = "MutatingAdmissionPolicy"
    operations = frozenset((CREATE, UPDATE))

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._metrics = AdmissionMetrics.of(server)
        self._policies = Policies(server, MUTATINGADMISSIONPOLICIES, MUTATINGADMISSIONPOLICYBINDINGS)

    async def mutate(self, req: AdmissionRequest) -> None:
        policies = self._policies.current()
        if not policies or matching.exempt(req.resource) or req.obj is None:
            return
        rounds = req.parts.setdefault(self.name, Rounds())
        if req.second_round and rounds.last != orjson.dumps(req.obj):
            rounds.changed()
        for policy in policies:
            for binding in policy.bindings:
                await self._bound(policy, binding, req, rounds)
        rounds.last = orjson.dumps(req.obj)

    async def _bound(self, policy: Policy, binding: Binding, req: AdmissionRequest, rounds: Rounds) -> None:
        which = (policy.name, binding.name)
        if req.second_round and which not in rounds.again:
            return
        resource = policy.constraints.matched(self.server, req)
        if resource is None or (binding.constraints and binding.constraints.matched(self.server, req) is None):
            return
        began, failed = self.server.clock.monotonic(), "no_error"
        try:
            changed = False
            for params in parameters.of(self.server, policy, binding, req):
                changed |= await self._apply(policy, req, resource, params)
        except (CannotConfigure, CannotMutate) as error:
            failed = "invalid_error"
            if policy.fails_closed:
                why = f"MutatingAdmissionPolicy '{policy.name}' with binding '{binding.name}' denied request: {error}"
                raise _refusal(req, why) from error
            _logger.warning("policy failed open", policy=policy.name, binding=binding.name, error=str(error))
            return
        finally:
            name = "apiserver_mutating_admission_policy_check_duration_seconds"
            histogram = self._metrics.histogram(name, policy.name, binding.name, failed)
            observe(histogram, POLICY, self.server.clock.monotonic() - began)
        if changed:
            rounds.changed()
            req.again = True
        if policy.spec.get("reinvocationPolicy") == "IfNeeded":
            rounds.called.add(which)

    async def _apply(self, policy: Policy, req: AdmissionRequest, resource: Resource, params: Json | None) -> bool:
        """Whether the object is another one now. Raises CannotMutate."""
        functions = environment.functions(self.server, req)
        seen = await environment.variables(self.server, req, resource)
        scope = Scope(seen, functions, params)
        holds, problem = policy.conditions.judge(scope.seen, functions)
        policy.conditions.count(self.server, (policy.name, "policy", "admit"), req.operation, holds, problem)
        if problem is not None:
            raise CannotMutate(problem)
        if not holds:
            return False
        before = obj = seen["object"]
        for mutation in policy.spec.get("mutations") or ():
            scope = Scope({**seen, "object": obj}, functions, params)
            scope.define(policy.spec.get("variables") or ())
            obj = mutated(mutation, scope, obj, resource)
        if obj == before:
            return False
        try:
            obj = versions.settled(obj, resource)
        except ApiError as error:
            raise CannotMutate(error.message.removeprefix("Internal error occurred: ")) from error
        req.obj = await versions.convert(obj, resource, req.resource) if obj.get("kind") == resource.kind else obj
        return True


def mutated(mutation: Json, scope: Scope, obj: Json, resource: Resource) -> Json:
    """The object after one mutation. Raises CannotMutate."""
    patches = mutation.get("patchType") == "JSONPatch"
    text = (mutation.get("jsonPatch" if patches else "applyConfiguration") or {}).get("expression", "")
    try:
        value = scope.value(text)
    except cel.CelError as error:
        raise CannotMutate(f"expression '{text}' resulted in error: {error}") from error
    if patches:
        if not isinstance(value, list):
            raise CannotMutate("type mismatch: JSONPatchType.expression should evaluate to array")
        try:
            return json_patch.apply(obj, value)
        except ApiError as error:
            causes = [c.get("message", "") for c in error.causes]
            raise CannotMutate(f"JSON Patch: {', '.join(causes) or error.message}") from error
    if not isinstance(value, dict):
        raise CannotMutate("must return an Object")
    for path in _FIXED:
        if _names(value, path):
            raise CannotMutate(f"invalid ApplyConfiguration: may not set {path}")
    type_ = _type(resource, obj)
    if atomic := list(_atomic(type_, value, "")):
        paths = ", ".join(atomic)
        raise CannotMutate(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}")
    node = node_types.root_of(type_)
    try:
        node.applied(value, "")
    except nodes.UndeclaredField as error:
        raise CannotMutate(f"invalid ApplyConfiguration: {error}") from error
    return merging.merge(versions.plain(obj), value, node)  # type: ignore[no-any-return]


def _atomic(type_: schema.Type | None, value: Any, path: str) -> Iterator[str]:
    """Where a configuration reaches into what is only replaced as a whole: merging would lose what it leaves out."""
    if type_ is None:
        return
    if isinstance(value, list) and type_.kind == "list":
        if type_.list_type not in ("set", "map"):
            yield path
        elif type_.list_type == "map":
            for item in value:
                keys = item if isinstance(item, dict) else {}
                shown = ",".join(f"{k}={quote(str(keys.get(k, '')))}" for k in type_.list_map_keys)
                yield from _atomic(type_.items, item, f"{path}[{shown}]")
    elif isinstance(value, dict) and type_.kind in ("object", "map"):
        if type_.map_type == "atomic" and path:
            yield path
            return
        for key, child in value.items():
            below = type_.items if type_.kind == "map" else type_.properties.get(key)
            yield from _atomic(below, child, f"{path}.{key}")


def _names(value: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _type(resource: Resource, obj: Json) -> schema.Type:
    if obj.get("kind") not in (None, resource.kind):  # a subresource of another kind (Scale)
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        return schema.type_of(group, version, obj["kind"])
    definition = getattr(resource, "definition", None)
    found: schema.Type
    found = definition.type if definition else schema.type_of(resource.group, resource.version, resource.kind)
    return found


def _refusal(req: AdmissionRequest, message: str) -> ApiError:
    error = req.refusal(message)
    error.code, error.reason = 422, "Invalid"
    error.details = {**(error.details or {}), "causes": [{"message": message}]}
    return error
