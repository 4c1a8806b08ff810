"""Run lint and the tests, each room (a folder of `tests/`) in a process of its own, two at a time.

A room's event loops, gRPC pollers, forks and memory end with it, so no room can fail for what another left behind. The
first lane begins with the real cluster, which waits for containers most of the time; the other does meanwhile what
computes, with a lower priority, and then the rooms that start real programs. What a room prints is shown when it has
failed; the names of all failures stand at the end.

What earlier runs left that were killed is taken away first; when this one is told to end, its rooms end with it.
With arguments: one plain pytest run with them.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LINT = "lint"
# Lanes take the next when they are free: the longest first, so that they end at about the same time. What is not named
# comes last.
FIRST = ("cluster", "apiserver", "simulation")
COMPUTING = (
    "controllers",
    LINT,
    "scheduler",
    "api",
    "client",
    "serving",
    "streaming",
    "cli",
    "foundation",
    "metrics_server",
)
THEN = ("kubelet", "storage", "interop", "network", "proxy")
PATIENT = {LINT, *FIRST[1:], *COMPUTING}  # these give way to the others
LIMIT = 1800.0
_RESULT = re.compile(r"\d+ (passed|failed|errors?)\b.* in ")


def pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", *arguments]


class Run:
    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False
        self.failures: list[str] = []

    def job(self, name: str) -> None:
        began = time.monotonic()
        output, code = self._output(name)
        lines = output.splitlines()
        result = next((line for line in reversed(lines) if _RESULT.search(line)), "no result").strip(" =")
        if name == LINT:
            result = "good" if code == 0 else "bad"
        with self._one_at_a_time:
            if self._ended:
                return
            if code:
                print(output)
                named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
                self.failures += named or [f"FAILED {shown(name)}: it ended with {code}"]
            print(f"{shown(name)}: {result} ({time.monotonic() - began:.0f} s in all)", flush=True)

    def _output(self, name: str) -> tuple[str, int]:
        """What it printed, and its exit status; half an hour is long enough for every room."""
        command = ["tools/lint"] if name == LINT else pytest(f"tests/{name}", "--durations=5")
        if name in PATIENT:
            command = ["nice", "-n", "10", *command]
        command = ["setpriv", "--pdeathsig", "TERM", *command]  # nothing goes on when this process is killed
        with self._one_at_a_time:
            if self._ended:
                return "", 1
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return f"{output}\n{name} did not end within {LIMIT:.0f} s", 1
        finally:
            self._running.discard(process)
        return output, process.returncode

    def end(self, number: int, _: Any) -> None:
        """Told to end: the rooms are, too, and take away what they made."""
        self._ended = True
        for process in tuple(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        print(f"tests: ended by {signal.Signals(number).name}", flush=True)


def shown(name: str) -> str:
    return name if name == LINT else f"tests/{name}"


def summary(failures: list[str]) -> list[str]:
    """One line for each reason, however many tests it fails: what a fixture broke does not bury the rest."""
    by_reason: dict[str, list[str]] = {}
    for line in failures:
        test, _, reason = line.partition(" - ")
        by_reason.setdefault(reason or test, []).append(test)
    return [
        test + (f" and {len(more)} more" if more else "") + (f" - {reason}" if reason != test else "")
        for reason, (test, *more) in by_reason.items()
    ]


def jobs() -> list[str]:
    rooms = sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py")))
    order = [*FIRST, *COMPUTING, *THEN]
    return [name for name in order if name in rooms or name == LINT] + [name for name in rooms if name not in order]


def main() -> int:
    subprocess.run([sys.executable, "tests/aftermath.py"], cwd=ROOT, check=True)
    if sys.argv[1:]:
        os.chdir(ROOT)
        os.execv(sys.executable, pytest(*sys.argv[1:]))
    run = Run()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, run.end)
    with ThreadPoolExecutor(max_workers=2) as lanes:
        list(lanes.map(run.job, jobs()))
    if run._ended:
        return 130
    for line in summary(run.failures):
        print(line)
    print("tests: good" if not run.failures else f"tests: {len(run.failures)} failed")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
