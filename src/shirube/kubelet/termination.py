"""What a container said when it ended: its termination message, from its file or the end of its log.

Follows https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/.
"""

from __future__ import annotations

from pathlib import Path

from shirube.kubelet.logs import LogFormatter, LogOptions, tail_offset
from shirube.kubelet.runtime_state import Container

MAX_BYTES = 4096
_LOG_LINES, _LOG_BYTES = 80, 2048


def termination_message(container: Container) -> str:
    """The message of an ended container; '' when it left none. Reads at most some kilobytes."""
    message = _file_text(container.termination_message_path)
    fall_back = container.termination_message_policy == "FallbackToLogsOnError"
    if not message and fall_back and container.exit_code != 0:
        message = _log_tail(container.log_path)
    if message and container.message:
        return f"{container.message}: {message}"
    return message or container.message


def _file_text(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _log_tail(path: str) -> str:
    if not path:
        return ""
    log = Path(path)
    formatter = LogFormatter(LogOptions())
    out = []
    try:
        start = tail_offset(log, _LOG_LINES)
        with log.open("rb") as file:
            file.seek(start)
            out = [formatter.feed(line) for line in file]
    except OSError:
        return ""
    return b"".join(out)[-_LOG_BYTES:].decode("utf-8", "replace")
