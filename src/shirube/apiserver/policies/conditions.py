"""Match conditions: CEL that says whether a webhook or policy looks at a write at all.

All must hold. One that is false decides, whatever errors others had; else an error refuses the write (failurePolicy
Fail) or passes it by (Ignore).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shirube.api import cel
from shirube.apiserver.admission.metrics import AdmissionMetrics
from shirube.apiserver.policies import environment
from shirube.foundation import log

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
Owner = tuple[str, str, str]  # whose conditions: name, "webhook" or "policy", "admit" or "validating"
_logger = log.get("policies")


class Conditions:
    def __init__(self, conditions: Sequence[Json]) -> None:
        self._conditions = [(c.get("name", ""), c.get("expression", "")) for c in conditions]

    def __bool__(self) -> bool:
        return bool(self._conditions)

    async def hold(
        self, server: ServerContext, req: AdmissionRequest, resource: Resource, *, fails_closed: bool, of: Owner
    ) -> bool:
        """Raises ApiError 403 when an expression fails and failing is refusing."""
        if not self._conditions:
            return True
        seen = await environment.variables(server, req, resource)
        verdict, problem = self.judge(seen, environment.functions(server, req))
        self.count(server, of, req.operation, verdict, problem)
        if problem is None:
            return verdict
        if fails_closed:
            raise req.refusal(problem)
        _logger.warning("match conditions failed", error=problem)
        return False

    def count(self, server: ServerContext, of: Owner, operation: str, verdict: bool, problem: str | None) -> None:
        """Tell the metrics how the conditions came out."""
        if not self._conditions or (verdict and problem is None):
            return
        what = "evaluation_errors" if problem is not None else "exclusions"
        AdmissionMetrics.of(server).count(f"apiserver_admission_match_condition_{what}_total", *of, operation)

    def judge(self, seen: Mapping[str, Any], functions: Mapping[str, Any]) -> tuple[bool, str | None]:
        """(whether all hold, what went wrong)."""
        problems = []
        for name, text in self._conditions:
            try:
                value = cel.compiled(text).evaluate(seen, functions)
            except cel.CelError as error:
                problems.append(f"expression '{text}' resulted in error: {error}")
                continue
            if value is False:
                return False, None
            if value is not True:
                problems.append(f"expression '{text}' (matchCondition {name}) does not evaluate to a bool")
        return not problems, ", ".join(problems) or None
