"""Programs that are started while the runtime is spoken to."""

from __future__ import annotations

import os
import subprocess
import sys

# On uvloop, as the agent: it forks where asyncio's own loop does not.
SCRIPT = """
import asyncio, uvloop
from shirube.kubelet.cri.client import CriError, Runtime

async def main():
    runtime = Runtime("/nonexistent/containerd.sock")
    try:
        await runtime.call("Version", deadline=1)
    except CriError:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        print("done")
    await runtime.close()

uvloop.run(main())
"""


def test_programs_are_started_without_a_word_of_grpc_in_the_log():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
