"""`python -m tests.storage.crash BACKEND KILLS [SEED]`: the long form. Fails at the first violation."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from .harness import Harness


def main() -> None:
    backend, kills = sys.argv[1], int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    if backend not in ("sqlite", "etcd"):
        sys.exit("usage: python -m tests.storage.crash sqlite|etcd KILLS [SEED]")
    with tempfile.TemporaryDirectory(prefix="shirube-crash-") as folder:
        harness = Harness("etcd" if backend == "etcd" else "sqlite", Path(folder), seed)
        try:
            print(backend, f"seed {seed}", asyncio.run(harness.run(kills)), flush=True)
        except BaseException:
            print(backend, f"seed {seed} FAILED after", harness.count, flush=True)
            raise
        finally:
            harness.close()


main()
