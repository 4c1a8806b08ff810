"""Hears of containers that end: the runtime's event stream, and relisting as the safety net.

Every change ends in waking the pod's worker, which then looks for itself; a lost event is found by the next
relisting, at most ten seconds later (one second where the runtime has no events).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shirube.foundation import log
from shirube.foundation.tasks import signalled
from shirube.kubelet import labels
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.events import container_events
from shirube.kubelet.runtime_state import Listing, RuntimeState

_logger = log.get("kubelet.events")
RELIST_SECONDS = 10.0
_RELIST_WITHOUT_EVENTS = 1.0
_RETRY_SECONDS = 0.2


class RuntimeEvents:
    def __init__(
        self,
        runtime: Runtime,
        state: RuntimeState,
        exited: Callable[[str, str], None],
        changed: Callable[[str], None],
        listed: Callable[[Listing], None],
    ) -> None:
        """`exited(pod_uid, container_id)`, `changed(pod_uid)`; `listed` gets every full listing."""
        self._runtime = runtime
        self._state = state
        self._exited = exited
        self._changed = changed
        self._listed = listed
        self._last: dict[str, frozenset[tuple[str, str]]] = {}
        self._has_events = True
        self._relist = asyncio.Event()

    async def run_events(self) -> None:
        """Follow the runtime's events until cancelled."""
        while True:
            try:
                async for event in container_events(self._runtime):
                    pod_uid = self._state.pod_of.get(event.container_id) or await self._find(event.container_id)
                    if pod_uid:
                        self._exited(pod_uid, event.container_id)
            except CriError as error:
                if error.code == "UNIMPLEMENTED":
                    _logger.info("the runtime has no event service, relisting instead")
                    self._has_events = False
                    return
                _logger.debug("event stream ended", error=str(error))
            self._relist.set()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _find(self, container_id: str) -> str:
        """The pod of a container that is not known here (yet)."""
        try:
            answer = await self._runtime.call("ContainerStatus", container_id=container_id)
        except CriError:
            return ""
        return str(answer.status.labels.get(labels.POD_UID, ""))

    async def run_relisting(self) -> None:
        """List everything from time to time until cancelled."""
        while True:
            self._relist.clear()
            try:
                await self.relist()
            except CriError as error:
                _logger.warning("cannot list containers", error=str(error))
            await signalled(self._relist, RELIST_SECONDS if self._has_events else _RELIST_WITHOUT_EVENTS)

    async def relist(self) -> None:
        listing = await self._state.list_all()
        for pod_uid in listing.states.keys() | self._last.keys():
            if listing.states.get(pod_uid) != self._last.get(pod_uid):
                self._changed(pod_uid)
        self._last = listing.states
        self._listed(listing)
