"""Shared by all tests: no test may leak a task."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import subprocess
import tempfile

# Without it programs would keep their caches in whatever folder they are started in.
if not os.environ.get("HOME"):
    os.environ["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir

# Sockets live in the folders of tests, and a socket's path must be short.
if len(tempfile.gettempdir()) > len("/var/tmp"):
    tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"

# Some tests fork; gRPC's own fork handling would stop its poller in this process, too.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import grpc.aio
import pytest
from hypothesis import HealthCheck, settings
from tests import aftermath

# The same examples on every run, and no verdict by the clock: a busy machine fails no test. To search on:
# `SHIRUBE_HYPOTHESIS=search make test`.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("SHIRUBE_HYPOTHESIS", "steady"))

_GUARD = pytest.StashKey[subprocess.Popen[bytes]]()

# gRPC ends its poller when the last of its objects is collected, and waits for it for ever when a call of a loop that
# is closed was still open: one more user keeps the poller until the process ends.
grpc.aio.init_grpc_aio()

# Its other threads, which open the connections, are born with the first call and live on with any channel that somebody
# still refers to, in the network namespace of the thread that made that call. Born while a fixture was in a namespace
# of its own, they found nobody on this machine's loopback ever after. So they are born now.
_keeps_threads = grpc.insecure_channel("unix:/nowhere/there/is/nobody")
with contextlib.suppress(grpc.RpcError):
    _keeps_threads.unary_unary("/nothing")(b"", timeout=5)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_GUARD] = aftermath.watch()


@pytest.fixture(autouse=True)
async def no_leaked_tasks(request: pytest.FixtureRequest):
    """A test that leaves a task running fails."""
    before = asyncio.all_tasks()
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    left = {t for t in asyncio.all_tasks() - before - {asyncio.current_task()} if not t.done()}
    names = sorted(t.get_name() for t in left)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not names, f"tasks left running: {names}"
