"""ValidatingAdmissionPolicy: validations in CEL, which deny, warn, or are noted for audit, as bindings say.

Wordings, reasons and codes are upstream's (`plugin/policy/validating`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from shirube.api import cel
from shirube.api.errors import ApiError
from shirube.api.gvr import VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS
from shirube.apiserver.admission.metrics import POLICY, AdmissionMetrics, observe
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
MAX_NOTE = 10 * 1024  # characters of an audit annotation
FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class Failed(NamedTuple):
    """A validation that does not hold, or could not be evaluated."""

    message: str
    reason: str = ""
    place: int = 0  # of the validation among those of its policy
    error: str = "no_error"  # as the metrics have it


class ValidatingAdmissionPolicy(Plugin):
    name = "ValidatingAdmissionPolicy"
    operations = frozenset((CREATE, UPDATE, DELETE, CONNECT))

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._metrics = AdmissionMetrics.of(server)
        self._policies = Policies(server, VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS)

    async def validate(self, req: AdmissionRequest) -> None:
        policies = self._policies.current()
        if not policies or matching.exempt(req.resource):
            return
        denied: ApiError | None = None
        notes: dict[str, list[str]] = {}
        for policy in policies:
            for binding, failed in await self._failures(policy, req, notes):
                actions = tuple(binding.spec.get("validationActions") or ("Deny",))
                which = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                if "Deny" in actions and denied is None:
                    denied = _denial(req, f"{which} denied request: {failed.message}", failed.reason)
                if "Warn" in actions:
                    req.warnings.append(f"Validation failed for {which}: {failed.message}")
                if "Audit" in actions:
                    req.annotate(FAILURE, _failure_note(policy, binding, failed, actions))
        for key, values in notes.items():
            req.annotate(key, ", ".join(values)[:MAX_NOTE])
        if denied is not None:
            raise denied

    async def _failures(
        self, policy: Policy, req: AdmissionRequest, notes: dict[str, list[str]]
    ) -> list[tuple[Binding, Failed]]:
        """`notes` gets the policy's audit annotations."""
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
            began = self.server.clock.monotonic()
            failed: list[Failed] = []
            try:
                for params in parameters.of(self.server, policy, binding, req):
                    scope = Scope(seen, functions, params)
                    if not self._conditions_hold(policy, scope, req, failed):
                        continue
                    failed += judge(policy, scope)
                    failed += annotate(policy, scope, notes)
            except CannotConfigure as error:
                if policy.fails_closed:
                    failed = [Failed(f"failed to configure binding: {error}", error="invalid_error")]
            out += [(binding, each) for each in failed]
            self._count(policy, binding, failed, began)
        return out

    def _conditions_hold(self, policy: Policy, scope: Scope, req: AdmissionRequest, failed: list[Failed]) -> bool:
        holds, problem = policy.conditions.judge(scope.seen, scope.functions)
        policy.conditions.count(self.server, (policy.name, "policy", "validating"), req.operation, holds, problem)
        if problem is not None and policy.fails_closed:
            failed.append(Failed(problem, error="invalid_error"))
        return holds and problem is None

    def _count(self, policy: Policy, binding: Binding, failed: list[Failed], began: float) -> None:
        seconds = self.server.clock.monotonic() - began
        actions = [a.lower() for a in binding.spec.get("validationActions") or ("Deny",)] if failed else ["allow"]
        error = failed[0].error if failed else "no_error"
        name = "apiserver_validating_admission_policy_check_duration_seconds"
        for action in actions:
            observe(self._metrics.histogram(name, policy.name, binding.name, error, action), POLICY, seconds)


def judge(policy: Policy, scope: Scope) -> Iterator[Failed]:
    """What does not hold of one object with one set of parameters."""
    scope.define(policy.spec.get("variables") or ())
    for index, validation in enumerate(policy.spec.get("validations") or ()):
        text = validation.get("expression", "")
        try:
            value = scope.value(text)
        except cel.CelError as error:
            if policy.fails_closed:
                kind = "out_of_budget" if "cost" in str(error) else "invalid_error"
                yield Failed(f"expression '{text}' resulted in error: {error}", "", index, kind)
            continue
        if value is not True:
            yield Failed(_message(validation, scope), validation.get("reason", ""), index)


def annotate(policy: Policy, scope: Scope, notes: dict[str, list[str]]) -> Iterator[Failed]:
    """Work out the policy's audit annotations; yields those that cannot be, which refuse as validations do."""
    for annotation in policy.spec.get("auditAnnotations") or ():
        text = annotation.get("valueExpression", "")
        try:
            value = scope.value(text)
            if value is not None and not isinstance(value, str):
                raise cel.CelError("must evaluate to a string or null")
        except cel.CelError as error:
            if policy.fails_closed:
                yield Failed(f"expression '{text}' resulted in error: {error}", error="invalid_error")
            continue
        if value and value.strip():
            values = notes.setdefault(f"{policy.name}/{annotation.get('key', '')}", [])
            if value not in values:
                values.append(value)


def _failure_note(policy: Policy, binding: Binding, failed: Failed, actions: tuple[str, ...]) -> str:
    told = {
        "message": failed.message,
        "policy": policy.name,
        "binding": binding.name,
        "expressionIndex": failed.place,
        "validationActions": list(actions),
    }
    return orjson.dumps([told]).decode()


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
