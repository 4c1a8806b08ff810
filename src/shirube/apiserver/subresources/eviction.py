"""Eviction: deleting a pod, unless that would break a PodDisruptionBudget.

The budget's `disruptionsAllowed` is taken down by one, compare-and-commit, before the pod is deleted; so many
evictions at once never take more than it allows. Pods that do not serve anyway (finished, pending, already going)
need no budget. See "API-initiated Eviction" and "Specifying a Disruption Budget" in the upstream documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import decode, errors, selectors
from shirube.api.errors import ApiError, Cause
from shirube.api.gvr import PODDISRUPTIONBUDGETS, PODS
from shirube.apiserver import decoding
from shirube.apiserver.delete import DeleteOptions
from shirube.apiserver.negotiation import JSON, media_type
from shirube.apiserver.subresources.admitting import admit, only, success
from shirube.apiserver.write import Preconditions
from shirube.foundation.clock import rfc3339
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

Json = dict[str, Any]
MAX_DISRUPTED_PODS = 2000
RETRY_AFTER = 10
_TRIES = 20
_BEHIND = "The disruption budget {} is still being processed by the server."
_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(server: ServerContext, rc: RequestContext) -> Response:
    """POST of an Eviction."""
    only(rc, "create")
    eviction = await _eviction(rc)
    if (given := eviction["metadata"].get("name")) and given != rc.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    options = DeleteOptions.of(eviction.get("deleteOptions") or {})
    dry_run = rc.dry_run or bool((eviction.get("deleteOptions") or {}).get("dryRun"))
    await admit(server, rc, "CREATE", eviction)
    asked = options.preconditions or Preconditions()
    pod = await _beyond_budgets(server, rc, options, asked, dry_run)
    if pod is not None:
        await _within_budget(server, rc, pod, options, asked, dry_run)
    return rc.respond(success(201), 201)


async def _eviction(rc: RequestContext) -> Json:
    """The request's object. The same of policy/v1beta1 is taken, too: old clients outlived that version."""
    data = await decoding.read(rc)
    media = media_type(rc.request.headers.get("content-type"))
    if media in (JSON, "") and b"policy/v1beta1" in data:
        given = decode.json_body(data)
        if isinstance(given, dict) and given.get("apiVersion") == "policy/v1beta1":
            data = orjson.dumps({**given, "apiVersion": "policy/v1"})
    return decoding.parse(rc, data, media, "policy", "v1", "Eviction")


async def _beyond_budgets(
    server: ServerContext, rc: RequestContext, options: DeleteOptions, asked: Preconditions, dry_run: bool
) -> Json | None:
    """Delete a pod that needs no budget. The pod, when it needs one.

    One that is pending must still be so when it goes: should it have changed meanwhile, it is looked at again."""
    left = _TRIES
    while True:
        left -= 1
        pod = await server.store.get(PODS, rc.namespace, rc.name)
        asked.check(PODS, rc.name, pod["metadata"])
        if not _needs_no_budget(pod):
            return pod
        pinned = asked.resource_version is None and not _is_over(pod)
        version = pod["metadata"]["resourceVersion"] if pinned else asked.resource_version
        try:
            await _delete(server, rc, options, Preconditions(pod["metadata"]["uid"], version), dry_run)
            return None
        except ApiError as error:
            if error.reason != "Conflict" or not pinned or not left:
                raise


async def _within_budget(
    server: ServerContext, rc: RequestContext, pod: Json, options: DeleteOptions, asked: Preconditions, dry_run: bool
) -> None:
    budget = _budget(server, rc.namespace, pod)
    unready = budget is not None and await _take(server, budget, pod, dry_run)
    pinned = unready and asked.resource_version is None
    wanted = Preconditions(pod["metadata"]["uid"], asked.resource_version)
    if pinned:  # the pod was looked at as not ready; it must still be so when it goes
        wanted = Preconditions(wanted.uid, pod["metadata"]["resourceVersion"])
    try:
        await _delete(server, rc, options, wanted, dry_run)
    except ApiError as error:
        if budget is not None and pinned and error.reason == "Conflict":
            raise _too_many(_BEHIND.format(budget["metadata"]["name"]), RETRY_AFTER) from error
        raise


async def _delete(
    server: ServerContext, rc: RequestContext, options: DeleteOptions, wanted: Preconditions, dry_run: bool
) -> None:
    if not dry_run:
        wanted = await _say_why(server, rc, wanted)
    await server.store.delete(
        PODS,
        rc.namespace,
        rc.name,
        grace_period_seconds=options.grace_period_seconds,
        propagation_policy=options.propagation_policy,
        preconditions=wanted,
        user=rc.user,
        dry_run=dry_run,
    )


