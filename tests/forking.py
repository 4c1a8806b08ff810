"""A child of a test that does one thing and ends."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

_FAILED = 70


def forked(work: Callable[[], int]) -> int:
    """The process of a child whose exit status is what `work` returns. What it raises is printed there and ends it: it
    must not come back into the tests, of which there would then be two runs."""
    process = os.fork()
    if process == 0:
        status = _FAILED
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return process
