"""CRI log files: parsing (sans-IO), reading with kubectl's options, following.

A line is `2026-01-02T03:04:05.000000006Z stdout F text`; tag P means that the text goes on in the next line of
its stream. Follows https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from shirube.foundation.clock import parse_rfc3339

_CHUNK = 256 * 1024
# Looking at a followed file costs a stat; nobody reads faster than this.
_FOLLOW_INTERVAL = 0.1


class LogLine(NamedTuple):
    timestamp: bytes
    stream: bytes  # b"stdout" | b"stderr"
    partial: bool
    text: bytes  # without the line end


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`PodLogOptions`, as far as they concern one container's file."""

    tail_lines: int | None = None
    since: float | None = None  # seconds since the epoch
    timestamps: bool = False
    limit_bytes: int | None = None
    follow: bool = False
    stream: str = "All"  # "All" | "Stdout" | "Stderr"


def parse_line(line: bytes) -> LogLine | None:
    """One line of a CRI log; None when it is none (torn by a crash)."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    text = parts[3] if len(parts) > 3 else b""
    # Tags may be several, separated by colons; the first says whether the line is whole.
    return LogLine(parts[0], parts[1], parts[2].split(b":", 1)[0] == b"P", text)


class LogFormatter:
    """Turns log lines into what a reader gets. Keeps the state that partial lines and limits need."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._since = options.since
        self._left = options.limit_bytes
        self._inside = False  # a partial line has been written: no timestamp before what follows
        self._wanted = {"Stdout": b"stdout", "Stderr": b"stderr"}.get(options.stream)

    @property
    def full(self) -> bool:
        """The byte limit is reached."""
        return self._left is not None and self._left <= 0

    def feed(self, raw: bytes) -> bytes:
        """What one raw line adds to the output."""
        line = parse_line(raw)
        if line is None or (self._wanted is not None and line.stream != self._wanted):
            return b""
        if self._since is not None and not self._inside:
            if _seconds(line.timestamp) < self._since:
                return b""
            self._since = None
        out = line.text if line.partial else line.text + b"\n"
        if self._options.timestamps and not self._inside:
            out = line.timestamp + b" " + out
        self._inside = line.partial
        if self._left is not None:
            out = out[: self._left]
            self._left -= len(out)
        return out


def _seconds(timestamp: bytes) -> float:
    try:
        return parse_rfc3339(_to_micro(timestamp.decode()))
    except ValueError:
        return 0.0


def _to_micro(text: str) -> str:
    """Nanoseconds are cut to the microseconds that Python reads."""
    head, dot, rest = text.partition(".")
    if not dot:
        return text
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[: min(digits, 6)]}{rest[digits:]}"


# -- files


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` full lines of the file begin (partial lines belong to the line they begin)."""
    if lines <= 0:
        return path.stat().st_size
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        starts: list[int] = []  # offsets of line starts found so far, in order
        block, step = b"", _CHUNK
        while position > 0:
            take = min(step, position)
            position -= take
            file.seek(position)
            block = file.read(take) + block
            starts = _starts_of_entries(block, position)
            # One more than asked for: the first in a block may continue a line that began before it.
            if len(starts) > lines:
                return starts[len(starts) - lines]
            step *= 2
        return starts[max(len(starts) - lines, 0)] if starts else 0


def _starts_of_entries(block: bytes, offset: int) -> list[int]:
    """Offsets of lines in `block` that do not continue a partial line, in order."""
    starts = []
    at = 0 if offset == 0 else block.find(b"\n") + 1
    if offset and at == 0:
        return []
    continues: dict[bytes, bool] = {}
    while at < len(block):
        newline = block.find(b"\n", at)
        stop = len(block) if newline < 0 else newline
        line = parse_line(block[at:stop])
        if line is not None:
            if not continues.get(line.stream, False):
                starts.append(offset + at)
            continues[line.stream] = line.partial
        at = stop + 1
    return starts


def rotated_files(path: Path) -> list[Path]:
    """The files that a container's log was rotated into, oldest first."""
    return sorted(p for p in path.parent.glob(path.name + ".*") if not p.name.endswith(".tmp"))


async def read_logs(
    path: Path, options: LogOptions, is_running: Callable[[], bool] = lambda: False
) -> AsyncIterator[bytes]:
    """The log from `path` as the options want it, in chunks. With `follow` until the container has ended.

    `is_running` is asked only while following. Raises FileNotFoundError.
    """
    formatter = LogFormatter(options)
    position = 0
    if options.tail_lines is not None:
        position = await asyncio.to_thread(tail_offset, path, options.tail_lines)
    file: BinaryIO = await asyncio.to_thread(path.open, "rb")
    try:
        file.seek(position)
        carry = b""
        while not formatter.full:
            # Asked before reading: what it wrote last is still read after it has ended.
            running = options.follow and is_running()
            block = await asyncio.to_thread(file.read, _CHUNK)
            if block:
                out, carry = _format(formatter, carry + block)
                if out:
                    yield out
                continue
            if (reopened := _reopened(path, file)) is not None:
                file.close()
                file, carry = reopened, b""
            elif not running:
                break
            else:
                await asyncio.sleep(_FOLLOW_INTERVAL)
        if carry and not formatter.full and (out := formatter.feed(carry)):
            yield out
    finally:
        file.close()


def _format(formatter: LogFormatter, data: bytes) -> tuple[bytes, bytes]:
    """(output, the unfinished line at the end)."""
    *lines, rest = data.split(b"\n")
    out = []
    for line in lines:
        out.append(formatter.feed(line))
        if formatter.full:
            break
    return b"".join(out), rest


def _reopened(path: Path, file: BinaryIO) -> BinaryIO | None:
    """The new file at `path` when the old one was rotated away; else None."""
    try:
        if os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
            return path.open("rb")
    except OSError:
        return None
    return None
