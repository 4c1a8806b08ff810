"""The resource claims of one worker's pod: prepared once, tried again when they cannot be."""

from __future__ import annotations

from shirube.kubelet import pod as pods
from shirube.kubelet.device_allocation import DeviceError
from shirube.kubelet.node_services import NodeServices

_RETRY_FIRST, _RETRY_MOST = 1.0, 10.0


class WorkerClaims:
    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._ready = False
        self._retry_at: float | None = None  # on the monotonic clock
        self._failures = 0

    def next_round(self) -> float | None:
        """Seconds until something is due here."""
        return None if self._retry_at is None else self._retry_at - self._services.clock.monotonic()

    def reset(self) -> None:
        """They have been given back."""
        self._ready, self._retry_at = False, None

    async def ensure(self, pod: pods.Pod) -> bool:
        """Prepare the claims; whether they are. Woken too early it does nothing."""
        if self._ready:
            return True
        now = self._services.clock.monotonic()
        if self._retry_at is not None and now < self._retry_at:
            return False
        try:
            await self._services.claims.prepare(pod)
        except DeviceError as error:
            message = f"Failed to prepare dynamic resources: {error}"
            self._services.tell(pod, "Warning", "FailedPrepareDynamicResources", message)
            self._retry_at = now + min(_RETRY_FIRST * 2**self._failures, _RETRY_MOST)
            self._failures += 1
            return False
        self._ready, self._retry_at, self._failures = True, None, 0
        return True
