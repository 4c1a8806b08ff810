"""Running a short-lived program of the machine from a component, off the event loop.

In a thread over `subprocess`: the loop's own pipes raise when a program ends before it has read its input.
"""

from __future__ import annotations

import asyncio
import subprocess

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramError(Exception):
    """The program failed, was not found, or did not end; the message holds the first lines of what it said."""


async def run(*argv: str, given: str = "", timeout: float = 30.0) -> str:
    """Standard output of a program that must succeed; `given` is its standard input."""
    return await asyncio.to_thread(_run, argv, given, timeout)


def _run(argv: tuple[str, ...], given: str, timeout: float) -> str:
    try:
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, timeout=timeout, check=False, env={"PATH": _PATH}
        )
    except FileNotFoundError as error:
        raise ProgramError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{argv[0]} did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[:3])
        raise ProgramError(f"{argv[0]}: {said or f'exit status {done.returncode}'}")
    return done.stdout
