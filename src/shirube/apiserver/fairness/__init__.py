"""API priority and fairness: which requests run now, which wait, which are sent away.

Every request is put into a flow by the stored FlowSchemas (`classifying`) and takes the seats that it is expected to
cost (`work`) of its priority level (`levels`); when there are none it waits, fairly between flows (`queues`), or is
answered 429. Levels lend idle seats to one another. A watch holds its seats until it has begun; what lasts otherwise
(exec, logs, proxies) is classified and holds none. Answers say in headers how they were classified.
See "API Priority and Fairness" in the upstream documentation and KEP-1040.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS
from shirube.apiserver.fairness import reporting, work
from shirube.apiserver.fairness.classifying import Flow, Schema, distinguisher
from shirube.apiserver.fairness.levels import CANCELLED, Level, Levels, Refused, Seated, too_many_requests
from shirube.apiserver.fairness.reporting import Counts
from shirube.serving.messages import Response, Upgrade

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

TOTAL_SEATS = 600  # upstream's 400 reading and 200 writing requests in flight
MAX_KNOWN = 4096  # classifications that are remembered


class Class(NamedTuple):
    """How a request was classified."""

    schema: Schema
    level: Level
    headers: tuple[tuple[str, str], ...]
    counts: Counts


class Ticket(NamedTuple):
    """A request that runs."""

    found: Class
    seated: Seated | None  # None: one seat that was free, taken without more ado
    began: float
    afterwards: float = 0.0


class Fairness:
    def __init__(self, server: ServerContext, seats: int = TOTAL_SEATS) -> None:
        self._server = server
        self._revisions = (-1, -1)
        self._classes: list[Class] = []
        self._known: dict[Flow, Class | None] = {}
        self._counts: dict[tuple[str, str], Counts] = {}
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
        known = self._known.get(flow)
        if known is not None or flow in self._known:
            return known
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        found = self._known[flow] = next((c for c in self._classes if c.schema.matches(flow)), None)
        return found

    def _read(self) -> None:
        reader = self._server.reader
        self.levels.update(reader.list(PRIORITYLEVELCONFIGURATIONS))
        schemas = sorted(map(Schema.of, reader.list(FLOWSCHEMAS)), key=lambda s: (s.precedence, s.name))
        self._classes = []
        for schema in schemas:
            level = self.levels.by_name.get(schema.level)
            if level is None:
                continue  # dangling: requests go on to the next
            headers = (
                ("X-Kubernetes-PF-FlowSchema-UID", schema.uid),
                ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
            )
            counts = self._counts.setdefault((level.name, schema.name), Counts())
            self._classes.append(Class(schema, level, headers, counts))
        self._known.clear()

    async def enter(self, found: Class, rc: RequestContext) -> Ticket | None:
        """Take seats, waiting for them if need be; None: none are needed, else give it to `leave`. ApiError 429."""
        level, counts, info = found.level, found.counts, rc.info
        if level.exempt or (info.long_running and info.verb != "watch"):
            counts.dispatched += 1
            return None
        asked = work.estimate(rc, level) if info.verb in work.JUDGED else work.ONE
        if asked is work.ONE and level.seats < level.nominal and not level.queues.waiting:
            # What nearly every request of a server that is not overloaded takes: counted, nothing more.
            level.seats += 1
            level.running += 1
            counts.at_once += 1
            return Ticket(found, None, self._server.clock.monotonic())
        flow = f"{found.schema.name}/{distinguisher(found.schema, rc)}"
        seated = self.levels.try_take(level, asked.seats, flow)
        if seated is None:
            seated = await self._waited(found, flow, asked.seats)
        else:
            counts.waited(0.0)
        counts.dispatched += 1
        counts.running += 1
        counts.seats += asked.seats
        counts.estimated(asked.seats)
        return Ticket(found, seated, self._server.clock.monotonic(), asked.afterwards)

    async def _waited(self, found: Class, flow: str, seats: int) -> Seated:
        counts, clock = found.counts, self._server.clock
        since = clock.monotonic()
        counts.waiting += 1
        try:
            seated = await self.levels.wait(found.level, flow, seats)
        except Refused as refused:
            counts.refuse(str(refused), clock.monotonic() - since)
            raise too_many_requests() from None
        except asyncio.CancelledError:
            counts.refuse(CANCELLED, clock.monotonic() - since)
            raise
        finally:
            counts.waiting -= 1
        counts.waited(clock.monotonic() - since)
        return seated

    def answered(self, ticket: Ticket, rc: RequestContext, response: Response | Upgrade) -> None:
        """The request has its answer. One that streams, a watch excepted, holds its seats until it has been sent."""
        if isinstance(response, Upgrade) or isinstance(response.body, bytes) or rc.info.long_running:
            self.leave(ticket)
        else:
            response.body = _Streaming(response.body, partial(self.leave, ticket))

    def leave(self, ticket: Ticket) -> None:
        counts = ticket.found.counts
        counts.runs.add(self._server.clock.monotonic() - ticket.began)
        if ticket.seated is None:
            counts.left += 1
            self.levels.give_back_one(ticket.found.level)
            return
        counts.running -= 1
        if ticket.afterwards:
            asyncio.get_running_loop().call_later(ticket.afterwards, self._give_back, counts, ticket.seated)
        else:
            self._give_back(counts, ticket.seated)

    def _give_back(self, counts: Counts, seated: Seated) -> None:
        counts.seats -= seated.seats
        self.levels.give_back(seated)

    def families(self) -> Iterator[Any]:
        """Upstream's metrics."""
        yield from reporting.families(self.levels, self._counts)


class _Streaming:
    """A body that is passed on as it is; `done` is called once, when it ends or is closed."""

    def __init__(self, chunks: AsyncIterator[bytes], done: Callable[[], None]) -> None:
        self._chunks = chunks
        self._done: Callable[[], None] | None = done

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        try:
            close = getattr(self._chunks, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._end()

    def _end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()
