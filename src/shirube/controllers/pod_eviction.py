"""Pods that must leave where they are: a condition that says why they did not ask to go, then their deletion."""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.rest import Client, Object
from shirube.foundation.clock import rfc3339


async def evict(client: Client, pod: Object, reason: str, message: str, now: float) -> None:
    """Both steps are held to this very pod: one that is gone is left alone, for another of its name, or one that
    changes all the time, there is a conflict and the caller looks again."""
    metadata = pod["metadata"]
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }
    name, namespace, uid = metadata["name"], metadata["namespace"], {"uid": metadata["uid"]}
    patch = {"metadata": uid, "status": {"conditions": [target]}}
    try:
        await client.patch(PODS, name, patch, namespace, type="strategic", subresource="status")
        await client.delete(PODS, name, namespace, preconditions=uid)
    except ApiError as error:
        if error.code != 404:
            raise
