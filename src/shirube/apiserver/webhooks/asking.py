"""One question to one webhook, for the mutating and the validating plugin alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shirube.apiserver.webhooks import review, versions
from shirube.apiserver.webhooks.review import InvalidAnswer, Verdict

if TYPE_CHECKING:
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
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
