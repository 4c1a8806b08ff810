from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.test_deployment_rollout import deployment, replica_set

from shirube.controllers import deployment_status as report
from shirube.foundation.clock import parse_rfc3339, rfc3339

THEN = parse_rfc3339("2026-03-01T10:00:00Z")
FOREVER = 2**31 - 1


def counted(replicas: int, updated: int, ready: int, available: int) -> dict[str, Any]:
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return dict(zip(names, (replicas, updated, ready, available), strict=True))


@pytest.mark.parametrize(
    "replicas,updated,available,seen,expected",
    [
        (4, 4, 4, 1, True),
        (4, 4, 3, 1, False),  # although maxUnavailable would allow it
        (4, 3, 4, 1, False),
        (5, 4, 4, 1, False),  # an old pod is still there
        (4, 4, 4, 0, False),  # of a spec before this one
    ],
)
def test_complete(replicas: int, updated: int, available: int, seen: int, expected: bool):
    d = deployment(4, 1, 1)
    d["metadata"]["generation"] = 1
    status = counted(replicas, updated, available, available) | {"observedGeneration": seen}
    assert report.complete(d, status) is expected


@pytest.mark.parametrize(
    "before,after,expected",
    [
        ((9, 3, 3, 3), (9, 5, 3, 3), True),
        ((9, 3, 3, 3), (9, 3, 3, 3), False),
        ((9, 3, 5, 5), (7, 3, 5, 5), True),  # old pods went
        ((9, 6, 2, 2), (9, 5, 2, 2), False),  # new ones did
        ((9, 3, 6, 6), (7, 7, 4, 4), True),
        ((9, 9, 7, 6), (9, 9, 8, 6), True),
        ((9, 9, 9, 7), (9, 9, 9, 8), True),
    ],
)
def test_progressing(before: tuple[int, ...], after: tuple[int, ...], expected: bool):
    assert report.progressing(counted(*before), counted(*after)) is expected


def condition(reason: str, status: str = "True", at: float = THEN) -> dict[str, Any]:
    return report.new_condition(report.PROGRESSING, status, reason, "", at)


@pytest.mark.parametrize("deadline", [None, FOREVER])
def test_without_a_deadline_progress_is_not_judged(deadline: int | None):
    d = deployment(3, progressDeadlineSeconds=deadline)
    d["status"] = {"conditions": [condition("ReplicaSetUpdated")]}
    status = report.rollout_status(d, [replica_set("new", 3, 1)], replica_set("new", 3, 1), THEN + 1e6)
    assert [c["type"] for c in status["conditions"]] == [report.AVAILABLE]
    assert report.progress_check_after(d, status, THEN) is None


# what was known, (pods of the old set, of the new, available of the new), when; what is told, since when
@pytest.mark.parametrize(
    "known,sizes,after,expected,since",
    [
        (condition("ReplicaSetUpdated"), (1, 2, 2), 5, ("True", "ReplicaSetUpdated"), 0),
        (condition("ProgressDeadlineExceeded", "False"), (1, 2, 2), 5, ("True", "ReplicaSetUpdated"), 5),
        (None, (1, 2, 2), 5, ("True", "ReplicaSetUpdated"), 5),
        (condition("ReplicaSetUpdated"), (0, 3, 3), 5, ("True", "NewReplicaSetAvailable"), 0),
        (condition("ProgressDeadlineExceeded", "False"), (0, 3, 3), 5, ("True", "NewReplicaSetAvailable"), 5),
        (None, (0, 3, 3), 5, ("True", "NewReplicaSetAvailable"), 5),
        (condition("ReplicaSetUpdated"), (1, 1, 1), 61, ("False", "ProgressDeadlineExceeded"), 61),
        (condition("ReplicaSetUpdated"), (1, 1, 1), 59, ("True", "ReplicaSetUpdated"), 0),
        (condition("ProgressDeadlineExceeded", "False"), (1, 1, 1), 90, ("False", "ProgressDeadlineExceeded"), 0),
        # A pod that dies later is no rollout that has failed.
        (condition("NewReplicaSetAvailable"), (0, 3, 1), 900, ("True", "NewReplicaSetAvailable"), 0),
    ],
)
def test_what_is_told_of_a_rollout(
    known: dict[str, Any] | None,
    sizes: tuple[int, int, int],
    after: float,
    expected: tuple[str, str],
    since: float,
):
    old_size, new_size, available = sizes
    d = deployment(3, 1, 0, progressDeadlineSeconds=60)
    d["status"] = {**counted(2, 1, 1, 1), "conditions": [known] if known else []}
    new = replica_set("new", new_size, available)
    status = report.rollout_status(d, [replica_set("old", old_size, 0), new], new, THEN + after)
    told = next(c for c in status["conditions"] if c["type"] == report.PROGRESSING)
    assert (told["status"], told["reason"]) == expected
    assert told["lastTransitionTime"] == rfc3339(THEN + since)


def test_a_rollout_to_nothing_needs_no_new_set():
    d = deployment(0, progressDeadlineSeconds=60)
    d["status"] = {**counted(3, 3, 3, 3), "conditions": [condition("ReplicaSetUpdated")]}
    status = report.rollout_status(d, [replica_set("old", 0, 0)], None, THEN)
    told = next(c for c in status["conditions"] if c["type"] == report.PROGRESSING)
    assert (told["reason"], told["message"]) == (
        "NewReplicaSetAvailable",
        'Deployment "d" has successfully progressed.',
    )


@pytest.mark.parametrize(
    "reason,sizes,after,expected",
    [
        ("ReplicaSetUpdated", (3, 1), 30, 31),
        ("ReplicaSetUpdated", (3, 1), 75, 1),
        ("ReplicaSetUpdated", (3, 3), 30, None),  # complete
        ("ProgressDeadlineExceeded", (3, 1), 30, None),  # told already
    ],
)
def test_the_deadline_is_looked_at_when_it_comes(
    reason: str, sizes: tuple[int, int], after: float, expected: float | None
):
    d = deployment(3, progressDeadlineSeconds=60)
    size, available = sizes
    status = {**counted(size, size, available, available), "conditions": [condition(reason)]}
    assert report.progress_check_after(d, status, THEN + after) == expected


@pytest.mark.parametrize("available,wanted,surge,unavailable,expected", [(4, 5, 0, 1, "True"), (3, 5, 0, 1, "False")])
def test_availability_allows_for_what_may_be_missing(
    available: int, wanted: int, surge: int, unavailable: int, expected: str
):
    d = deployment(wanted, surge, unavailable)
    status = report.counts(d, [replica_set("new", wanted, available)], None, THEN)
    (told,) = status["conditions"]
    assert (told["type"], told["status"]) == (report.AVAILABLE, expected)
    assert status["unavailableReplicas"] == wanted - available


def test_what_a_set_cannot_do_is_told_and_forgotten():
    d = deployment(2)
    failed = replica_set("new", 2, 0)
    failed["status"]["conditions"] = [
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": "no",
            "lastTransitionTime": "t",
        }
    ]
    status = report.rollout_status(d, [failed], failed, THEN)
    assert [c["message"] for c in status["conditions"] if c["type"] == report.REPLICA_FAILURE] == ["no"]
    healthy = replica_set("new", 2)
    after = report.rollout_status({**d, "status": status}, [healthy], healthy, THEN)
    assert report.REPLICA_FAILURE not in [c["type"] for c in after["conditions"]]
