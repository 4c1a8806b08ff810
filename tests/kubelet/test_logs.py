"""CRI log files: lines, options, tails, following."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.foundation.clock import parse_rfc3339
from shirube.kubelet.logs import LogFormatter, LogOptions, parse_line, read_logs, tail_offset

T = b"2026-01-02T03:04:0%d.123456789Z "


def raw(second, text, stream=b"stdout", tag=b"F"):
    return T % second + stream + b" " + tag + b" " + text


async def read(path, **options):
    return b"".join([chunk async for chunk in read_logs(path, LogOptions(**options))])


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "0.log"
    lines = [
        raw(1, b"one"),
        raw(2, b"err", b"stderr"),
        raw(3, b"be", tag=b"P"),
        raw(3, b"gun"),
        raw(4, b""),
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_lines():
    line = parse_line(raw(1, b"a b ", tag=b"P:x"))
    assert (line.stream, line.partial, line.text) == (b"stdout", True, b"a b ")
    assert parse_line(b"torn") is None
    assert parse_line(b"2026 elsewhere F x") is None


async def test_all_of_it(log):
    assert await read(log) == b"one\nerr\nbegun\n\n"


async def test_options(log):
    assert await read(log, tail_lines=2) == b"begun\n\n"
    assert await read(log, tail_lines=0) == b""
    assert await read(log, tail_lines=99) == b"one\nerr\nbegun\n\n"
    assert await read(log, limit_bytes=5) == b"one\ne"
    assert await read(log, stream="Stderr") == b"err\n"
    assert await read(log, since=parse_rfc3339("2026-01-02T03:04:03Z")) == b"begun\n\n"
    stamped = await read(log, tail_lines=2, timestamps=True)
    assert stamped.splitlines() == [T % 3 + b"begun", T % 4]


async def test_following_reads_on_across_a_rotation(log):
    running = True
    chunks = read_logs(log, LogOptions(follow=True, tail_lines=0), lambda: running)
    got = []

    async def follow():
        async for chunk in chunks:
            got.append(chunk)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.sleep(0.05)
        with log.open("ab") as file:
            file.write(raw(5, b"more") + b"\n")
        log.rename(log.with_name("0.log.old"))
        log.write_bytes(raw(6, b"new") + b"\n")
        while b"new\n" not in got:
            await asyncio.sleep(0.01)
        running = False
    assert b"".join(got) == b"more\nnew\n"


text = st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" "))


@given(st.lists(text, max_size=60), st.integers(0, 70))
def test_a_tail_is_the_end_of_the_whole(tmp_path_factory, texts, count):
    path = tmp_path_factory.mktemp("log") / "0.log"
    path.write_bytes(b"".join(raw(1, t) + b"\n" for t in texts))
    offset = tail_offset(path, count)
    formatter = LogFormatter(LogOptions())
    found = [formatter.feed(line) for line in path.read_bytes()[offset:].split(b"\n") if line]
    assert found == [t + b"\n" for t in (texts[-count:] if count else [])]
