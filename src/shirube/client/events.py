"""Events: what happened to an object, told once and counted, never in the way of the work.

`EventRecorder.event` returns at once; a task of its own writes. What client-go's correlator does, in its
order:

- spam: 25 events at once about one object, then one in five minutes; the rest is dropped;
- similar events (same object, type and reason, ten different messages within ten minutes) become one that
says `(combined from similar events): …`;
- the same event again raises `count` and `lastTimestamp` of the one already written, by a patch.

When the API server is away events wait in a bounded queue; when that is full they are dropped and the log
says how many. `style="events.k8s.io"` writes `events.k8s.io/v1` (eventTime, action, reportingController,
series), as the scheduler does; the default writes core `v1`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from shirube.api.errors import ApiError
from shirube.api.gvr import EVENTS, EVENTS_V1, GVR
from shirube.foundation import log
from shirube.foundation.clock import SYSTEM, Clock, rfc3339, rfc3339_micro
from shirube.foundation.tasks import cancel, signalled, spawn

if TYPE_CHECKING:  # the API server tells events, too, and has no use for an HTTP client
    from shirube.client.rest import Object

NORMAL, WARNING = "Normal", "Warning"

_QUEUE = 1000
_CACHE = 4096
_SPAM_BURST, _SPAM_PER_SECOND = 25, 1 / 300
_SIMILAR, _SIMILAR_SECONDS = 10, 600.0
_MESSAGE_LIMIT = 1024
_TRIES, _TRY_SECONDS = 12, 10.0
_SERIES_SECONDS = 6 * 60.0

Key = tuple[str, ...]


class Sink(Protocol):
    """Where events are written: a `client.rest.Client`, or the API server's own store."""

    async def create(self, gvr: GVR, obj: Object, namespace: str | None = None) -> Object: ...

    async def patch(
        self, gvr: GVR, name: str, patch: Any, namespace: str | None = None, type: str = "merge"
    ) -> Object: ...


@dataclass(slots=True)
class _Similar:
    messages: dict[str, None] = field(default_factory=dict)  # in the order they came in
    last: float = 0.0


@dataclass(slots=True)
class _Known:
    """An event that has been written: what a repetition patches."""

    name: str
    count: int
    first: str
    last: float


