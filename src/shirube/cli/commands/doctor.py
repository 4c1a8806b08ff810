"""`shirube doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
import orjson

from shirube.cluster import doctor
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


@click.command()
@click.option("--name", default="shirube", show_default=True, help="The cluster's name.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(name: str, output: str) -> None:
    """What of this machine would hinder a cluster: cause, effect, remedy. Exit status 1 when a cluster cannot work."""
    cluster = ClusterLayout.of(name)
    found = doctor.examine(cluster, ClusterSpec.load(cluster.spec) or ClusterSpec())
    if output == "json":
        print(orjson.dumps([asdict(f) for f in found], option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(doctor.lines(found) or ["nothing on this machine hinders a cluster"]))
    sys.exit(1 if any(f.severity == "error" for f in found) else 0)
