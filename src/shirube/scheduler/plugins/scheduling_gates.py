"""SchedulingGates: a pod with gates is not tried until whoever set them has taken them away (KEP-3521)."""

from __future__ import annotations

from shirube.scheduler.pod import PodInfo


def gated(pod: PodInfo) -> str:
    """What the condition says of a pod that is held back; "" when it is not."""
    gates = pod.shape.gates
    return f"waiting for scheduling gates: [{' '.join(gates)}]" if gates else ""
