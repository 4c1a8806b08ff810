"""Registers the node, keeps its Lease alive, reports its status.

The Lease is renewed every 10 s and says that the agent lives; the status is written when it changes and every
five minutes. While the node is not ready the runtime is asked several times a second, so that the node is
ready as soon as its network is. Nothing here stops pods: with the API server away the agent just tries again.
Follows https://kubernetes.io/docs/concepts/architecture/nodes/#node-heartbeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import LEASES, NODES
from shirube.client.events import NORMAL
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.clock import Clock, rfc3339_micro
from shirube.foundation.tasks import signalled
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.node_info import MachineInfo
from shirube.kubelet.node_shutdown import PROBLEM
from shirube.kubelet.node_status import (
    Extended,
    NodeIdentity,
    Reserve,
    RuntimeReport,
    node_object,
    node_status,
    without_heartbeat,
)
from shirube.kubelet.runtime_features import features_of

_logger = log.get("kubelet.node")
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
_RENEWALS = 4  # within the time that the Lease lasts
_STATUS_SECONDS = 300.0
_CHECK_SECONDS, _CHECK_UNREADY_SECONDS = 10.0, 0.1
_RETRY_SECONDS = 1.0
_FIRST_PAUSE = 0.1  # the API server usually starts together with the node
_EVENTS = {  # the events of a condition that has become (true, false)
    "Ready": ("NodeReady", "NodeNotReady"),
    "MemoryPressure": ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    "DiskPressure": ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    "PIDPressure": ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
}


class NodeReporter:
    def __init__(
        self, client: Client, runtime: Runtime, clock: Clock, identity: NodeIdentity, machine: MachineInfo
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._clock = clock
        self._identity = identity
        self._machine = machine
        self._node_uid = ""
        self._conditions: list[dict[str, Any]] = []
        self._cordoned = False
        self._written: dict[str, Any] | None = None
        self._written_at = 0.0
        self.lease_seconds = LEASE_SECONDS
        self.kept = Reserve()
        self.pressures: Callable[[], Sequence[str]] = tuple
        self.extended: Callable[[], Extended] = Extended
        self.shutting_down: Callable[[], bool] = lambda: False
        self.tell: Callable[[str, str, str], None] = lambda type, reason, message: None  # an event of the node
        self._changed = asyncio.Event()
        self.report = RuntimeReport()
        self.registered = asyncio.Event()

    # -- registration

    async def register(self) -> None:
        """Make the Node object exist with our labels. Tries until the API server takes it."""
        pause = _FIRST_PAUSE
        while True:
            try:
                node = await self._create_or_adopt()
                break
            except ApiError as error:
                _logger.warning("cannot register node, trying again", node=self._identity.name, error=str(error))
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _RETRY_SECONDS)
        self._node_uid = node["metadata"]["uid"]
        self._conditions = (node.get("status") or {}).get("conditions") or []
        self.registered.set()

    async def _create_or_adopt(self) -> dict[str, Any]:
        wanted = node_object(self._identity, self._machine)
        try:
            return await self._client.create(NODES, wanted)
        except ApiError as error:
            if error.code != 409:
                raise
        patch = {"metadata": {k: wanted["metadata"][k] for k in ("labels", "annotations")}}
        return await self._client.patch(NODES, self._identity.name, patch)

    # -- status

    async def run_status(self, changed: Callable[[RuntimeReport], None]) -> None:
        """Report until cancelled; `changed` hears what the runtime says of itself."""
        while True:
            self.report = await self.ask_runtime()
            changed(self.report)
            try:
                await self._write_status()
            except ApiError as error:
                _logger.warning("cannot write node status", node=self._identity.name, error=str(error))
                if error.code == 404:
                    # Somebody deleted the Node: the agent is still here, so is the node.
                    await self.register()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self._changed.clear()
            await signalled(self._changed, _CHECK_UNREADY_SECONDS if self.report.problems else _CHECK_SECONDS)

    def seen(self, node: Mapping[str, Any]) -> None:
        """The Node as the API has it now. What others have made of our conditions is written anew, at once.

        So a node that was silent for too long, and was marked unknown, is ready as soon as it is heard again.
        That somebody has cordoned or uncordoned it is told in an event, as upstream's agent tells it.
        """
        cordoned = bool((node.get("spec") or {}).get("unschedulable"))
        if cordoned != self._cordoned:
            self._cordoned = cordoned
            self._tell_state("NodeNotSchedulable" if cordoned else "NodeSchedulable")
        ours = {c["type"]: c["status"] for c in self._conditions}
        theirs = {c["type"]: c["status"] for c in (node.get("status") or {}).get("conditions") or ()}
        if any(theirs.get(kind) != status for kind, status in ours.items()):
            self._written = None
            self._changed.set()

    def changed(self) -> None:
        """Something that the status tells is different: report it now."""
        self._changed.set()

    async def ask_runtime(self) -> RuntimeReport:
        try:
            version = await self._runtime.call("Version", deadline=10)
            answer = await self._runtime.call("Status", deadline=10)
            images = (await self._runtime.call("ListImages", deadline=10)).images
        except CriError as error:
            return RuntimeReport(problems=(f"container runtime is down: {error}",))
        problems = [PROBLEM] if self.shutting_down() else []
        for condition in answer.status.conditions:
            if not condition.status:
                detail = f"{condition.type}=false reason:{condition.reason} message:{condition.message}"
                what = "network " if condition.type == "NetworkReady" else ""
                problems.append(f"container runtime {what}not ready: {detail}")
        named = sorted(
            ((tuple([*image.repo_digests, *image.repo_tags][:5]), image.size) for image in images),
            key=lambda item: (-item[1], item[0]),
        )
        found = tuple(item for item in named if item[0])
        return RuntimeReport(version.runtime_name, version.runtime_version, tuple(problems), found, features_of(answer))

    async def _write_status(self) -> None:
        now = self._clock.now()
        status = node_status(
            self._identity,
            self._machine,
            self.report,
            self._conditions,
            now,
            self.kept,
            self.pressures(),
            self.extended(),
        )
        seen = without_heartbeat(status)
        if seen == self._written and self._clock.monotonic() - self._written_at < _STATUS_SECONDS:
            return
        # Addresses merge by type, and of two families two have the same: say that the list is whole.
        body = {**status, "addresses": [*status["addresses"], {"$patch": "replace"}]}
        await self._client.patch(NODES, self._identity.name, {"status": body}, type="strategic", subresource="status")
        before, self._conditions = self._conditions, status["conditions"]
        self._written, self._written_at = seen, self._clock.monotonic()
        for reason in transitions(before, self._conditions):
            self._tell_state(reason)

    def _tell_state(self, reason: str) -> None:
        self.tell(NORMAL, reason, f"Node {self._identity.name} status is now: {reason}")

    # -- lease

    async def run_lease(self) -> None:
        """Renew the Lease until cancelled."""
        lease: dict[str, Any] | None = None
        while True:
            try:
                lease = await self._renew(lease)
                pause = self.lease_seconds / _RENEWALS
            except ApiError as error:
                _logger.warning("cannot renew node lease", node=self._identity.name, error=str(error))
                lease, pause = None, _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _renew(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        name = self._identity.name
        if lease is None:
            try:
                lease = await self._client.get(LEASES, name, LEASE_NAMESPACE)
            except ApiError as error:
                if error.code != 404:
                    raise
                return await self._client.create(LEASES, self._lease({}), LEASE_NAMESPACE)
        return await self._client.update(LEASES, self._lease(lease["metadata"]))

    def _lease(self, metadata: dict[str, Any]) -> dict[str, Any]:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._identity.name, "uid": self._node_uid}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **metadata,
                "name": self._identity.name,
                "namespace": LEASE_NAMESPACE,
                "ownerReferences": [owner],
            },
            "spec": {
                "holderIdentity": self._identity.name,
                "leaseDurationSeconds": self.lease_seconds,
                "renewTime": rfc3339_micro(self._clock.now()),
            },
        }


def transitions(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[str]:
    """The reasons of the events for conditions that are new or have changed."""
    known = {c["type"]: c["status"] for c in before}
    return [
        _EVENTS[c["type"]][c["status"] != "True"]
        for c in after
        if c["type"] in _EVENTS and c["status"] != known.get(c["type"])
    ]
