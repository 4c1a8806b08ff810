"""The first bytes of requests and answers: what a target means, status line and headers, and the bodies of failures
below the API. No I/O."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus

import httptools

from shirube.foundation.clock import SYSTEM
from shirube.serving.messages import Response

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n" for s in HTTPStatus}
_REASONS = {400: "BadRequest", 408: "Timeout", 413: "RequestEntityTooLarge", 431: "", 500: "InternalError"}


def plain_status(code: int, message: str) -> Response:
    """A Status for failures below the API: bad framing, lost handlers."""
    text = message.replace("\\", "\\\\").replace('"', '\\"')
    reason = _REASONS.get(code, "")
    body = (
        f'{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{text}",'
        f'"reason":"{reason}","code":{code}}}\n'
    )
    return Response(code, body.encode())


_date_second = 0
_date_line = ""


def _date() -> str:
    global _date_second, _date_line
    second = int(SYSTEM.now())
    if second != _date_second:
        _date_second = second
        _date_line = f"Date: {formatdate(second, usegmt=True)}\r\n"
    return _date_line


def clean_value(value: str) -> str:
    """A header value without line breaks: some carry text from clients (warnings)."""
    if value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\t" else " " for c in value)


def answer_head(response: Response, keep_alive: bool, length: int | None, http10: bool) -> bytes:
    status = response.status
    parts = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
    for name, value in response.headers:
        parts.append(f"{name}: {value if value.isprintable() else clean_value(value)}\r\n")
    if response.content_type and status != 304 and status != 204:
        parts.append(f"Content-Type: {response.content_type}\r\n")
    parts.append(_date())
    if length is not None:
        if status != 304 and status != 204:
            parts.append(f"Content-Length: {length}\r\n")
    elif not http10:
        parts.append("Transfer-Encoding: chunked\r\n")
    if not keep_alive:
        parts.append("Connection: close\r\n")
    elif http10:
        parts.append("Connection: keep-alive\r\n")
    parts.append("\r\n")
    return "".join(parts).encode("latin-1", "replace")


def origin_form(url: bytes) -> bytes:
    """The path of a request target in absolute form; other forms stay as they are and match no route."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return url
    if not parsed.host or not parsed.schema:
        return url
    path = parsed.path or b"/"
    return path + (b"?" + parsed.query if parsed.query else b"")
