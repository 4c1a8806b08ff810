"""What workloads have to do, and `metrics.k8s.io`, which says so.

    cluster.load.put("default", "web", 0.4)    # 0.4 cores of work for the pods labelled app=web

An application's work is shared by its ready pods: the more there are, the less each has to do. In the place of the
aggregated metrics server `Metered` answers what an autoscaler asks, the list of a namespace's pods, once the API server
has let the question pass (it does not know the path itself). Each pod that is ready has used its share for the last
15 seconds; the others have not been measured yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs

import orjson

from shirube.api.gvr import PODS
from shirube.client.rest import Client, Object
from shirube.foundation.clock import Clock
from shirube.metrics_server import documents
from shirube.metrics_server.usage import Usage
from shirube.serving.messages import Request, Response, Upgrade

_ROOT = f"/apis/{documents.GROUP_VERSION}/"
_WINDOW_SECONDS = 15.0
_MEMORY = 32 << 20


class Serving(Protocol):
    async def handle(self, request: Request) -> Response | Upgrade: ...


class Load:
    """Work in cores, by namespace and the label `app`."""

    def __init__(self) -> None:
        self._cores: dict[tuple[str, str], float] = {}

    def put(self, namespace: str, app: str, cores: float) -> None:
        self._cores[namespace, app] = cores

    def shares(self, namespace: str, pods: list[Object]) -> list[tuple[Object, float]]:
        """The ready pods and the cores that each uses; `pods` must be all of their application."""
        ready = [(pod, app) for pod in pods if _ready(pod) and (app := _app(pod))]
        counts = Counter(app for _, app in ready)
        return [(pod, self._cores.get((namespace, app), 0.0) / counts[app]) for pod, app in ready]


def _app(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("app", ""))


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not pod["metadata"].get("deletionTimestamp") and any(
        c["type"] == "Ready" and c["status"] == "True" for c in conditions
    )


class Metered:
    """An API server with metrics behind it."""

    def __init__(self, server: Callable[[], Serving], load: Load, clock: Clock) -> None:
        """`server` is asked anew for each request: it may have been started again."""
        self._server, self._load, self._clock = server, load, clock
        self.reader: Client | None = None  # lists pods; set once it exists

    async def handle(self, request: Request) -> Response | Upgrade:
        answer = await self._server().handle(request)
        if not request.path.startswith(_ROOT) or not isinstance(answer, Response) or answer.status != 404:
            return answer
        match request.path.removeprefix(_ROOT).split("/"):
            case ["namespaces", namespace, "pods"] if request.method == "GET" and self.reader is not None:
                selector = parse_qs(request.query).get("labelSelector", [""])[0]
                pods = (await self.reader.list(PODS, namespace, label_selector=selector))["items"]
                return Response(200, orjson.dumps(self._metrics(namespace, pods)))
        return answer

    def _metrics(self, namespace: str, pods: list[Object]) -> Object:
        now = self._clock.now()
        items = []
        for pod, cores in self._load.shares(namespace, pods):
            containers = pod["spec"]["containers"]
            usage = Usage(now, _WINDOW_SECONDS, cores / len(containers), _MEMORY)
            items.append(documents.pod_metrics(pod["metadata"], {c["name"]: usage for c in containers}, now))
        return documents.listed("PodMetrics", items)
