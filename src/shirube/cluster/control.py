"""Talking to a running supervisor over its Unix socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson


class NotRunning(Exception):
    """Nobody answers at the socket: the cluster is not running."""


class ControlError(Exception):
    """The supervisor refused; the message is its reason."""


def ask(path: Path, operation: str, **arguments: Any) -> dict[str, Any]:
    """One question, one answer (blocking, at most 5 s)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        try:
            connection.connect(str(path))
            connection.sendall(orjson.dumps({"op": operation, **arguments}) + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = connection.recv(65536)
                if not part:
                    raise NotRunning(f"the supervisor at {path} closed the connection")
                data += part
        except (FileNotFoundError, ConnectionError) as error:
            raise NotRunning(f"no supervisor answers at {path}") from error
    answer: dict[str, Any] = orjson.loads(data)
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error")))
    return answer
