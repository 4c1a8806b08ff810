"""`shirube down`."""

from __future__ import annotations

import click

from shirube.cluster.down import down
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress


@click.command()
@click.option("--name", default="shirube", show_default=True, help="The cluster's name.")
@click.option("--purge", is_flag=True, help="Forget the cluster's data as well.")
def command(name: str, purge: bool) -> None:
    """Stop a cluster and remove its processes, namespaces, mounts and cgroups. Its data stays for the next `up`."""
    down(ClusterLayout.of(name), Progress(), purge=purge)
