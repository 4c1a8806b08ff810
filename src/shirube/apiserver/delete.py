"""Deleting an object: at once, after a grace period, or when its finalizers are gone.

A deletion that has to wait marks the object (`deletionTimestamp`, `deletionGracePeriodSeconds`, finalizers of
the propagation policy); whoever takes the last finalizer, or ends the grace period, removes it (`update.finished`).
Namespaces first become Terminating and keep `spec.finalizers` until their content is gone.
See "Finalizers", "Garbage Collection" and "Pod termination" in the upstream documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from shirube.api import errors
from shirube.apiserver import stored, update
from shirube.apiserver.extensions import finalization
from shirube.apiserver.write import Preconditions, Write
from shirube.foundation.clock import parse_rfc3339, rfc3339
from shirube.storage.types import CompareFailed, Delete, Op, Put

Json = dict[str, Any]

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
POLICIES = ("Background", "Foreground", "Orphan")

# Kinds whose deletion is answered with the object rather than a Status (`ReturnDeletedObject` upstream).
RETURN_DELETED = frozenset(
    (
        ("", "pods"),
        ("", "podtemplates"),
        ("", "persistentvolumes"),
        ("", "persistentvolumeclaims"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "volumeattachments"),
        ("storage.k8s.io", "volumeattributesclasses"),
    )
)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None  # the policy's predecessor

    @classmethod
    def of(cls, body: Json) -> DeleteOptions:
        """From a DeleteOptions object. Raises ApiError 422."""
        policy, orphan = body.get("propagationPolicy"), body.get("orphanDependents")
        causes = []
        if policy is not None and orphan is not None:
            causes.append(
                errors.Cause.invalid(
                    "propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"
                )
            )
        if policy is not None and policy not in POLICIES:
            causes.append(errors.Cause.not_supported("propagationPolicy", policy, [*POLICIES, "nil"]))
        if causes:
            raise errors.invalid("meta.k8s.io", "DeleteOptions", "", causes)
        wanted = body.get("preconditions") or {}
        preconditions = None
        if wanted:
            preconditions = Preconditions(wanted.get("uid"), wanted.get("resourceVersion"))
        grace = body.get("gracePeriodSeconds")
        if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
            raise errors.bad_request("gracePeriodSeconds must be a whole number")
        if grace is not None and grace < 0:
            grace = 1  # as upstream: a negative period is the shortest one
        return cls(grace, policy, preconditions, orphan)


class Deleted(NamedTuple):
    """What is left to say: the object's bytes as deleted or marked, and whether it is gone."""

    data: bytes
    gone: bool


async def delete(w: Write, options: DeleteOptions) -> Deleted:
    """Raises ApiError 404, 409 (preconditions), 403 and others (admission)."""
    found = await update.current(w)
    for _ in range(update.TRIES):
        if found is None:
            raise errors.not_found(w.resource, w.name)
        data, revision = found
        obj = stored.decode(data)
        if options.preconditions is not None:
            options.preconditions.check(w.resource, w.name, obj["metadata"])
        request = w.admission("DELETE", None, obj)
        if request is not None:
            await w.server.admission.mutate(request)
            await w.validate(request)
        key = w.hub.key(w.namespace, w.name)
        _warn(w, options)
        gone, changed = mark(w, obj, options)
        if not gone and not changed:
            return Deleted(data, False)
        op: Op = Delete(key) if gone else Put(key, await w.encoded(obj))
        if w.dry_run:
            return Deleted(stored.splice(stored.encode(obj), revision), gone)
        try:
            written = await update.commit(w, op, revision, obj)
        except CompareFailed as failure:
            found = await update.found_in(w, failure.current)
            continue
        if gone:
            await w.release(obj)
        return Deleted(written, gone)
    raise errors.conflict(w.resource, w.name)


