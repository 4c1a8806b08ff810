"""`shirube status`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import orjson

from shirube.cluster import status as cluster_status
from shirube.cluster.layout import ClusterLayout


@click.command()
@click.option("--name", help="The cluster's name.  [default: every cluster on this machine]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str | None, output: str) -> None:
    """What runs, versions, addresses, where data and logs are, and what is wrong. Exit status 1 when something is."""
    clusters = [ClusterLayout.of(name)] if name else ClusterLayout.existing() or [ClusterLayout.of("shirube")]
    found = [(c, cluster_status.read(c)) for c in clusters]
    if output == "json":
        print(orjson.dumps([asdict(s) for _, s in found], option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(line for c, s in found for line in cluster_status.lines(c, s)))
    sys.exit(1 if any(s.problems for _, s in found) else 0)
