"""`shirube simulate`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import orjson

from shirube.foundation import log
from shirube.simulation import hour


@click.command()
@click.option("--nodes", type=click.IntRange(3, 20_000), default=100, show_default=True, help="Hollow nodes.")
@click.option("--pods", type=click.IntRange(1), default=2000, show_default=True, help="Pods to begin with, about.")
@click.option("--minutes", type=click.FloatRange(0), default=10.0, show_default=True, help="Simulated, of weather.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same history.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(nodes: int, pods: int, minutes: float, seed: int, output: str) -> None:
    """A cluster on virtual time, in this process.

    API server, controllers, scheduler and hollow nodes live through node failures, rollouts and load changes; every
    commit is held to the laws. Exit status 1 when one was broken or the world did not converge."""
    options = hour.Options(nodes=nodes, pods=pods, minutes=minutes, seed=seed)
    if misfit := options.misfit():
        raise click.UsageError(misfit)
    log.configure("error")
    result = hour.run(options, lambda line: print(line, file=sys.stderr, flush=True))
    if output == "json":
        print(orjson.dumps(asdict(result) | {"sound": result.sound}, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(summary(result)))
    sys.exit(0 if result.sound else 1)


def summary(result: hour.Result) -> list[str]:
    """What a person wants to know of it."""
    happened = ", ".join(f"{count} {name}" for name, count in result.happened.items()) or "nothing"
    lines = [
        f"{result.options.nodes} nodes, {result.pods} pods at the end; {happened}",
        f"{result.virtual_seconds / 60:.1f} simulated minutes in {result.real_seconds / 60:.1f} minutes "
        f"({result.cpu_seconds / 60:.1f} of one processor), at most {result.peak_memory / 2**20:.0f} MiB",
        f"{result.commits} commits, history {result.digest} (seed {result.options.seed})",
        f"{result.checks} checks of laws, {len(result.violations)} violations",
        *(f"  {text}" for text in result.violations),
        "converged" if not result.unfinished else f"{len(result.unfinished)} things unfinished",
        *(f"  {text}" for text in result.unfinished[:20]),
    ]
    return [*lines, "sound" if result.sound else "not sound"]
