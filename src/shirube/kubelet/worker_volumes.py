"""The volumes of one worker's pod: set up once, tried again when they cannot be, kept up to date."""

from __future__ import annotations

from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet.api_objects import REFRESH
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.volumes.volume import Made, VolumeError

_RETRY_FIRST, _RETRY_MOST = 1.0, 10.0


class WorkerVolumes:
    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self.paths: dict[str, Made] | None = None
        self._retry_at: float | None = None  # on the monotonic clock, as the next
        self._refresh_at = 0.0
        self._failures = 0
        self._shown: Any = None

    def reset(self, pod: pods.Pod) -> None:
        """They have been removed."""
        self.paths = None
        self._services.watches.forget(pods.uid(pod))

    def next_round(self, pod: pods.Pod) -> float | None:
        """Seconds until something is due here."""
        now = self._services.clock.monotonic()
        if self._retry_at is not None:
            return self._retry_at - now
        if self._services.volumes.has_live(pod):
            return self._refresh_at - now
        return None

    async def ensure(self, pod: pods.Pod, pod_ips: tuple[str, ...]) -> bool:
        """Set the volumes up; whether they are there. Woken too early it does nothing."""
        if self.paths is not None:
            return True
        now = self._services.clock.monotonic()
        if self._retry_at is not None and now < self._retry_at:
            return False
        try:
            self.paths = await self._services.volumes.set_up(pod, pod_ips)
        except VolumeError as error:
            self._services.tell(pod, "Warning", "FailedMount", str(error))
            self._retry_at = now + min(_RETRY_FIRST * 2**self._failures, _RETRY_MOST)
            self._failures += 1
            return False
        self._retry_at, self._failures = None, 0
        self._refreshed(pod)
        return True

    async def refresh(self, pod: pods.Pod, pod_ips: tuple[str, ...]) -> None:
        """Let files follow the API: at once when what they show changed, and from time to time to be sure.

        After a restart of the agent the first call finds the volumes of a running pod again.
        """
        volumes = self._services.volumes
        if not volumes.has_live(pod) or self._retry_at is not None:
            return
        volumes.follow(pod, self._services.watches)
        due = self._services.clock.monotonic() >= self._refresh_at
        if not due and self._shown == self._showing(pod):
            return
        self._refreshed(pod)
        try:
            await volumes.set_up(pod, pod_ips, max_age=REFRESH / 2, live_only=True)
        except VolumeError as error:
            self._services.tell(pod, "Warning", "FailedMount", str(error))

    def _refreshed(self, pod: pods.Pod) -> None:
        self._refresh_at = self._services.clock.monotonic() + REFRESH
        self._shown = self._showing(pod)

    def _showing(self, pod: pods.Pod) -> Any:
        """What changes when files may have to: the pod's own metadata and resources, ConfigMaps and Secrets."""
        metadata = pod["metadata"]
        resources = [container.get("resources") for _, container in pods.containers(pod)]
        news = self._services.watches.news(pods.uid(pod))
        return metadata.get("labels"), metadata.get("annotations"), resources, news
