"""Graceful node shutdown: pods end in good order before the machine does.

Begun by SIGPWR, which whoever is about to switch the machine off sends to the agent and then waits. From then on the
node is not ready and takes no pods; ordinary pods get their grace period, at most the time that is theirs, then
those of the system's priority classes what is left. Their status says why they ended. What has not ended in time is
left to the machine's end.
Follows https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shirube.foundation import log
from shirube.kubelet import pod as pods
from shirube.kubelet.admission import Rejection, is_critical

_logger = log.get("kubelet.shutdown")
PROBLEM = "node is shutting down"
REJECTION = Rejection("NodeShutdown", "Pod was rejected as the node is shutting down.")
_REASON, _MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
_LOOK = 0.05


class Worker(Protocol):
    pod: pods.Pod
    ended: bool

    def evict(self, reason: str, message: str, grace: float) -> None: ...


class Registry(Protocol):
    def workers(self) -> Sequence[Worker]: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """Workers that end together, and the seconds that they have."""

    workers: tuple[Worker, ...]
    seconds: float


def turns(workers: Sequence[Worker], total: float, critical: float) -> list[Turn]:
    """Who ends when: `critical` of the `total` seconds are for pods of the system's priority classes."""
    live = [worker for worker in workers if not worker.ended and "orphan" not in worker.pod]
    ordinary = tuple(worker for worker in live if not is_critical(worker.pod))
    system = tuple(worker for worker in live if is_critical(worker.pod))
    return [turn for turn in (Turn(ordinary, max(total - critical, 0)), Turn(system, critical)) if turn.workers]


class NodeShutdown:
    def __init__(self, registry: Registry, changed: Callable[[], None], total: float, critical: float) -> None:
        """`changed` is called when the node's status has to be told anew. With a `total` of 0 nothing is done."""
        self._registry = registry
        self._changed = changed
        self._total, self._critical = total, critical
        self._asked = asyncio.Event()

    @property
    def active(self) -> bool:
        return self._asked.is_set()

    def begin(self) -> None:
        """The machine is about to end."""
        if self._total <= 0:
            _logger.warning("the machine ends, but there is no grace period for it: pods are not told")
            return
        self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._asked.wait()
        _logger.info("the node is shutting down", seconds=self._total)
        self._changed()
        for turn in turns(self._registry.workers(), self._total, self._critical):
            for worker in turn.workers:
                worker.evict(_REASON, _MESSAGE, min(float(pods.grace_period(worker.pod)), turn.seconds))
            try:
                async with asyncio.timeout(turn.seconds):
                    await _end_of(turn)
            except TimeoutError:
                left = [pods.full_name(worker.pod) for worker in turn.workers if not worker.ended]
                _logger.warning("pods have not ended in time", pods=left)
        _logger.info("all pods have ended, the machine may end")


async def _end_of(turn: Turn) -> None:
    while True:
        if all(worker.ended for worker in turn.workers):
            return
        await asyncio.sleep(_LOOK)
