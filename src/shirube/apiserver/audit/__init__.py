"""The audit log: who asked for what, when, and how it was answered, as far as a policy wants it written down.

`handle` tells an `Auditor` of each request at its stages: `begin` after authentication (stage RequestReceived),
`answered` with the answer (ResponseComplete; ResponseStarted first for what goes on: watches, exec, logs),
`refused_login` when credentials are wrong. Without a policy there is no Auditor and a request pays one comparison; a
request whose level is None pays for matching the rules. Events are made and written by a thread (`log_file`); the event
loop only keeps what it has in hand anyway: headers' values and the bytes of bodies.

See "Auditing" in the upstream documentation (audit.k8s.io/v1). Modules: `policy`, `events`, `log_file`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shirube.apiserver.audit import policy as policies
from shirube.apiserver.audit.events import MAX_RESPONSE, MAX_USER_AGENT, Body, Record, line, source_ips
from shirube.apiserver.audit.log_file import LogFile, Standard, Writer
from shirube.apiserver.audit.policy import COMPLETE, LEVELS, NONE, PANIC, RECEIVED, REQUEST_RESPONSE, STARTED
from shirube.apiserver.negotiation import media_type
from shirube.serving.messages import Connection, Response, Upgrade

if TYPE_CHECKING:
    from shirube.api.errors import ApiError
    from shirube.apiserver.context import RequestContext
    from shirube.apiserver.options import Options
    from shirube.apiserver.user import User
    from shirube.foundation.clock import Clock

__all__ = ["Auditor", "Record"]

DECISION, REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"


class Auditor:
    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self.writer = writer
        self._policy = policies.Policy([])
        self.levels = [0] * len(LEVELS)  # requests by level

    @classmethod
    def of(cls, options: Options, clock: Clock) -> Auditor:
        path = options.audit_log or Path("-")
        if str(path) == "-":
            return cls(clock, Writer(Standard()))
        log = LogFile(
            path, clock, options.audit_log_max_size << 20, options.audit_log_max_backups, options.audit_log_max_age
        )
        return cls(clock, Writer(log))

    def configure(self, data: bytes) -> None:
        """Follow a Policy from now on. Raises ConfigurationError, and changes nothing then."""
        self._policy = policies.read(data)

    async def begin(self, rc: RequestContext) -> None:
        """The request has been read and its user is known."""
        verdict = self._policy.judge(rc.attributes)
        self.levels[verdict.level] += 1
        if verdict.level == NONE:
            return
        await self.writer.room()
        rc.audit = record = self._record(rc, verdict)
        self._emit(record, RECEIVED)

    def refused_login(self, rc: RequestContext, error: ApiError) -> None:
        """Credentials were shown and are wrong."""
        verdict = self._policy.judge(rc.attributes)
        self.levels[verdict.level] += 1
        if verdict.level == NONE:
            return
        headers = rc.request.headers
        scheme = (headers.get("authorization") or "").partition(" ")[0].lower()
        shown = [scheme] if scheme in ("bearer", "basic") else ["x509"] if rc.request.peer.certificate else ["none"]
        message = "Authentication failed, attempted: " + ", ".join(shown)
        record = self._record(rc, verdict)
        self._emit(record, STARTED, error.code, message=message)

    def acts_as(self, rc: RequestContext, user: User, constraint: str = "") -> None:
        """The request is carried out in another user's name; `constraint` is the verb that allowed it to."""
        record = rc.audit
        if record is not None:
            record.head = {**record.head, "impersonatedUser": user.info()}
            if constraint:
                record.head["authenticationMetadata"] = {"impersonationConstraint": constraint}

    def answered(self, rc: RequestContext, response: Response | Upgrade, panic: bool = False) -> None:
        """The answer is about to be sent; what it goes on with is followed to its end."""
        record = rc.audit
        assert record is not None
        if isinstance(response, Upgrade):
            self._emit(record, STARTED, 101)
            run = response.run

            async def followed(connection: Connection) -> None:
                try:
                    await run(connection)
                finally:
                    self._emit(record, COMPLETE, 101)

            response.run = followed
            return
        if panic:
            self._emit(record, PANIC, response.status, message="the server failed to answer")
            return
        keep = record.level >= REQUEST_RESPONSE and not record.long
        body = response.body
        if isinstance(body, bytes):
            shown = response.status >= 400 or keep or b'"Status"' in body[:64] or body[:4] == b"k8s\0"
            answer = Body(body, media_type(response.content_type), _gzipped(response)) if shown else None
            if record.long:
                self._emit(record, STARTED, response.status)
            self._emit(record, COMPLETE, response.status, answer)
            return
        if record.long:
            self._emit(record, STARTED, response.status)
        response.body = _Followed(self, record, response, body, keep)

    def abandoned(self, rc: RequestContext) -> None:
        """The client went away before it was answered."""
        assert rc.audit is not None
        self._emit(rc.audit, COMPLETE, 400, message="the client closed the connection")

    def _record(self, rc: RequestContext, verdict: policies.Verdict) -> Record:
        request, info, a = rc.request, rc.info, rc.attributes
        headers = request.headers
        agent = headers.get("user-agent") or ""
        if len(agent) > MAX_USER_AGENT:
            agent = agent[:MAX_USER_AGENT] + "...TRUNCATED"
        head: dict[str, Any] = {
            "auditID": rc.audit_id,
            "requestURI": f"{request.path}?{request.query}" if request.query else request.path,
            "verb": info.verb,
            "user": a.user.info() if a.user.name else {},
            "sourceIPs": source_ips(headers.get("x-forwarded-for"), headers.get("x-real-ip"), request.peer.host),
        }
        if agent:
            head["userAgent"] = agent
        ref = None
        if info.is_resource:
            about = {
                "resource": info.resource,
                "namespace": info.namespace,
                "name": a.name,
                "apiGroup": info.group,
                "apiVersion": info.version,
                "subresource": info.subresource,
            }
            ref = {key: value for key, value in about.items() if value}
        return Record(
            verdict.level,
            verdict.omitted,
            verdict.omit_managed_fields,
            head,
            self._clock.now(),
            ref,
            annotations=dict(rc.annotations or ()),
            long=info.long_running,
        )

    def _emit(self, record: Record, stage: str, status: int = 0, answer: Body | None = None, message: str = "") -> None:
        if stage in record.omitted:
            return
        annotations = dict(record.annotations) if record.annotations else None
        now = self._clock.now()
        made = partial(line, record, stage, now, record.head, record.request, status, answer, annotations, message)
        self.writer.put(made)

    async def close(self) -> None:
        await self.writer.close()

    def families(self) -> Iterator[Any]:
        """Upstream's metrics."""
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily("apiserver_audit_event", "Audit events sent to the log.", value=self.writer.events)
        levels = CounterMetricFamily("apiserver_audit_level", "Requests by audit level.", labels=["level"])
        for name, number in zip(LEVELS, self.levels, strict=True):
            levels.add_metric([name], number)
        yield levels
        failed = CounterMetricFamily("apiserver_audit_error", "Audit events that were lost.", labels=["plugin"])
        failed.add_metric(["log"], self.writer.errors)
        yield failed