async def _say_why(server: ServerContext, rc: RequestContext, wanted: Preconditions) -> Preconditions:
    """The pod gets the condition by which others (a Job's failure policy) know that it did not fail by itself. The
    preconditions of the deletion that follows."""
    now = rfc3339(server.clock.now())
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": now,
    }

    def change(pod: Json) -> Json:
        status = pod.setdefault("status", {})
        old = {c.get("type"): c for c in status.get("conditions") or ()}
        known = old.get("DisruptionTarget")
        if known is not None and known.get("status") == "True":
            condition["lastTransitionTime"] = known.get("lastTransitionTime", now)
        status["conditions"] = [*(c for c in old.values() if c is not known), condition]
        return pod

    pod = await server.store.guaranteed_update(
        PODS, rc.namespace, rc.name, change, subresource="status", preconditions=wanted, user=rc.user
    )
    if wanted.resource_version is None:
        return wanted
    return Preconditions(wanted.uid, pod["metadata"]["resourceVersion"])


def _is_over(pod: Json) -> bool:
    """It has ended or is about to: it will never serve again."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed") or bool(pod["metadata"].get("deletionTimestamp"))


def _needs_no_budget(pod: Json) -> bool:
    return _is_over(pod) or (pod.get("status") or {}).get("phase") == "Pending"


def _budget(server: ServerContext, namespace: str, pod: Json) -> Json | None:
    labels = pod["metadata"].get("labels") or {}
    found = []
    for budget in server.reader.list(PODDISRUPTIONBUDGETS, namespace):
        selector = (budget.get("spec") or {}).get("selector")
        if selector is not None and selectors.label_selector_from(selector).matches(labels):
            found.append(budget)
    if len(found) > 1:
        raise errors.ApiError(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    return found[0] if found else None


def _ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


async def _take(server: ServerContext, budget: Json, pod: Json, dry_run: bool) -> bool:
    """Take one disruption from the budget. True: the pod is not ready and needs none. Raises ApiError."""
    spec, status = budget.get("spec") or {}, budget.get("status") or {}
    if not _ready(pod):
        if spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
            return True
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        if healthy >= desired and desired > 0:
            return True
    meta = budget["metadata"]

    def change(current: Json) -> Json:
        return decrement(current, pod["metadata"]["name"], rfc3339(server.clock.now()))

    if dry_run:
        change({**budget, "status": dict(status)})
        return False
    try:
        await server.store.guaranteed_update(
            PODDISRUPTIONBUDGETS, meta["namespace"], meta["name"], change, subresource="status"
        )
    except ApiError as error:
        if error.code != 404:  # the budget went meanwhile: nothing forbids the eviction
            raise
    return False


def decrement(budget: Json, pod: str, now: str) -> Json:
    """The budget with one disruption less. Raises ApiError 429, 403."""
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(_BEHIND.format(name), RETRY_AFTER)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden(PODDISRUPTIONBUDGETS, name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or ()) > MAX_DISRUPTED_PODS:
        raise errors.forbidden(
            PODDISRUPTIONBUDGETS,
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        raise _too_many(_why_none(name, status))
    status["disruptionsAllowed"] = allowed - 1
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
            "lastTransitionTime": now,
            "observedGeneration": status.get("observedGeneration", 0),
        }
        others = [c for c in status.get("conditions") or () if c.get("type") != "DisruptionAllowed"]
        status["conditions"] = [*others, condition]
    # The controller counts the pod as disrupted from now on, before it is gone.
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    return budget


def _why_none(name: str, status: Json) -> str:
    """Why no disruption is allowed. When the budget could not be worked out its numbers say nothing."""
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    told = conditions.get("DisruptionAllowed") or {}
    message = told.get("message") if told.get("status") == "False" else ""
    refuses = f"The disruption budget {name} does not allow evicting pods currently"
    if message and told.get("reason") == "SyncFailed":
        return f"{refuses} because it failed sync: {message}"
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if healthy <= desired:
        return f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
    return f"{refuses} ({told.get('reason')}): {message}" if message else refuses


def _too_many(why: str, retry_after: int = 0) -> ApiError:
    """Only where waiting alone may help a client is told to try again; when a budget has room again nobody knows."""
    error = errors.too_many_requests(_VIOLATES, retry_after)
    error.details = {**(error.details or {}), "causes": [Cause("DisruptionBudget", why, "").to_dict()]}
    return error
