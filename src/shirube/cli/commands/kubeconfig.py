"""`shirube kubeconfig`."""

from __future__ import annotations

import sys

import click

from shirube.cluster.layout import ClusterLayout, LayoutError


@click.command()
@click.option("--name", default="shirube", show_default=True, help="The cluster's name.")
@click.option("--internal", is_flag=True, help="With the address inside the cluster's namespaces.")
def command(name: str, internal: bool) -> None:
    """Print an administrator's kubeconfig: shirube kubeconfig > ~/.kube/config."""
    cluster = ClusterLayout.of(name)
    path = cluster.internal_kubeconfig if internal else cluster.admin_kubeconfig
    try:
        sys.stdout.write(path.read_text())
    except FileNotFoundError as error:
        raise LayoutError(
            f"cannot print a kubeconfig: there is no cluster {name}; run `shirube up --name {name}`"
        ) from error
