"""One question to one webhook, for the mutating and the validating plugin alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.api.errors import ApiError
from shirube.apiserver.admission.metrics import WEBHOOK, AdmissionMetrics, observe
from shirube.apiserver.webhooks import review, versions
from shirube.apiserver.webhooks.calling import CallFailed
from shirube.apiserver.webhooks.review import InvalidAnswer, Verdict

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext
    from shirube.apiserver.webhooks.calling import Caller
    from shirube.apiserver.webhooks.configurations import Hook


def usable(hook: Hook, req: AdmissionRequest) -> None:
    """A webhook with side effects must not hear of a dry run. Raises ApiError 400."""
    if req.dry_run and hook.spec.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise review.no_dry_run(hook.name)


async def ask(caller: Caller, hook: Hook, req: AdmissionRequest, resource: Resource, *, mutating: bool) -> Verdict:
    """Raises CallFailed, InvalidAnswer."""
    version = review.version_for(hook.spec.get("admissionReviewVersions"))
    if version is None:
        raise InvalidAnswer("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
    uid = caller.uid()
    obj = await versions.shown(req.obj, req.resource, resource)
    old = await versions.shown(req.old, req.resource, resource)
    body = review.question(version, review.request_of(req, uid, resource, obj, old))
    data = await caller.call(hook.spec["clientConfig"], body, hook.timeout)
    return review.answer(data, version, uid, mutating=mutating)


def note(req: AdmissionRequest, hook: Hook, verdict: Verdict) -> None:
    """What the webhook wants in the audit log."""
    for key, value in verdict.annotations.items():
        req.annotate(f"{hook.name}/{key}", value)


class Asked:
    """One call as the metrics have it: made when it begins, told how it ended."""

    def __init__(self, server: ServerContext, hook: Hook, req: AdmissionRequest, kind: str) -> None:
        self._clock, self._metrics = server.clock, AdmissionMetrics.of(server)
        self._began = server.clock.monotonic()
        self._name, self._kind, self._operation = hook.name, kind, req.operation

    def allowed(self) -> None:
        self._ended(200, False)

    def refused(self, code: int) -> None:
        self._rejected("no_error", code)

    def not_called(self, error: CallFailed | InvalidAnswer, *, fails_closed: bool) -> None:
        code = error.code if isinstance(error, CallFailed) else 500
        if fails_closed:
            self._rejected("calling_webhook_error", code)
            return
        self._metrics.count("apiserver_admission_webhook_fail_open_count", self._name, self._kind)
        self._ended(code, False)

    def failed(self, error: ApiError) -> None:
        """What the server itself could not do with the answer."""
        self._rejected("apiserver_internal_error", 0)

    def _rejected(self, error_type: str, code: int) -> None:
        name = "apiserver_admission_webhook_rejection_count"
        self._metrics.count(name, self._name, self._kind, self._operation, error_type, str(min(code, 600)))
        self._ended(code, True)

    def _ended(self, code: int, rejected: bool) -> None:
        said = "true" if rejected else "false"
        where = (self._name, self._kind, self._operation)
        self._metrics.count("apiserver_admission_webhook_request_total", *where, str(min(code, 600)), said)
        took = self._metrics.histogram("apiserver_admission_webhook_admission_duration_seconds", *where, said)
        observe(took, WEBHOOK, self._clock.monotonic() - self._began)