class Correlator:
    """Decides what becomes of an event: dropped, combined, counted or written. No I/O."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._spam: OrderedDict[Key, tuple[float, float]] = OrderedDict()
        self._similar: OrderedDict[Key, _Similar] = OrderedDict()
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def admit(self, about: Key) -> bool:
        """False when this object has been talked about too much."""
        now = self._clock.monotonic()
        tokens, at = self._spam.get(about, (float(_SPAM_BURST), now))
        tokens = min(float(_SPAM_BURST), tokens + (now - at) * _SPAM_PER_SECOND)
        admitted = tokens >= 1
        _remember(self._spam, about, (tokens - 1 if admitted else tokens, now))
        return admitted

    def combine(self, group: Key, message: str) -> tuple[str, str]:
        """(message to write, message part of its identity): the latter is "" once events are combined."""
        now = self._clock.monotonic()
        similar = self._similar.get(group)
        if similar is None or now - similar.last > _SIMILAR_SECONDS:
            similar = _Similar()
        similar.last = now
        similar.messages[message] = None
        _remember(self._similar, group, similar)
        if len(similar.messages) < _SIMILAR:
            return message, message
        del similar.messages[next(iter(similar.messages))]  # bounded, and still at the limit with the next new one
        return "(combined from similar events): " + message, ""

    def known(self, key: Key) -> _Known | None:
        return self._known.get(key)

    def learn(self, key: Key, known: _Known) -> None:
        _remember(self._known, key, known)

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def _remember(cache: OrderedDict[Key, Any], key: Key, value: Any) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _CACHE:
        cache.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Happening:
    regarding: Object
    type: str
    reason: str
    message: str
    action: str
    related: Object | None
    annotations: dict[str, str] | None
    at: float


class EventRecorder:
    """`component` is who speaks ("kubelet"), `host` where it runs. Close it to write what is still queued."""

    def __init__(
        self,
        client: Sink,
        component: str,
        host: str = "",
        *,
        style: str = "core",
        clock: Clock = SYSTEM,
    ) -> None:
        self._client = client
        self._component, self._host = component, host
        self._modern = style == "events.k8s.io"
        self._clock = clock
        self._correlator = Correlator(clock)
        self._queue: deque[_Happening] = deque()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._dropped = 0
        self._last_stamp = 0
        self._log = log.get("events")

    def event(
        self,
        obj: Object,
        type: str,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Tell that `reason` happened to `obj` (an object, or an ObjectReference with fieldPath).

        Must be called inside the running loop; never blocks and never fails.
        """
        if len(self._queue) >= _QUEUE:
            self._dropped += 1
            return
        self._queue.append(
            _Happening(
                reference(obj),
                type,
                reason,
                message[:_MESSAGE_LIMIT],
                action,
                reference(related) if related else None,
                annotations,
                self._clock.now(),
            )
        )
        self._wake.set()
        self._drained.clear()
        if self._task is None or self._task.done():
            self._task = spawn(self._run(), name=f"events-{self._component}")

    async def close(self, seconds: float = 1.0) -> None:
        """Write what is queued, for at most `seconds`, and stop."""
        if self._task is None:
            return
        if not await signalled(self._drained, seconds):
            self._log.warning("events left unwritten", component=self._component, count=len(self._queue))
        await cancel(self._task)
        self._task = None

    async def _run(self) -> None:
        while True:
            while self._queue:
                happening = self._queue[0]
                await self._write(happening)
                self._queue.popleft()
                if self._dropped:
                    self._log.warning(
                        "dropped events, too many at once", component=self._component, dropped=self._dropped
                    )
                    self._dropped = 0
            self._wake.clear()
            self._drained.set()
            await self._wake.wait()

    async def _write(self, happening: _Happening) -> None:
        about, part = self._identity(happening.regarding)
        if not self._correlator.admit(about):
            return
        group = (*about, happening.type, happening.reason, happening.action)
        message, identity = self._correlator.combine(group, happening.message)
        key = (*group, part, identity)
        for attempt in range(_TRIES):
            try:
                await self._send(happening, message, key)
                return
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    # Rejected (its namespace is going away, a bad reference): it will not get better.
                    self._log.debug("cannot record event", reason=happening.reason, error=str(error))
                    return
                if attempt < _TRIES - 1:
                    await asyncio.sleep(min(0.1 * 2**attempt, _TRY_SECONDS))
            except Exception as error:
                self._log.error("cannot record event", reason=happening.reason, error=repr(error))
                return
        self._log.warning("gave up recording event", reason=happening.reason, text=message)

    def _identity(self, regarding: Object) -> tuple[Key, str]:
        """(the object, what part of it): the same object in another version is still the same, but for the newer
        form, which compares whole references."""
        if self._modern:
            return tuple(str(v) for v in regarding.values()), ""
        about = tuple(str(regarding.get(k) or "") for k in ("kind", "apiVersion", "namespace", "name", "uid"))
        return about, str(regarding.get("fieldPath") or "")

    async def _send(self, happening: _Happening, message: str, key: Key) -> None:
        known = self._correlator.known(key)
        gvr: GVR = EVENTS_V1 if self._modern else EVENTS
        namespace = happening.regarding.get("namespace") or "default"
        if known is not None and not (self._modern and happening.at - known.last > _SERIES_SECONDS):
            try:
                await self._client.patch(
                    gvr, known.name, self._repetition(happening, message, known), namespace, type="strategic"
                )
                self._correlator.learn(key, _Known(known.name, known.count + 1, known.first, happening.at))
                return
            except ApiError as error:
                if error.code != 404:
                    raise
                self._correlator.forget(key)  # expired meanwhile: written anew, the count goes on
        count = known.count + 1 if known is not None and not self._modern else 1
        name = self._name(happening)
        first = known.first if known is not None and not self._modern else rfc3339(happening.at)
        body = self._modern_body if self._modern else self._core_body
        await self._client.create(gvr, body(happening, message, name, namespace, count, first), namespace)
        self._correlator.learn(key, _Known(name, count, first, happening.at))

    def _name(self, happening: _Happening) -> str:
        # Nanoseconds in hex, as upstream; never twice the same from one recorder.
        self._last_stamp = max(self._last_stamp + 1, int(happening.at * 1e9))
        return f"{happening.regarding.get('name', '')}.{self._last_stamp:x}"

    def _repetition(self, happening: _Happening, message: str, known: _Known) -> Object:
        if self._modern:
            series = {"count": known.count + 1, "lastObservedTime": rfc3339_micro(happening.at)}
            return {"series": series}
        return {"count": known.count + 1, "lastTimestamp": rfc3339(happening.at), "message": message}

    def _metadata(self, happening: _Happening, name: str, namespace: str) -> Object:
        metadata: Object = {"name": name, "namespace": namespace}
        if happening.annotations:
            metadata["annotations"] = happening.annotations
        return metadata

    def _core_body(
        self, happening: _Happening, message: str, name: str, namespace: str, count: int, first: str
    ) -> Object:
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        body: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": self._metadata(happening, name, namespace),
            "involvedObject": happening.regarding,
            "reason": happening.reason,
            "message": message,
            "source": source,
            "firstTimestamp": first,
            "lastTimestamp": rfc3339(happening.at),
            "count": count,
            "type": happening.type,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        if happening.action:
            body["action"] = happening.action
        if happening.related:
            body["related"] = happening.related
        return body

    def _modern_body(
        self, happening: _Happening, message: str, name: str, namespace: str, count: int, first: str
    ) -> Object:
        body: Object = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": self._metadata(happening, name, namespace),
            "regarding": happening.regarding,
            "reason": happening.reason,
            "note": message,
            "type": happening.type,
            "eventTime": rfc3339_micro(happening.at),
            "action": happening.action or happening.reason,
            "reportingController": self._component,
            "reportingInstance": self._host or self._component,
        }
        if happening.related:
            body["related"] = happening.related
        return body


def reference(obj: Object) -> Object:
    """The ObjectReference of an object; a reference is returned as it is."""
    metadata = obj.get("metadata")
    if metadata is None:
        return obj
    out = {"kind": obj.get("kind", ""), "apiVersion": obj.get("apiVersion", "")}
    if namespace := metadata.get("namespace"):
        out["namespace"] = namespace
    out["name"] = metadata.get("name", "")
    for key in ("uid", "resourceVersion"):
        if value := metadata.get(key):
            out[key] = value
    return out
