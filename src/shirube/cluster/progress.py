"""What a person sees while a long step runs: one line a step, with how long it took."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from shirube.foundation.clock import SYSTEM, Clock


class Progress:
    """Steps on stderr: rewritten in place on a terminal, plain lines elsewhere."""

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        started = self._clock.monotonic()
        if self._terminal:
            self._write(f"  … {text}")
        try:
            yield
        except BaseException:
            self._line(f"  ✗ {text}")
            raise
        self._line(f"  ✓ {text} ({self._clock.monotonic() - started:.2f} s)")

    def say(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        self._write(("\r\x1b[K" if self._terminal else "") + text + "\n")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
