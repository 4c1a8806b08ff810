"""The messages of this package's tables (`messages.json`, `containerd_events.json`)."""

from __future__ import annotations

from shirube.foundation import grpc_messages
from shirube.foundation.grpc_messages import Call

__all__ = ["Call", "Protocol"]


class Protocol(grpc_messages.Protocol):
    """The messages and calls of one table of this package."""

    def __init__(self, file_name: str) -> None:
        super().__init__(__package__, file_name)
