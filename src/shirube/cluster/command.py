"""Running the machine's own programs (`ip`, `mount`, `ctr` …) and saying clearly when one fails."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


class CommandError(Exception):
    """A program failed; the message holds what was run and what it said."""


def run(argv: Sequence[str], *, input: str | None = None, timeout: float = 60) -> str:
    """Standard output of a program that must succeed. Blocking: for the command line, never on an event loop."""
    try:
        done = subprocess.run(list(argv), input=input, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise CommandError(f"cannot run {argv[0]}: it is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"cannot run {' '.join(argv)}: no end after {timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise CommandError(f"cannot run {' '.join(argv)}: {said}")
    return done.stdout


def succeeds(argv: Sequence[str], timeout: float = 60) -> bool:
    """Whether a program ends with status 0; for questions and for clean-up of what may be gone already."""
    try:
        run(argv, timeout=timeout)
    except CommandError:
        return False
    return True
