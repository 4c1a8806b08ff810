"""Run the tests, each room (a folder of `tests/`) in a process of its own.

A room's event loops, gRPC pollers, forks and memory end with it, so no room can fail for what another left behind.
Rooms that only compute run two at a time; those that start real programs, and so look at the clock, run alone. What a
room prints is shown when it has failed; the names of all failures stand at the end.

With arguments: one plain pytest run with them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The longest first: two lanes end at about the same time.
COMPUTING = (
    "apiserver",
    "simulation",
    "api",
    "controllers",
    "scheduler",
    "client",
    "serving",
    "streaming",
    "cli",
    "foundation",
)
LIMIT = 1800.0
_RESULT = re.compile(r"\d+ (passed|failed|errors?)\b.* in ")


def pytest(arguments: list[str], *, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """Raises TimeoutExpired after half an hour: a test hangs."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=quiet, text=True, timeout=LIMIT, check=False)


class Run:
    def __init__(self) -> None:
        self._print = threading.Lock()
        self.failures: list[str] = []

    def room(self, name: str) -> None:
        began = time.monotonic()
        try:
            done = pytest([f"tests/{name}", "--durations=5"])
            output, code = done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as error:
            output, code = f"{error.stdout!s}\n{name} did not end within {LIMIT:.0f} s", 1
        lines = output.splitlines()
        result = next((line for line in reversed(lines) if _RESULT.search(line)), "no result").strip(" =")
        with self._print:
            if code:
                print(output)
                named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
                self.failures += named or [f"FAILED tests/{name}: pytest ended with {code}"]
            print(f"tests/{name}: {result} ({time.monotonic() - began:.0f} s in all)", flush=True)


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


def main() -> int:
    if sys.argv[1:]:
        return pytest(sys.argv[1:], quiet=False).returncode
    rooms = sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py")))
    run = Run()
    with ThreadPoolExecutor(max_workers=2) as lanes:
        list(lanes.map(run.room, [name for name in COMPUTING if name in rooms]))
    for name in rooms:
        if name not in COMPUTING:
            run.room(name)
    for line in summary(run.failures):
        print(line)
    print("tests: good" if not run.failures else f"tests: {len(run.failures)} failed")
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
