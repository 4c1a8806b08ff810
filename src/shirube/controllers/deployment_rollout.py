"""What a Deployment should change next: pure plans over a deployment and its ReplicaSets.

Upstream: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/. A rolling update never has
more than replicas + maxSurge pods, nor fewer than replicas - maxUnavailable available ones, whoever dies or is slow:
`tests/simulation/test_workload_laws.py` holds that against random histories. Upstream bounds what the ReplicaSets ask
for and hopes that they follow at once. Here no step relies on a ReplicaSet that has not seen the one before
(`behind`), and a pod counts until it is leaving (`held_by`): a rollout goes on one status write later than upstream's.

"Olds" are the ReplicaSets whose template is not the deployment's; "new" is the one whose template is.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from shirube.client.rest import Object
from shirube.controllers.pods import condition, created
from shirube.foundation.chance import SUFFIX_ALPHABET

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_HISTORY_LENGTH = 2000  # characters
_NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    )
)


class Scale(NamedTuple):
    """Set this ReplicaSet to so many replicas."""

    replica_set: Object
    replicas: int


# -- reading ------------------------------------------------------------------------------------------------


def replicas_of(obj: Object) -> int:
    replicas = obj["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def available_of(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def remaining_of(replica_set: Object) -> int:
    """Available pods that will be left once the set has what its spec asks for: its status may tell of more, as long
    as the set has not seen that it shrinks. Who counts on those takes pods away twice."""
    return min(available_of(replica_set), replicas_of(replica_set))


def behind(replica_set: Object) -> bool:
    """Its status tells of a size before the present one, and of its pods nothing that could be relied on. A set whose
    spec never changed has no size before: it has at most what it asks for."""
    generation = int(replica_set["metadata"].get("generation") or 0)
    seen = int((replica_set.get("status") or {}).get("observedGeneration") or 0)
    return seen < generation and generation > 1


def held_by(replica_set: Object) -> int:
    """Pods that it may have now: those that it asks for, or those that it has not taken away yet. What cannot be taken
    away (somebody forbids it) must not hold a rollout for ever: then it is what the set asks for, as upstream counts.
    """
    status = replica_set.get("status") or {}
    failure = condition(replica_set, "ReplicaFailure")
    if failure is not None and failure.get("reason") == "FailedDelete":
        return replicas_of(replica_set)
    return max(replicas_of(replica_set), int(status.get("replicas") or 0))


def total(replica_sets: Iterable[Object]) -> int:
    return sum(replicas_of(rs) for rs in replica_sets)


def room_beside(deployment: Object, others: Iterable[Object]) -> int:
    """Pods that one ReplicaSet may ask for beside all the others; 0 while that cannot be said."""
    others = list(others)
    if any(behind(rs) for rs in others):
        return 0
    surge, _ = bounds(deployment)
    return max(replicas_of(deployment) + surge - sum(held_by(rs) for rs in others), 0)


def is_rolling(deployment: Object) -> bool:
    strategy = deployment["spec"].get("strategy") or {}
    return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def int_or_percent(value: Any, of: int, *, round_up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * of
        return -(-share // 100) if round_up else share // 100
    return int(value)


def bounds(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; never both zero, or nothing could ever move."""
    if not is_rolling(deployment):
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    wanted = replicas_of(deployment)
    surge = int_or_percent(rolling.get("maxSurge", "25%"), wanted, round_up=True)
    unavailable = int_or_percent(rolling.get("maxUnavailable", "25%"), wanted, round_up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def revision_of(obj: Object) -> int:
    try:
        return int((obj["metadata"].get("annotations") or {}).get(REVISION) or 0)
    except ValueError:
        return 0


def annotated_size(replica_set: Object, name: str) -> int | None:
    """What we wrote there; None for what is no size: somebody else's word, which must not stop us for ever."""
    text = str((replica_set["metadata"].get("annotations") or {}).get(name, ""))
    if not (text.isascii() and text.isdecimal()) or int(text) >= 2**31:
        return None
    return int(text)


def active_sets(replica_sets: Iterable[Object]) -> list[Object]:
    return [rs for rs in replica_sets if replicas_of(rs) > 0]


def by_age(replica_sets: Iterable[Object]) -> list[Object]:
    return sorted(replica_sets, key=lambda rs: (created(rs), rs["metadata"]["name"]))


# -- templates ----------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Without what is empty: absent, null and empty are one in a template."""
    if isinstance(value, dict):
        return {k: p for k, v in value.items() if (p := _plain(v)) not in (None, {}, [])}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


def plain_template(template: Object) -> Any:
    """A template to compare: without the hash label."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return _plain({"metadata": metadata, "spec": template.get("spec")})


def find_new(deployment: Object, replica_sets: Iterable[Object]) -> Object | None:
    """The ReplicaSet with the deployment's template; the oldest, should there be several."""
    wanted = plain_template(deployment["spec"]["template"])
    for rs in by_age(replica_sets):
        if plain_template(rs["spec"]["template"]) == wanted:
            return rs
    return None


def template_hash(template: Object, collision_count: int | None) -> str:
    """A short name for a template, safe in names and labels."""
    data = orjson.dumps(plain_template(template), option=orjson.OPT_SORT_KEYS)
    salt = b"" if collision_count is None else str(collision_count).encode()
    number = int.from_bytes(hashlib.blake2b(data + salt, digest_size=4).digest(), "big")
    return "".join(SUFFIX_ALPHABET[ord(c) % len(SUFFIX_ALPHABET)] for c in str(number))


# -- annotations --------------------------------------------------------------------------------------------


def new_set_annotations(deployment: Object, replica_set: Object | None, revision: int) -> dict[str, str]:
    """Annotations that the new ReplicaSet should have: the deployment's, its revision and its past
    revisions."""
    current = dict((replica_set["metadata"].get("annotations") or {}) if replica_set else {})
    out = dict(current)
    for key, value in (deployment["metadata"].get("annotations") or {}).items():
        if key not in _NOT_COPIED:
            out[key] = value
    old_revision = current.get(REVISION, "")
    if not old_revision or (old_revision.isdigit() and int(old_revision) < revision):
        out[REVISION] = str(revision)
        if old_revision and replica_set is not None:
            past = [p for p in current.get(REVISION_HISTORY, "").split(",") if p]
            if old_revision not in past:
                out[REVISION_HISTORY] = _history([*past, old_revision])
    return out


def _history(revisions: list[str]) -> str:
    """As many of the latest as an annotation should hold: who goes back and forth for years fills no object."""
    while len(text := ",".join(revisions)) > _HISTORY_LENGTH:
        revisions = revisions[1:]
    return text


def replica_annotations(deployment: Object) -> dict[str, str]:
    surge, _ = bounds(deployment)
    wanted = replicas_of(deployment)
    return {DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}


# -- rolling update -----------------------------------------------------------------------------------------


def new_set_replicas(deployment: Object, olds: Iterable[Object], new: Object | None) -> int:
    """How many replicas the new ReplicaSet may have now."""
    wanted = replicas_of(deployment)
    if not is_rolling(deployment):
        return wanted
    have = replicas_of(new) if new is not None else 0
    return max(have, min(wanted, room_beside(deployment, olds)))


def scale_new(deployment: Object, new: Object, olds: Sequence[Object]) -> list[Scale]:
    have, wanted = replicas_of(new), replicas_of(deployment)
    if have == wanted:
        return []
    target = wanted if have > wanted else new_set_replicas(deployment, olds, new)
    return [Scale(new, target)] if target != have else []


def scale_olds(deployment: Object, new: Object, olds: Sequence[Object]) -> list[Scale]:
    """Old pods that may go now: first those that are not healthy, then as many as stay above the minimum."""
    if total(olds) == 0 or any(behind(rs) for rs in (*olds, new)):
        return []
    _, unavailable = bounds(deployment)
    minimum = replicas_of(deployment) - unavailable
    new_unavailable = replicas_of(new) - remaining_of(new)
    room = total([*olds, new]) - minimum - new_unavailable
    if room <= 0:
        return []
    sizes = {rs["metadata"]["uid"]: replicas_of(rs) for rs in olds}
    left = room
    for rs in by_age(olds):
        uid = rs["metadata"]["uid"]
        sick = min(left, max(sizes[uid] - available_of(rs), 0))
        sizes[uid] -= sick
        left -= sick
    healthy = remaining_of(new) + sum(min(available_of(rs), sizes[rs["metadata"]["uid"]]) for rs in olds)
    spare = healthy - minimum
    for rs in by_age(olds):
        uid = rs["metadata"]["uid"]
        gone = min(max(spare, 0), sizes[uid])
        sizes[uid] -= gone
        spare -= gone
    return [
        Scale(rs, sizes[rs["metadata"]["uid"]])
        for rs in by_age(olds)
        if sizes[rs["metadata"]["uid"]] != replicas_of(rs)
    ]


# -- scaling while a rollout is under way or paused ----------------------------------------------------------


def is_scaling(deployment: Object, replica_sets: Iterable[Object]) -> bool:
    """The deployment's size was changed since its ReplicaSets were last sized."""
    known = (annotated_size(rs, DESIRED) for rs in active_sets(replica_sets))
    return any(size is not None and size != replicas_of(deployment) for size in known)


def _saturated(deployment: Object, new: Object | None) -> bool:
    if new is None:
        return False
    wanted = replicas_of(deployment)
    return replicas_of(new) == annotated_size(new, DESIRED) == available_of(new) == wanted


def rescale(deployment: Object, new: Object | None, olds: Sequence[Object]) -> list[Scale]:
    """Sizes after the deployment's own size changed: all ReplicaSets in proportion, to keep the risk spread. Nothing
    yet if that would add pods while others are still to go."""
    every = [*olds, new] if new is not None else list(olds)
    active = active_sets(every)
    wanted = replicas_of(deployment)
    if len(active) <= 1:
        only = active[0] if active else new or max(olds, key=created, default=None)
        if only is None:
            return []
        grows = replicas_of(only) < wanted
        if grows and wanted > room_beside(deployment, (rs for rs in every if rs is not only)):
            return []
        return [Scale(only, wanted)]
    if _saturated(deployment, new):
        return [Scale(rs, 0) for rs in active_sets(olds)]
    if not is_rolling(deployment):
        return []
    surge, _ = bounds(deployment)
    to_add = (wanted + surge if wanted > 0 else 0) - total(active)
    if to_add > 0 and any(behind(rs) or held_by(rs) > replicas_of(rs) for rs in every):
        return []
    return _in_proportion(deployment, active, to_add)


def _in_proportion(deployment: Object, active: list[Object], to_add: int) -> list[Scale]:
    surge, _ = bounds(deployment)
    direction = -1 if to_add > 0 else 1
    # Largest first; among equals the newest when growing, the oldest when shrinking.
    ordered = sorted(active, key=lambda rs: (-replicas_of(rs), direction * created(rs)))
    sizes: list[int] = []
    added = 0
    for rs in ordered:
        share = _share(deployment, rs, to_add, added, surge) if to_add else 0
        sizes.append(replicas_of(rs) + share)
        added += share
    if to_add:
        sizes[0] = max(sizes[0] + to_add - added, 0)
    return [Scale(rs, size) for rs, size in zip(ordered, sizes, strict=True)]


def _share(deployment: Object, rs: Object, to_add: int, added: int, surge: int) -> int:
    have = replicas_of(rs)
    if have == 0 or to_add == added:
        return 0
    wanted = replicas_of(deployment)
    left = to_add - added
    if wanted == 0:
        share = -have
    else:
        before = annotated_size(rs, MAXIMUM) or int((deployment.get("status") or {}).get("replicas") or 0)
        if before == 0:
            return 0
        share = math.floor(have * (wanted + surge) / before + 0.5) - have
    return min(share, left) if to_add > 0 else max(share, left)


# -- history ------------------------------------------------------------------------------------------------


def to_clean_up(deployment: Object, olds: Iterable[Object]) -> list[Object]:
    """Old ReplicaSets beyond revisionHistoryLimit, the oldest revisions first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit == 2**31 - 1:
        return []
    alive = [rs for rs in olds if not rs["metadata"].get("deletionTimestamp")]
    alive.sort(key=lambda rs: (revision_of(rs), created(rs)))
    # One that still has pods stays, and counts: what came after it is not forgotten in its place.
    return [rs for rs in alive[: max(len(alive) - limit, 0)] if _idle(rs)]


def _idle(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(replica_set["metadata"].get("generation") or 0)
    return seen and not replicas_of(replica_set) and not status.get("replicas")
