"""Stored policies and their bindings, ready to be matched and evaluated: made once per change of either.

One class serves validating and mutating policies: they have the same constraints, parameters, variables and match
conditions, and differ in what they do with an object that matches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shirube.api import cel, selectors
from shirube.apiserver.policies.conditions import Conditions
from shirube.apiserver.webhooks import matching

if TYPE_CHECKING:
    from shirube.api.gvr import GVR
    from shirube.api.resources import Resource, ResourceTable
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


@dataclass(eq=False, slots=True)
class Constraints:
    """`matchConstraints` of a policy, `matchResources` of a binding."""

    spec: Json
    namespaces: selectors.LabelSelector = field(init=False)
    objects: selectors.LabelSelector = field(init=False)

    def __post_init__(self) -> None:
        self.namespaces = selectors.label_selector_from(self.spec.get("namespaceSelector") or {})
        self.objects = selectors.label_selector_from(self.spec.get("objectSelector") or {})

    def matched(self, server: ServerContext, req: AdmissionRequest) -> Resource | None:
        """The resource in the version that is meant; None when it is not. Raises ApiError."""
        if not matching.in_selected_namespace(server, self.namespaces, req):
            return None
        if not matching.object_selected(self.objects, req):
            return None
        equivalent = self.spec.get("matchPolicy", "Equivalent") != "Exact"
        table: ResourceTable = server.table
        excluded = self.spec.get("excludeResourceRules") or ()
        if excluded and matching.matched_resource(table, _rules(excluded), req, equivalent=equivalent) is not None:
            return None
        rules = self.spec.get("resourceRules") or ()
        if not rules:
            return req.requested  # of a binding: nothing more is asked for than by the policy
        return matching.matched_resource(table, _rules(rules), req, equivalent=equivalent)


def _rules(rules: Sequence[Json]) -> list[Json]:
    return list(rules)


@dataclass(eq=False, slots=True)
class Binding:
    name: str
    spec: Json
    constraints: Constraints | None

    @classmethod
    def of(cls, obj: Json) -> Binding:
        spec = obj.get("spec") or {}
        wanted = spec.get("matchResources")
        return cls(obj["metadata"]["name"], spec, Constraints(wanted) if wanted else None)


@dataclass(eq=False, slots=True)
class Policy:
    name: str
    spec: Json
    constraints: Constraints
    conditions: Conditions
    bindings: list[Binding] = field(default_factory=list)

    @classmethod
    def of(cls, obj: Json) -> Policy:
        spec = obj.get("spec") or {}
        constraints = Constraints(spec.get("matchConstraints") or {})
        return cls(obj["metadata"]["name"], spec, constraints, Conditions(spec.get("matchConditions") or ()))

    @property
    def fails_closed(self) -> bool:
        return bool(self.spec.get("failurePolicy", "Fail") != "Ignore")


class Policies:
    """All policies of one kind that have bindings."""

    def __init__(self, server: ServerContext, policies: GVR, bindings: GVR) -> None:
        self._server = server
        self._gvrs = (policies, bindings)
        self._revisions = (-1, -1)
        self._policies: tuple[Policy, ...] = ()

    def current(self) -> tuple[Policy, ...]:
        reader = self._server.reader
        policies, bindings = self._gvrs
        revisions = (reader.revision(policies), reader.revision(bindings))
        if revisions != self._revisions:
            found = {obj["metadata"]["name"]: Policy.of(obj) for obj in reader.list(policies)}
            for obj in reader.list(bindings):
                policy = found.get((obj.get("spec") or {}).get("policyName", ""))
                if policy is not None:
                    policy.bindings.append(Binding.of(obj))
            self._policies = tuple(p for p in found.values() if p.bindings)
            self._revisions = revisions
        return self._policies


_NO_SUCH_KEY = re.compile(r"no such key: (\w+)")


class Scope:
    """The variables that the expressions of one policy see: those of the write, `params` and `variables`.

    Variables are worked out in their order; one that fails is an error only for the expressions that use it. All
    expressions share a budget of work.
    """

    def __init__(self, seen: Mapping[str, Any], functions: Mapping[str, Any], params: Json | None) -> None:
        self.seen = {**seen, "params": params, "variables": {}}
        self.functions = functions
        self.budget = cel.Budget()
        self._failed: dict[str, str] = {}
        self._kept = 0

    def define(self, variables: Sequence[Json]) -> None:
        values = self.seen["variables"]
        for variable in variables:
            name = variable.get("name", "")
            try:
                made = self.value(variable.get("expression", ""))
                self._keep(cel.cost.weight(made))
                values[name] = made
            except cel.CelError as error:
                self._failed[name] = f'composited variable "{name}" fails to evaluate: {error}'

    def _keep(self, weight: int) -> None:
        """Variables may be made of variables, each twice the one before. Raises CelError."""
        if self._kept + weight > cel.cost.MAX_KEPT:
            raise cel.CelError("operation cancelled: actual cost limit exceeded")
        self._kept += weight

    def value(self, text: str) -> Any:
        """Raises CelError."""
        try:
            self.budget.take(self._kept)  # all variables are handed over each time
        except cel.cost.CostExceeded as error:
            raise cel.CelError(str(error)) from error
        try:
            return cel.compiled(text).evaluate(self.seen, self.functions, self.budget)
        except cel.CelError as error:
            missing = _NO_SUCH_KEY.fullmatch(str(error))
            if missing and missing[1] in self._failed:
                raise cel.CelError(self._failed[missing[1]]) from error
            raise
