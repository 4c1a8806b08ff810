"""`shirube server` as a real process, for tests of its flags."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[2] / "src"
COMMAND = [sys.executable, "-m", "shirube", "server", "--port", "0"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SRC)}


@contextlib.contextmanager
def server(data: Path, *arguments: str) -> Iterator[int]:
    """The process, ready; its port."""
    command = [*COMMAND, "--data-dir", str(data), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("ready: "):
                break
        else:
            raise AssertionError("".join(lines))
        yield int(lines[-1].split()[1].rsplit(":", 1)[1])
    finally:
        guard.cancel()
        process.terminate()
        process.communicate(timeout=30)


def refused(data: Path, *arguments: str) -> str:
    """What a server says that must not start, nor make anything."""
    command = [*COMMAND, "--data-dir", str(data), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode != 0
    assert not data.exists()
    return done.stderr
