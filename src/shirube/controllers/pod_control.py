"""Pods from templates: created, deleted, told about in events; many at once by slow start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shirube.api.errors import ApiError
from shirube.api.gvr import PODS
from shirube.client.events import NORMAL, WARNING, EventRecorder
from shirube.client.rest import Client, Object
from shirube.controllers.ownership import controller_reference

_AT_ONCE = 32
_LONGEST_NAME = 253


def pod_from_template(template: Object, owner: Object, api_version: str, kind: str) -> Object:
    """A pod of `owner` as its template describes it, to be named by the server."""
    described = template.get("metadata") or {}
    name = owner["metadata"]["name"]
    metadata: Object = {
        "generateName": name if len(name) >= _LONGEST_NAME else name + "-",
        "namespace": owner["metadata"]["namespace"],
        "labels": dict(described.get("labels") or {}),
        "ownerReferences": [controller_reference(owner, api_version, kind)],
    }
    if described.get("annotations"):
        metadata["annotations"] = dict(described["annotations"])
    if described.get("finalizers"):
        metadata["finalizers"] = list(described["finalizers"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(template["spec"])}


def namespace_terminating(error: ApiError) -> bool:
    """The namespace is going away: there is no point in trying again."""
    return any(c.get("reason") == "NamespaceTerminating" for c in (error.details or {}).get("causes") or ())


async def slow_start(count: int, work: Callable[[int], Awaitable[None]]) -> tuple[int, ApiError | None]:
    """Run `work(0…count-1)` in batches of 1, 2, 4 …; stop after the first batch with a failure.

    A template that is refused (quota, admission) then costs a few requests, not hundreds.
    Returns how many succeeded and the first failure.
    """
    done, batch = 0, 1
    while done < count:
        size = min(batch, count - done, _AT_ONCE)
        results = await asyncio.gather(*(work(done + n) for n in range(size)), return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        done += size - len(failures)
        for failure in failures:
            if not isinstance(failure, ApiError):
                raise failure
        if failures:
            first = failures[0]
            assert isinstance(first, ApiError)
            return done, first
        batch *= 2
    return done, None


class PodControl:
    def __init__(self, client: Client, recorder: EventRecorder) -> None:
        self._client = client
        self._recorder = recorder

    async def create(self, pod: Object, owner: Object) -> Object:
        """Create a pod and tell about it on its owner."""
        try:
            made = await self._client.create(PODS, pod)
        except ApiError as error:
            if not namespace_terminating(error):
                self._recorder.event(owner, WARNING, "FailedCreate", f"Error creating: {error.message}")
            raise
        self._recorder.event(owner, NORMAL, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return made

    async def delete(self, pod: Object, owner: Object, *, unchanged: bool = False) -> None:
        """Delete a pod; one that is gone already counts as deleted, and raises NotFound for the caller to
        see. `unchanged`: only as it is here, else Conflict."""
        metadata = pod["metadata"]
        preconditions = {"uid": metadata["uid"]}
        if unchanged:
            preconditions["resourceVersion"] = metadata["resourceVersion"]
        try:
            await self._client.delete(PODS, metadata["name"], metadata["namespace"], preconditions=preconditions)
        except ApiError as error:
            if error.code != 404 and not (unchanged and error.code == 409):
                self._recorder.event(owner, WARNING, "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._recorder.event(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {metadata['name']}")
