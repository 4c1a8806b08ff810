"""Talking to a running supervisor over its Unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import orjson

_ANSWER_SECONDS = 30.0
LONGEST_PATH = 107  # bytes of a Unix socket's path; of the kernel's 108 the last is the end


class NotRunning(Exception):
    """Nobody answers at the socket: the cluster is not running."""


class ControlError(Exception):
    """The supervisor refused; the message is its reason."""


def ask(path: Path, operation: str, **arguments: Any) -> dict[str, Any]:
    """One question, one answer (blocking, for half a minute at most: a busy machine's supervisor may be late)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            if len(os.fsencode(path)) > LONGEST_PATH:
                raise NotRunning(f"no supervisor can listen at {path}: it is longer than a socket's path can be")
            connection.connect(str(path))
            connection.sendall(orjson.dumps({"op": operation, **arguments}) + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = connection.recv(65536)
                if not part:
                    raise NotRunning(f"the supervisor at {path} closed the connection")
                data += part
        except TimeoutError as error:
            raise ControlError(f"cannot {operation}: the supervisor at {path} says nothing; is it stopped?") from error
        except (FileNotFoundError, ConnectionError) as error:
            raise NotRunning(f"no supervisor answers at {path}") from error
    answer: dict[str, Any] = orjson.loads(data)
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error")))
    return answer
