"""What a connection carries and how much it may: one request on its way to an answer, and the limits it is held to."""

from __future__ import annotations

from typing import NamedTuple

from shirube.serving.messages import Request, Response


class Limits(NamedTuple):
    max_header: int  # bytes of a request line and its headers
    idle_timeout: float  # seconds without a request
    header_timeout: float  # seconds from a request's first byte to the end of its headers
    body_timeout: float  # seconds without a byte of a body that is waited for
    write_timeout: float  # seconds without progress in sending


class Exchange:
    """A request with what its answer's framing depends on."""

    __slots__ = ("continue_", "http10", "keep_alive", "rejection", "request")

    def __init__(self, request: Request, keep_alive: bool, http10: bool, continue_: bool):
        self.request = request
        self.keep_alive = keep_alive
        self.http10 = http10
        self.continue_ = continue_
        self.rejection: Response | None = None  # instead of asking the handler
