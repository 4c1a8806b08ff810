"""Runs figures by name, in the order of the cost table, and prints them as they come."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
import traceback

from bench.figure import HEADER, Figure, as_json
from bench.sharing import Shared

# Name on the command line -> module. The API's figures need no root; those of a cluster do.
API = {
    "cold_start": "cold_start",
    "create": "create",
    "patch": "patch",
    "get": "get",
    "list": "list_pods",
    "watch": "watch",
    "delete": "delete",
    "commit": "commit",
    "full_store": "full_store",
    "many_lists": "many_lists",
    "access": "access",
    "controllers": "controllers",
}
CLUSTER = {
    "first_pod": "first_pod",
    "idle": "idle",
    "deployment": "deployment",
    "thirty_pods": "thirty_pods",
    "network_rules": "network_rules",
    "dns_change": "dns_change",
}
GROUPS = {"api": list(API), "cluster": list(CLUSTER)}
FIGURES = API | CLUSTER


def machine() -> str:
    """What the figures depend on most."""
    load = ", ".join(f"{minutes:.1f}" for minutes in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load} (figures of a busy machine say little)"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(GROUPS)}, or any of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout at the end")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped, too
    names: list[str] = []
    for name in args.names or GROUPS:
        if name not in GROUPS and name not in FIGURES:
            parser.error(f"no figure is called {name!r}; there are {', '.join(FIGURES)}")
        names += GROUPS.get(name, [name])
    out = sys.stderr if args.json else sys.stdout
    print(machine(), HEADER, sep="\n", file=out, flush=True)
    figures: list[Figure] = []
    failed = 0
    began = time.monotonic()
    with Shared() as shared:
        for name in dict.fromkeys(names):
            try:
                found = importlib.import_module(f"bench.{FIGURES[name]}").run(shared)
            except Exception:
                # One figure that cannot be had must not hide the others.
                failed += 1
                print(f"{name}: not measured\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                continue
            for figure in found:
                print(figure, file=out, flush=True)
            figures += found
    print(f"\nmeasured in {time.monotonic() - began:.0f} s; {machine()}", file=out)
    if args.json:
        print(as_json(figures))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
