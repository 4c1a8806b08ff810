"""`GET /containerLogs/NAMESPACE/POD/CONTAINER`: one container's log, as `PodLogOptions` ask for it.

Which container is meant, and the words when there is no log (yet), are upstream's `validateContainerLogStatus`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from shirube.foundation.clock import Clock, parse_rfc3339
from shirube.kubelet import pod as pods
from shirube.kubelet.logs import LogOptions, read_logs
from shirube.kubelet.runtime_state import EXITED, RUNNING, Container
from shirube.kubelet.server_agent import ServedAgent
from shirube.kubelet.streaming_runtime import plain
from shirube.serving.messages import Request, Response

_WAITING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}
_TRUE = {"true", "1", "t"}
_FALSE = {"false", "0", "f"}


class LogError(Exception):
    """The log cannot be given: an HTTP status and the reason."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def container_logs(agent: ServedAgent, request: Request, namespace: str, name: str, container: str) -> Response:
    try:
        options, previous = log_options(request.query, agent.clock)
        pod = agent.pods.get(namespace, name)
        if pod is None:
            raise LogError(404, f'pod "{name}" does not exist')
        if pods.container_named(pod, container) is None:
            raise LogError(404, f'container "{container}" not found in pod "{name}"')
        worker = agent.pods.worker(namespace, name)
        attempts = worker.runtime.attempts(container) if worker is not None else []
        record = choose(pod, container, attempts, previous)
    except LogError as error:
        return plain(error.status, str(error))
    path = Path(record.log_path)
    if not record.log_path or not os.path.exists(path):  # noqa: ASYNC240 - a stat of a local file
        return plain(400, f'cannot read the log of container "{container}" in pod "{name}": it has been removed')

    def is_running() -> bool:
        now = agent.pods.container(namespace, name, container)
        return now is not None and now.id == record.id and now.state == RUNNING

    return Response(200, _stream(path, options, is_running), [], "text/plain")


async def _stream(path: Path, options: LogOptions, is_running: Any) -> AsyncIterator[bytes]:
    if options.follow:
        yield b""  # the head at once: it may be long until there is a line
    chunks = read_logs(path, options, is_running)
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]


def choose(pod: pods.Pod, name: str, attempts: Sequence[Container], previous: bool) -> Container:
    """The container whose log is meant; `attempts` are the runtime's, newest first. Raises LogError."""
    pod_name = pods.name(pod)
    status = _status_of(pod, name)
    waiting = ((status or {}).get("state") or {}).get("waiting")
    if previous:
        # Between an end and the restart, the one that ended is the previous one.
        between = waiting is not None and bool(attempts) and attempts[0].state == EXITED
        older = attempts if between else attempts[1:]
        if not older:
            raise LogError(400, f'previous terminated container "{name}" in pod "{pod_name}" not found')
        return older[0]
    started = [container for container in attempts if container.started_at]
    if started:
        return started[0]
    reason = (waiting or {}).get("reason") or (
        "PodInitializing" if pods.init_containers(pod) and not _is_init(pod, name) else "ContainerCreating"
    )
    why = _WAITING.get(reason, reason)
    raise LogError(400, f'container "{name}" in pod "{pod_name}" is waiting to start: {why}')


def _is_init(pod: pods.Pod, name: str) -> bool:
    return any(container["name"] == name for container in pods.init_containers(pod))


def _status_of(pod: pods.Pod, name: str) -> Mapping[str, Any] | None:
    status = pod.get("status") or {}
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(key) or ():
            if entry.get("name") == name:
                return entry  # type: ignore[no-any-return]
    return None


def log_options(query: str, clock: Clock) -> tuple[LogOptions, bool]:
    """(options, previous) of a query. Raises LogError."""
    given = {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
    tail = given.get("tailLines") or given.get("tail")
    lines = None if tail in (None, "all") else _integer("tailLines", tail, 0)
    limit = _integer("limitBytes", given.get("limitBytes"), 1)
    since = _since(given, clock)
    stream = given.get("stream") or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        raise LogError(400, f'invalid stream type "{stream}"')
    if stream != "All" and lines is not None:
        raise LogError(422, "cannot select a stream and tailLines together")
    options = LogOptions(
        tail_lines=lines,
        since=since,
        timestamps=_boolean(given, "timestamps"),
        limit_bytes=limit,
        follow=_boolean(given, "follow"),
        stream=stream,
    )
    return options, _boolean(given, "previous")


def _since(given: Mapping[str, str], clock: Clock) -> float | None:
    seconds, time = given.get("sinceSeconds"), given.get("sinceTime")
    if seconds and time:
        raise LogError(422, "at most one of sinceTime or sinceSeconds may be specified")
    if time:
        try:
            return parse_rfc3339(time)
        except ValueError:
            raise LogError(400, f'cannot read sinceTime "{time}": not an RFC 3339 time') from None
    if seconds:
        return clock.now() - (_integer("sinceSeconds", seconds, 1) or 0)
    return None


def _integer(name: str, text: str | None, least: int) -> int | None:
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise LogError(400, f'cannot read {name} "{text}": not an integer') from None
    if value < least:
        raise LogError(422, f"{name} must be greater than or equal to {least}")
    return value


def _boolean(given: Mapping[str, str], name: str) -> bool:
    text = given.get(name)
    if text is None:
        return False
    if text.lower() in _TRUE or text == "":
        return True
    if text.lower() in _FALSE:
        return False
    raise LogError(400, f'cannot read {name} "{text}": not true or false')
