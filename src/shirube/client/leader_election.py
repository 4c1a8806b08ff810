"""One active instance among many, by a Lease that the leader renews.

As client-go's leaderelection: whoever holds the lease renews it every `retry_period`; a leader that has not
managed to for `renew_deadline` stops leading; the others take over once they have seen no renewal for
`lease_duration`, by their own stopwatch, so clocks need not agree. On a clean stop the lease is released and
the next one starts at once. This keeps two from working for long, not from ever overlapping: reconcilers
must be harmless when run twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import LEASES
from shirube.client.rest import Client, Object
from shirube.foundation import log
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock, rfc3339_micro
from shirube.foundation.tasks import cancel, signalled, spawn

_FIRST_PAUSE = 0.1  # seconds
_JITTER = 1.2


class LeadershipLost(Exception):
    """The lease could not be renewed in time; the process should end and start anew."""


class LeaderElector:
    """`identity` must differ between instances that may run at the same time. One whose supervisor never
    runs two
    may keep its identity over restarts: it then goes on with its own lease at once."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        lease_duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry_period: float = 2.0,
        clock: Clock = SYSTEM,
        chance: Chance | None = None,
    ) -> None:
        self._client = client
        self._namespace, self._name = namespace, name
        self.identity = identity
        self._lease_duration = lease_duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._clock = clock
        self._chance = chance or Chance()
        self._observed: Object | None = None
        self._observed_at = 0.0
        self._log = log.get("leader-election")

    @property
    def is_leader(self) -> bool:
        return self._holder(self._observed) == self.identity

    async def run(self, lead: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Wait for the lease, then run `lead` until it returns, `stop` is set, or the lease is lost.

        Raises LeadershipLost in the last case, and whatever `lead` raises.
        """
        if not await self._acquire(stop):
            return
        self._log.info("became leader", lease=self._name, identity=self.identity)
        work = spawn(_run(lead), name=f"lead-{self._name}")
        renew = spawn(self._renew(), name=f"renew-{self._name}")
        stopped = spawn(stop.wait(), name=f"stop-{self._name}")
        try:
            await asyncio.wait((work, renew, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost = renew.done() and not work.done() and not stop.is_set()
            await cancel(work, renew, stopped)
            if not lost:
                await self._release()
        if lost:
            raise LeadershipLost(
                f"cannot renew lease {self._namespace}/{self._name} for {self._renew_deadline:.0f} s: "
                "another instance may lead now"
            )
        if not work.cancelled() and (error := work.exception()) is not None:
            raise error

    async def _acquire(self, stop: asyncio.Event) -> bool:
        pause = _FIRST_PAUSE
        while not stop.is_set():
            if await self._try():
                return True
            # While nobody has answered yet (all is just starting), there is no holder to leave in peace.
            pause = min(pause * 1.5, self._retry_period) if self._observed is None else self._retry_period
            await signalled(stop, self._chance.jitter(pause, _JITTER))
        return False

    async def _renew(self) -> None:
        """Returns when the lease is lost."""
        renewed_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._retry_period)
            left = self._renew_deadline - (self._clock.monotonic() - renewed_at)
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    renewed = await self._try()
            except TimeoutError:
                return
            if renewed:
                renewed_at = self._clock.monotonic()
            elif self._observed is not None and self._holder(self._observed) not in ("", self.identity):
                return

    async def _try(self) -> bool:
        """One attempt to take or renew the lease."""
        try:
            if self._observed is not None and self.is_leader:
                # The fast path: our own last write is still the current one, so one PUT renews it.
                try:
                    self._observe(await self._client.update(LEASES, self._renewed(self._observed)))
                    return True
                except ApiError as error:
                    if error.code != 409:
                        raise
            return await self._try_from_read()
        except ApiError as error:
            self._log.debug("cannot renew the lease", lease=self._name, error=str(error))
            return False

    async def _try_from_read(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            self._observe(await self._client.create(LEASES, self._new(), self._namespace))
            return True
        known = self._observed
        if known is None or known["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]:
            self._observe(lease)
        holder = self._holder(lease)
        if holder and holder != self.identity and self._fresh(lease):
            return False
        self._observe(await self._client.update(LEASES, self._renewed(lease)))
        return True

    def _fresh(self, lease: Object) -> bool:
        seconds = lease.get("spec", {}).get("leaseDurationSeconds") or self._lease_duration
        return self._clock.monotonic() - self._observed_at < seconds

    def _observe(self, lease: Object) -> None:
        self._observed, self._observed_at = lease, self._clock.monotonic()

    @staticmethod
    def _holder(lease: Object | None) -> str:
        return str(((lease or {}).get("spec") or {}).get("holderIdentity") or "")

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        now = rfc3339_micro(self._clock.now())
        mine = old.get("holderIdentity") == self.identity
        transitions = int(old.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._lease_duration),
            "acquireTime": old.get("acquireTime") or now if mine else now,
            "renewTime": now,
            "leaseTransitions": transitions if mine or not old else transitions + 1,
        }

    def _new(self) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }

    def _renewed(self, lease: Object) -> Object:
        return {**lease, "spec": {**lease.get("spec", {}), **self._spec(lease.get("spec") or {})}}

    async def _release(self) -> None:
        if self._observed is None or not self.is_leader:
            return
        now = rfc3339_micro(self._clock.now())
        spec = {
            **self._observed["spec"],
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": now,
            "acquireTime": now,
        }
        try:
            async with asyncio.timeout(self._retry_period):
                self._observe(await self._client.update(LEASES, {**self._observed, "spec": spec}))
        except (ApiError, TimeoutError) as error:
            self._log.info("cannot release the lease", lease=self._name, error=str(error))


async def _run(lead: Callable[[], Awaitable[None]]) -> None:
    await lead()
