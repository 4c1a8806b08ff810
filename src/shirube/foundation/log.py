"""Structured log lines on stderr: time, level, component, message, key=value pairs.

    log = log.get("kubelet")
    log.info("started container", pod="default/web", container="app")

Values are quoted when they need it. Secrets are never passed as values; nothing here could tell.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,")


def _quote(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    if text and all(c in _BARE for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Logger:
    """A named logger; methods take a message and key=value pairs."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger("shirube." + name)

    def _log(self, level: int, message: str, fields: dict[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        exc_info = fields.pop("exc_info", None)
        tail = "".join(f" {k}={_quote(v)}" for k, v in fields.items())
        self._logger.log(level, "%s", message + tail, exc_info=exc_info)

    def debug(self, message: str, **fields: Any) -> None:
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._log(logging.ERROR, message, fields)


def get(name: str) -> Logger:
    return Logger(name)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        name = record.name.removeprefix("shirube.")
        line = f"{stamp}.{int(record.msecs):03d}Z {record.levelname[0]} {name}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str = "info") -> None:
    """Send log lines to stderr. Called once by each process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.raiseExceptions = False  # a line that a full disk has no room for is lost without a word in its place
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("shirube").setLevel(level.upper())