def mark(w: Write, obj: Json, options: DeleteOptions) -> tuple[bool, bool]:
    """(whether the object can go now, whether it was changed to say that it is going). Changes `obj`."""
    if w.hub.kind == "Namespace" and not w.hub.group:
        return _mark_namespace(w, obj, options)
    meta = obj["metadata"]
    now = w.server.clock.now()
    if w.hub.kind == "CustomResourceDefinition" and not meta.get("deletionTimestamp"):
        finalization.begin(obj, now)
    finalizers = _finalizers(meta.get("finalizers") or [], options, w.strategy.default_propagation)
    changed = finalizers != (meta.get("finalizers") or [])
    if changed:
        _set_finalizers(meta, finalizers)
    if meta.get("deletionTimestamp"):
        shortened, pending = _shorten(meta, options)
        changed = changed or shortened
    else:
        grace = w.strategy.grace_period(obj, options.grace_period_seconds)
        pending = grace > 0
        if grace > 0 or finalizers:
            meta["deletionTimestamp"] = rfc3339(now + grace)
            meta["deletionGracePeriodSeconds"] = grace
            if meta.get("generation"):
                meta["generation"] += 1
            changed = True
    if finalizers and not pending and meta.get("deletionGracePeriodSeconds") != 0:
        meta["deletionGracePeriodSeconds"] = 0
        changed = True
    return not finalizers and not pending, changed


def _shorten(meta: Json, options: DeleteOptions) -> tuple[bool, bool]:
    """A second deletion may only make the grace period shorter: (changed, still pending)."""
    period = meta.get("deletionGracePeriodSeconds")
    wanted = options.grace_period_seconds
    if period is None or period == 0:
        return False, False
    if wanted is None or wanted >= period:
        return False, True
    began = parse_rfc3339(meta["deletionTimestamp"]) - period
    meta["deletionTimestamp"] = rfc3339(began + wanted)
    meta["deletionGracePeriodSeconds"] = wanted
    return True, wanted > 0


def _warn(w: Write, options: DeleteOptions) -> None:
    text = w.strategy.unsaid_propagation_warning
    unsaid = options.propagation_policy is None and options.orphan_dependents is None
    if unsaid and text and text not in w.warnings:
        w.warnings.append(text)


def _finalizers(have: list[str], options: DeleteOptions, default: str = "Background") -> list[str]:
    """The finalizers after the propagation policy has had its say; one that was said earlier, and stands there as a
    finalizer, outweighs the kind's own."""
    policy = options.propagation_policy
    if policy is None and options.orphan_dependents is not None:
        policy = "Orphan" if options.orphan_dependents else "Background"
    if not default:
        policy = "Background"
    elif policy is None:
        if ORPHAN in have or FOREGROUND in have:
            return have
        policy = default
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(policy)
    kept = [f for f in have if f not in (ORPHAN, FOREGROUND) or f == wanted]
    return kept if wanted is None or wanted in kept else [*kept, wanted]


def _set_finalizers(meta: Json, finalizers: list[str]) -> None:
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)


def _mark_namespace(w: Write, obj: Json, options: DeleteOptions) -> tuple[bool, bool]:
    meta = obj["metadata"]
    finalizers = _finalizers(meta.get("finalizers") or [], options)
    if not meta.get("deletionTimestamp"):
        if finalizers != (meta.get("finalizers") or []):
            _set_finalizers(meta, finalizers)
        meta["deletionTimestamp"] = rfc3339(w.server.clock.now())
        obj.setdefault("status", {})["phase"] = "Terminating"
        return False, True
    if obj.get("spec", {}).get("finalizers"):
        return False, False
    if finalizers and meta.get("deletionGracePeriodSeconds") != 0:
        meta["deletionGracePeriodSeconds"] = 0
        return False, True
    return not finalizers, False


def status(w: Write, data: bytes) -> Json:
    """The Status that answers a deletion of most kinds."""
    meta = stored.decode(data)["metadata"]
    details: Json = {"name": w.name}
    if w.resource.group:
        details["group"] = w.resource.group
    details |= {"kind": w.resource.name, "uid": meta["uid"]}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
