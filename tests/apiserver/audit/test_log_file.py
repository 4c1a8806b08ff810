"""The audit log on disk: rotation, and a writer that neither loses events nor keeps them without bound."""

from __future__ import annotations

import asyncio
import os
import stat
import threading

import pytest

from shirube.apiserver.audit.log_file import LogFile, Writer
from shirube.foundation import tasks
from shirube.foundation.clock import SYSTEM, ManualClock

LINE = b"x" * 99 + b"\n"


def old_files(tmp_path):
    return sorted(p.name for p in tmp_path.glob("audit-*.log"))


def test_files_are_rotated_by_size(tmp_path):
    clock = ManualClock()
    log = LogFile(tmp_path / "audit.log", clock, max_size=250)
    for _ in range(5):
        log.write([LINE])
        clock.advance(1)
    log.close()
    assert len(old_files(tmp_path)) == 2
    sizes = [p.stat().st_size for p in tmp_path.glob("audit*.log")]
    assert sum(sizes) == 500 and max(sizes) <= 250
    assert (tmp_path / "audit.log").stat().st_size == 100


def test_one_batch_may_fill_several_files(tmp_path):
    log = LogFile(tmp_path / "audit.log", ManualClock(), max_size=250)
    log.write([LINE] * 7)
    log.close()
    data = b"".join((tmp_path / name).read_bytes() for name in [*old_files(tmp_path), "audit.log"])
    assert data == LINE * 7
    assert len(old_files(tmp_path)) == 3


def test_the_newest_old_files_are_kept(tmp_path):
    clock = ManualClock()
    log = LogFile(tmp_path / "audit.log", clock, max_size=100, max_backups=2)
    for n in range(6):
        log.write([b"%d" % n * 99 + b"\n"])
        clock.advance(1)
    log.close()
    kept = [(tmp_path / name).read_bytes()[:1] for name in old_files(tmp_path)]
    assert kept == [b"3", b"4"]


def test_files_that_are_too_old_go(tmp_path):
    log = LogFile(tmp_path / "audit.log", SYSTEM, max_size=100, max_age=3)
    log.write([LINE, LINE])
    (first,) = tmp_path.glob("audit-*.log")
    long_ago = SYSTEM.now() - 4 * 86400
    os.utime(first, (long_ago, long_ago))
    log.write([LINE])
    log.close()
    assert first.name not in old_files(tmp_path) and len(old_files(tmp_path)) == 1


def test_an_existing_log_is_continued_and_private(tmp_path):
    for _ in range(2):
        log = LogFile(tmp_path / "logs" / "audit.log", ManualClock())
        log.write([LINE])
        log.close()
    path = tmp_path / "logs" / "audit.log"
    assert path.read_bytes() == LINE * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class Slow:
    """A disk that writes when it is told to."""

    def __init__(self):
        self.go = threading.Event()
        self.lines = []

    def write(self, lines):
        self.go.wait(5)
        self.lines += lines

    def close(self):
        pass


async def test_requests_wait_for_a_slow_disk_and_the_loop_does_not():
    sink = Slow()
    writer = Writer(sink, max_waiting=10)
    for n in range(20):
        writer.put(lambda n=n: b"%d\n" % n)
    waiting = tasks.spawn(writer.room(), name="waiting")
    for _ in range(10):
        await asyncio.sleep(0)  # the loop goes on
    assert not waiting.done()
    sink.go.set()
    async with asyncio.timeout(60):
        await waiting
    await writer.close()
    assert sink.lines == [b"%d\n" % n for n in range(20)]


class Full:
    def __init__(self):
        self.lines = []
        self.full = True

    def write(self, lines):
        if self.full:
            raise OSError(28, "No space left on device")
        self.lines += lines

    def close(self):
        pass


async def test_what_cannot_be_written_is_counted_and_what_follows_is_written(caplog):
    sink = Full()
    writer = Writer(sink)
    writer.put(lambda: b"lost\n")
    async with asyncio.timeout(60):
        while not writer.errors:
            await asyncio.sleep(0.001)
    sink.full = False
    writer.put(lambda: b"kept\n")
    await writer.close()
    assert sink.lines == [b"kept\n"]
    assert (writer.events, writer.errors) == (2, 1)
    assert "No space left on device" in caplog.text


async def test_an_event_that_cannot_be_made_does_not_stop_the_log(caplog):
    sink = Full()
    sink.full = False
    writer = Writer(sink)

    def broken():
        raise KeyError("x")

    writer.put(broken)
    writer.put(lambda: b"kept\n")
    await writer.close()
    assert sink.lines == [b"kept\n"] and writer.errors == 1


@pytest.mark.parametrize("count", [0, 3])
async def test_closing_writes_what_is_there(tmp_path, count):
    writer = Writer(LogFile(tmp_path / "audit.log", SYSTEM))
    for _ in range(count):
        writer.put(lambda: LINE)
    await writer.close()
    assert (tmp_path / "audit.log").exists() is bool(count)
    assert not count or (tmp_path / "audit.log").read_bytes() == LINE * count
