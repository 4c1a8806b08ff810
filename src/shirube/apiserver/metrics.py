"""/metrics: what the server did and how it feels, under upstream's metric names where we have what they count.

Counting must cost next to nothing a request, so numbers are kept in plain lists and become Prometheus text only
when somebody asks (the client library is imported then).
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from shirube.apiserver import encoding

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext
    from shirube.serving.messages import Response

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
LAG_INTERVAL = 1.0  # seconds between two looks at how late the loop is
TEXT = "text/plain; version=0.0.4; charset=utf-8"
MAX_SERIES = 20_000  # names come from URLs that were routed, so this is never met in good faith

RequestKey = tuple[str, str, str, str, str]  # verb, group, version, resource, subresource


class _Series:
    """Requests of one kind."""

    __slots__ = ("codes", "durations")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.durations = [0.0] * (len(BUCKETS) + 2)  # a count per bucket, one for the rest, the sum


class Metrics:
    def __init__(self) -> None:
        self._series: dict[RequestKey, _Series] = {}
        self.in_flight = 0
        self.lag_last = 0.0
        self.lag_max = 0.0

    def observe(self, key: RequestKey, code: int, seconds: float) -> None:
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                return
            series = self._series[key] = _Series()
        codes, durations = series.codes, series.durations
        codes[code] = codes.get(code, 0) + 1
        durations[bisect.bisect_left(BUCKETS, seconds)] += 1
        durations[-1] += seconds

    async def watch_loop(self) -> None:
        """Measure how late the event loop runs what is due."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self.lag_last = max(0.0, loop.time() - due)
            self.lag_max = max(self.lag_max, self.lag_last)

    def families(self, server: ServerContext) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        from shirube.apiserver.admission.metrics import AdmissionMetrics  # admission imports what imports this

        labels = ["verb", "group", "version", "resource", "subresource"]
        requests = CounterMetricFamily(
            "apiserver_request", "Requests by verb, resource and HTTP code.", labels=[*labels, "code"]
        )
        for key, series in self._series.items():
            for code, number in series.codes.items():
                requests.add_metric([*key, str(code)], number)
        yield requests
        seconds = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "Time to the answer's head.", labels=labels
        )
        for key, series in self._series.items():
            counts = series.durations
            total, buckets = 0.0, []
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], counts[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            seconds.add_metric(list(key), buckets, counts[-1])
        yield seconds
        yield GaugeMetricFamily("apiserver_current_inflight_requests", "Requests being answered.", value=self.in_flight)
        watchers = GaugeMetricFamily("apiserver_longrunning_requests", "Watches being served.", labels=["verb"])
        watchers.add_metric(["WATCH"], len(server.watchers))
        yield watchers
        objects = GaugeMetricFamily("apiserver_storage_objects", "Stored objects by resource.", labels=["resource"])
        for resource in server.table:
            if not resource.virtual and resource.storage == resource.gvr:
                objects.add_metric([resource.group_resource], server.caches.of(resource).count())
        yield objects
        yield from server.fairness.families()
        yield from AdmissionMetrics.of(server).families()
        if server.authenticator.tokens is not None:
            yield from server.authenticator.tokens.uses.families()
        if server.audit is not None:
            yield from server.audit.families()
        for name, file in server.files.items():
            reloads = CounterMetricFamily(
                f"apiserver_{name}_config_controller_automatic_reloads", "New contents of a file.", labels=["status"]
            )
            for status, number in file.reloads.items():
                reloads.add_metric([status], number)
            yield reloads
        lag = GaugeMetricFamily("shirube_event_loop_lag_seconds", "How late the event loop ran.", labels=["kind"])
        lag.add_metric(["last"], self.lag_last)
        lag.add_metric(["max"], self.lag_max)
        yield lag


class _Collector:
    """The library's way in: made for one scrape."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server

    def collect(self) -> Iterator[Any]:
        return self._server.metrics.families(self._server)


async def handle(server: ServerContext, rc: RequestContext) -> Response:
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(server))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return encoding.respond_raw(rc, generate_latest(registry), TEXT)


async def slis(server: ServerContext, rc: RequestContext) -> Response:
    """/metrics/slis: the health checks as gauges (KEP-3466)."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    from shirube.apiserver.health import CHECKS

    registry = CollectorRegistry()
    gauge = Gauge("kubernetes_healthcheck", "Outcome of a health check.", ["name", "type"], registry=registry)
    for endpoint, names in CHECKS.items():
        for name in names:
            gauge.labels(name, endpoint).set(0 if await server.health.check(name) else 1)
    return encoding.respond_raw(rc, generate_latest(registry), TEXT)
