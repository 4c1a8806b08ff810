"""EventRateLimit: nobody floods the store with Events. Off unless it is configured.

Each limit is a token bucket for every key of its type: the server as a whole, a namespace, a user, or a source together
with the object that its events are about. A bucket holds `burst` tokens and gets `qps` a second, so that within any t
seconds at most burst + qps × t events of one key pass. Every limit takes its token, also of an event that another one
refuses, as upstream. Of each limit only the `cacheSize` keys that were used last are remembered; a forgotten one starts
with a full bucket. Events written through events.k8s.io count, too: upstream lets those pass, which would leave a way
around the limit to the very same objects. Dry runs pass and take nothing.
See "EventRateLimit" under "Admission Control" in the upstream documentation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import errors
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.configuration_file import ConfigurationError, Fields, of_kind

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

KINDS = (("eventratelimit.admission.k8s.io/v1alpha1", "Configuration"),)
CACHE_SIZE = 4096
_LARGEST = (1 << 31) - 1

Key = tuple[str, ...]


class Limit(NamedTuple):
    type: str
    qps: int
    burst: int
    cache_size: int


def read_configuration(value: Any, where: str) -> tuple[Limit, ...]:
    """Raises ConfigurationError."""
    fields = of_kind(value, where, KINDS)
    limits = tuple(_limit(item) for item in fields.objects("limits"))
    fields.done()
    if not limits:
        raise ConfigurationError(f"{fields.at('limits')}: Invalid value: must not be empty")
    return limits


def _limit(fields: Fields) -> Limit:
    kind = fields.text("type", required=True)
    if kind not in _KEYS:
        known = ", ".join(f'"{name}"' for name in sorted(_KEYS))
        raise ConfigurationError(f'{fields.at("type")}: Unsupported value: "{kind}": supported values: {known}')
    limit = Limit(kind, _positive(fields, "qps"), _positive(fields, "burst"), fields.number("cacheSize", 0) or 0)
    if limit.cache_size < 0:
        raise ConfigurationError(f"{fields.at('cacheSize')}: Invalid value: {limit.cache_size}: must not be negative")
    fields.done()
    return limit


def _positive(fields: Fields, name: str) -> int:
    number = fields.number(name, 0) or 0
    if not 0 < number <= _LARGEST:
        raise ConfigurationError(f"{fields.at(name)}: Invalid value: {number}: must be positive")
    return number


def _source_and_object(req: AdmissionRequest) -> Key:
    event = req.obj or {}
    source, about = event.get("source") or {}, event.get("involvedObject") or {}
    return (
        source.get("component") or event.get("reportingComponent") or "",
        source.get("host") or event.get("reportingInstance") or "",
        *(about.get(name) or "" for name in ("kind", "namespace", "name", "uid", "apiVersion")),
    )


_KEYS: dict[str, Callable[[AdmissionRequest], Key]] = {
    "Server": lambda req: (),
    "Namespace": lambda req: (req.namespace,),
    "User": lambda req: (req.user.name,),
    "SourceAndObject": _source_and_object,
}


class Buckets:
    """The token buckets of one limit."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._size = 1 if limit.type == "Server" else limit.cache_size or CACHE_SIZE
        self._held: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # tokens, and when there were so many

    def take(self, key: Key, now: float) -> bool:
        """One token of the key's bucket, if it has one; `now` is on a monotonic clock."""
        tokens, since = self._held.get(key) or (float(self._limit.burst), now)
        tokens = min(float(self._limit.burst), tokens + (now - since) * self._limit.qps)
        taken = tokens >= 1.0
        self._held[key] = (tokens - 1.0 if taken else tokens, now)
        self._held.move_to_end(key)
        if len(self._held) > self._size:
            self._held.popitem(last=False)
        return taken


class EventRateLimit(Plugin):
    name = "EventRateLimit"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "events"), ("events.k8s.io", "events")))
    read = staticmethod(read_configuration)
    must_be_configured = True

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._limits: list[tuple[str, Callable[[AdmissionRequest], Key], Buckets]] = []

    def configure(self, configuration: tuple[Limit, ...]) -> None:
        self._limits = [(limit.type, _KEYS[limit.type], Buckets(limit)) for limit in configuration]

    async def validate(self, req: AdmissionRequest) -> None:
        if req.dry_run:
            return
        now, reached = self.server.clock.monotonic(), ""
        for kind, key_of, buckets in self._limits:
            key = key_of(req)
            if not buckets.take(key, now):
                reached = f"limit reached on type {kind} for key {''.join(key)}"
        if reached:
            raise errors.too_many_requests(f"Too many requests: {reached}", retry_after=0)