def _gzipped(response: Response) -> bool:
    return any(name.lower() == "content-encoding" and value == "gzip" for name, value in response.headers)


class _Followed:
    """A body that is streamed: passed on as it is, noted when it ends, kept (bounded) when the policy wants it."""

    def __init__(
        self, auditor: Auditor, record: Record, response: Response, chunks: AsyncIterator[bytes], keep: bool
    ) -> None:
        self._auditor = auditor
        self._record = record
        self._status = response.status
        self._media = media_type(response.content_type)
        self._gzip = _gzipped(response)
        self._chunks = chunks
        self._kept: list[bytes] | None = [] if keep else None
        self._size = 0
        self._done = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except BaseException:
            self._end()
            raise
        if self._kept is not None:
            self._size += len(chunk)
            if self._size <= MAX_RESPONSE:
                self._kept.append(chunk)
            else:
                self._kept = None
                self._record.annotations["shirube.dev/response-object"] = f"left out: larger than {MAX_RESPONSE} bytes"
        return chunk

    def _end(self) -> None:
        if self._done:
            return
        self._done = True
        answer = Body(b"".join(self._kept), self._media, self._gzip) if self._kept else None
        self._auditor._emit(self._record, COMPLETE, self._status, answer)

    async def aclose(self) -> None:
        try:
            close = getattr(self._chunks, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._end()
