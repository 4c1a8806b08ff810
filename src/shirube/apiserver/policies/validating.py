"""ValidatingAdmissionPolicy: validations in CEL, which deny, warn, or are noted for audit, as bindings say.

Wordings, reasons and codes are upstream's (`plugin/policy/validating`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import cel
from shirube.api.errors import ApiError
from shirube.api.gvr import VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CONNECT, CREATE, DELETE, UPDATE, AdmissionRequest
from shirube.apiserver.policies import environment, parameters
from shirube.apiserver.policies.definitions import Binding, Policies, Policy, Scope
from shirube.apiserver.policies.parameters import CannotConfigure
from shirube.apiserver.webhooks import matching
from shirube.foundation import log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_logger = log.get("policies")

CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}  # else 422
MAX_MESSAGE = 5 * 1024  # characters of what a messageExpression may say


class Failed(NamedTuple):
    """A validation that does not hold, or could not be evaluated."""

    message: str
    reason: str = ""


class ValidatingAdmissionPolicy(Plugin):
    name = "ValidatingAdmissionPolicy"
    operations = frozenset((CREATE, UPDATE, DELETE, CONNECT))

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._policies = Policies(server, VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS)

    async def validate(self, req: AdmissionRequest) -> None:
        policies = self._policies.current()
        if not policies or matching.exempt(req.resource):
            return
        denied: ApiError | None = None
        for policy in policies:
            for binding, failed in await self._failures(policy, req):
                actions = binding.spec.get("validationActions") or ("Deny",)
                which = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                if "Deny" in actions and denied is None:
                    denied = _denial(req, f"{which} denied request: {failed.message}", failed.reason)
                if "Warn" in actions:
                    req.warnings.append(f"Validation failed for {which}: {failed.message}")
                if "Audit" in actions:
                    _logger.info("validation failed", policy=policy.name, binding=binding.name, why=failed.message)
        if denied is not None:
            raise denied

    async def _failures(self, policy: Policy, req: AdmissionRequest) -> list[tuple[Binding, Failed]]:
        resource = policy.constraints.matched(self.server, req)
        if resource is None:
            return []
        bindings = [
            b for b in policy.bindings if b.constraints is None or b.constraints.matched(self.server, req) is not None
        ]
        if not bindings:
            return []
        seen = await environment.variables(self.server, req, resource)
        functions = environment.functions(self.server, req)
        out: list[tuple[Binding, Failed]] = []
        for binding in bindings:
            try:
                found = parameters.of(self.server, policy, binding, req)
            except CannotConfigure as error:
                if policy.fails_closed:
                    out.append((binding, Failed(f"failed to configure binding: {error}")))
                continue
            for params in found:
                out += [(binding, failed) for failed in judge(policy, Scope(seen, functions, params))]
        return out


def judge(policy: Policy, scope: Scope) -> Iterator[Failed]:
    """What does not hold of one object with one set of parameters."""
    holds, problem = policy.conditions.judge(scope.seen, scope.functions)
    if problem is not None:
        if policy.fails_closed:
            yield Failed(problem)
        return
    if not holds:
        return
    scope.define(policy.spec.get("variables") or ())
    for validation in policy.spec.get("validations") or ():
        text = validation.get("expression", "")
        try:
            value = scope.value(text)
        except cel.CelError as error:
            if policy.fails_closed:
                yield Failed(f"expression '{text}' resulted in error: {error}")
            continue
        if value is not True:
            yield Failed(_message(validation, scope), validation.get("reason", ""))


def _message(validation: Json, scope: Scope) -> str:
    if expression := validation.get("messageExpression"):
        try:
            made = scope.value(expression)
        except cel.CelError as error:
            _logger.warning("messageExpression failed", expression=expression, error=str(error))
        else:
            if isinstance(made, str) and made.strip() and "\n" not in made and len(made) <= MAX_MESSAGE:
                return made.strip()
    return validation.get("message") or f"failed expression: {validation.get('expression', '').strip()}"


def _denial(req: AdmissionRequest, message: str, reason: str) -> ApiError:
    error = req.refusal(message)
    error.reason = reason or "Invalid"
    error.code = CODES.get(error.reason, 422)
    error.details = {**(error.details or {}), "causes": [{"message": message}]}
    return error
