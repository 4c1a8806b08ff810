"""Every controller dies at every one of its writes: `python -m tests.simulation.crashes [controller…]`.

Prints a line for each scenario and controller; exit status 1 when some crash changed a result or broke a law. Takes
minutes.
`--every N` takes only every N-th crash, `--list` only counts writes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.authorities import authority, new_key, private_pem
from tests.simulation.scenarios import SCENARIOS

from shirube.foundation import log
from shirube.simulation.cluster import Setup
from shirube.simulation.crash import PACE, judge


@contextmanager
def keys() -> Iterator[Setup]:
    """A setup with keys, so that the controllers that sign run, too."""
    key = new_key()
    with tempfile.TemporaryDirectory(prefix="shirube-crashes-") as directory:
        place = Path(directory)
        (place / "ca.crt").write_text(authority("simulated-ca", key))
        (place / "ca.key").write_bytes(private_pem(key))
        yield Setup(
            pace=PACE,
            service_account_key=place / "ca.key",
            signing_cert=place / "ca.crt",
            signing_key=place / "ca.key",
            legacy_token_clean_up=30.0,
            root_ca=place / "ca.crt",
            runtime_config="certificates.k8s.io/v1beta1=true",
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crashes", description=__doc__)
    parser.add_argument("controllers", nargs="*", help="names of the controllers' table; default: all")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    log.configure("error")
    failed = 0
    with keys() as setup:
        for scenario in SCENARIOS:
            for controller in scenario.controllers:
                if args.controllers and controller not in args.controllers:
                    continue
                began = time.process_time()
                step = 10**9 if args.list else args.every
                verdict = judge(scenario, controller, setup=setup, choose=lambda all_, n=step: all_[n - 1 :: n])
                good = "ok" if not verdict.failures else f"{len(verdict.failures)} FAILURES"
                seconds = time.process_time() - began
                line = f"{controller:<50} {scenario.name:<48} {verdict.writes:4d} writes {verdict.crashes:4d} crashes"
                print(f"{line} {seconds:6.1f} s  {good}", flush=True)
                for failure in verdict.failures:
                    print("    " + failure.replace("\n", "\n        ")[:6000], flush=True)
                failed += len(verdict.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
