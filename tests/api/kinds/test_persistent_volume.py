"""Since when a PersistentVolume has been in its phase."""

from __future__ import annotations

from typing import Any

import pytest

from shirube.api.kinds.persistent_volume import PersistentVolumeStrategy

BEFORE, THEN, NOW = (f"2026-01-01T00:00:0{second}Z" for second in range(3))
STRATEGY = PersistentVolumeStrategy(namespaced=False, has_status=True)


def volume(phase: str, since: str | None = None) -> dict[str, Any]:
    status = {"phase": phase} | ({"lastPhaseTransitionTime": since} if since else {})
    return {"metadata": {"name": "v", "creationTimestamp": BEFORE}, "spec": {}, "status": status}


def test_a_new_volume_is_pending_since_it_is_there():
    made = volume("Bound", THEN)
    STRATEGY.prepare_for_create(made)
    assert made["status"] == {"phase": "Pending", "lastPhaseTransitionTime": BEFORE}


@pytest.mark.parametrize(
    ("new", "since"),
    [
        (volume("Bound"), NOW),
        (volume("Bound", BEFORE), NOW),  # what was there, sent back
        (volume("Bound", THEN), THEN),  # the writer knows better
        (volume("Pending", BEFORE), BEFORE),
        (volume("Pending"), None),
    ],
)
def test_the_time_of_a_phase(new: dict[str, Any], since: str | None):
    STRATEGY.stamp(new, volume("Pending", BEFORE), NOW)
    assert new["status"].get("lastPhaseTransitionTime") == since
