"""API priority and fairness: which requests run now, which wait, which are sent away.

Every request is put into a flow by the stored FlowSchemas (`classifying`), and each priority level runs so many at a
time as its share of the server's seats allows (`levels`); more wait in its queues, fairly between flows, or are
answered 429. Levels lend idle seats to one another. Requests that last (watches, exec, proxies) are classified but hold
no seat. Answers say in headers how they were classified.
See "API Priority and Fairness" in the upstream documentation and KEP-1040.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from shirube.apiserver.fairness.classifying import Flow, Schema, distinguisher
from shirube.apiserver.fairness.levels import Level, Levels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shirube.apiserver.context import RequestContext, ServerContext

TOTAL_SEATS = 600  # upstream's 400 reading and 200 writing requests in flight
MAX_KNOWN = 4096  # classifications that are remembered


class Class(NamedTuple):
    """How a request was classified."""

    schema: str  # names, for metrics
    level: Level
    headers: tuple[tuple[str, str], ...]


class Fairness:
    def __init__(self, server: ServerContext, seats: int = TOTAL_SEATS) -> None:
        self._server = server
        self._revisions = (-1, -1)
        self._schemas: list[tuple[Schema, Level]] = []
        self._known: dict[Flow, Class | None] = {}
        self.levels = Levels(seats)

    def classify(self, rc: RequestContext) -> Class | None:
        """None before the objects are there, and for what no schema knows: those run at once."""
        a = rc.attributes
        if a.is_resource:
            flow = Flow(a.user.name, a.user.groups, a.verb, a.group, a.resource, a.subresource, a.namespace, "")
        else:
            flow = Flow(a.user.name, a.user.groups, a.verb, "", "", "", "", a.path)
        try:
            reader = self._server.reader
            revisions = (reader.revision(FLOWSCHEMAS), reader.revision(PRIORITYLEVELCONFIGURATIONS))
            if revisions != self._revisions:
                self._read()
                self._revisions = revisions
        except ApiError:
            return None  # not read in yet
        if flow in self._known:
            return self._known[flow]
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        found = self._known[flow] = self._classified(flow)
        return found

    def _classified(self, flow: Flow) -> Class | None:
        for schema, level in self._schemas:
            if schema.matches(flow):
                headers = (
                    ("X-Kubernetes-PF-FlowSchema-UID", schema.uid),
                    ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
                )
                return Class(schema.name, level, headers)
        return None

    def _read(self) -> None:
        reader = self._server.reader
        self.levels.update(reader.list(PRIORITYLEVELCONFIGURATIONS))
        schemas = sorted(map(Schema.of, reader.list(FLOWSCHEMAS)), key=lambda s: (s.precedence, s.name))
        # A schema of a level that is not there is dangling: requests go on to the next.
        self._schemas = [(s, level) for s in schemas if (level := self.levels.by_name.get(s.level)) is not None]
        self._known.clear()

    async def enter(self, found: Class, rc: RequestContext) -> bool:
        """Take a seat, waiting for it if need be; whether one was taken (give it back with `leave`). ApiError 429."""
        level = found.level
        if level.exempt or rc.info.long_running:
            return False
        if not self.levels.try_take(level):
            schema = next(s for s, _ in self._schemas if s.name == found.schema)
            await self.levels.wait(level, f"{schema.name}/{distinguisher(schema, rc)}")
        return True

    def leave(self, found: Class) -> None:
        self.levels.give_back(found.level)

    def families(self) -> Iterator[Any]:
        """Upstream's metrics of levels."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        prefix, label = "apiserver_flowcontrol", ["priority_level"]
        gauges: dict[str, tuple[str, Callable[[Level], int]]] = {
            "current_executing_requests": ("Requests being run.", lambda v: v.running),
            "current_inqueue_requests": ("Requests waiting.", lambda v: v.waiting),
            "nominal_limit_seats": ("Seats by share.", lambda v: v.nominal),
        }
        for name, (text, value) in gauges.items():
            family = GaugeMetricFamily(f"{prefix}_{name}", text, labels=label)
            for level in self.levels.by_name.values():
                family.add_metric([level.name], value(level))
            yield family
        counters: dict[str, tuple[str, Callable[[Level], int]]] = {
            "dispatched_requests": ("Requests that got a seat.", lambda v: v.dispatched),
            "rejected_requests": ("Requests that were sent away.", lambda v: v.rejected),
        }
        for name, (text, value) in counters.items():
            counted = CounterMetricFamily(f"{prefix}_{name}", text, labels=label)
            for level in self.levels.by_name.values():
                counted.add_metric([level.name], value(level))
            yield counted
