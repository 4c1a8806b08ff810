"""What a simulated hour costs: `python -m bench.simulation`.

A thousand nodes with 30,000 pods, all laws held at every commit: minutes of one core and a few gigabytes, so it is
measured by itself and not with the other figures. Progress goes to stderr, figures to stdout; exit status 1 when a law
was broken or the world did not converge. `--twice` runs it again and compares the histories.
"""

from __future__ import annotations

import argparse
import sys

from bench.figure import HEADER, Figure
from shirube.foundation import log
from shirube.simulation.hour import Options, Result, run

_COMMAND = "python -m bench.simulation"


def figures(result: Result) -> list[Figure]:
    options = result.options
    what = f"{options.nodes} nodes, {options.pods} pods, {options.minutes:g} simulated minutes"
    verdict = "sound" if result.sound else f"{len(result.violations)} violations, {len(result.unfinished)} unfinished"
    rows = (
        ("processor time", f"{result.cpu_seconds / 60:.1f} min", "<= 12 min"),
        ("memory, at most", f"{result.peak_memory / 2**20:.0f} MiB", "<= 2048 MiB"),
        ("commits, each held to the laws", f"{result.commits}", ""),
        (f"history of seed {options.seed}", result.digest, "the same"),
        ("laws and convergence", verdict, "sound"),
    )
    return [Figure(f"{what}: {name}", value, target, _COMMAND) for name, value, target in rows]


def main() -> int:
    parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=30_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twice", action="store_true", help="again, to compare the histories")
    args = parser.parse_args()
    log.configure("error")
    options = Options(nodes=args.nodes, pods=args.pods, minutes=args.minutes, seed=args.seed)
    print(HEADER, flush=True)
    results = [_measured(options) for _ in range(2 if args.twice else 1)]
    same = len({result.digest for result in results}) == 1
    if not same:
        print("the same seed gave two histories", file=sys.stderr)
    return 0 if same and all(result.sound for result in results) else 1


def _measured(options: Options) -> Result:
    result = run(options, lambda line: print(line, file=sys.stderr, flush=True))
    for text in (*result.violations, *result.unfinished):
        print(f"  {text}", file=sys.stderr)
    for figure in figures(result):
        print(figure, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
