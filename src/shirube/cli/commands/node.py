"""`shirube node`: add, stop, start and remove nodes of a running cluster."""

from __future__ import annotations

import click

from shirube.cluster import node_change
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress

_name = click.option("--name", default="shirube", show_default=True, help="The cluster's name.")


@click.group(name="node")
def command() -> None:
    """Change the nodes of a running cluster."""


@command.command()
@_name
def add(name: str) -> None:
    """One node more; prints its name."""
    print(node_change.add(ClusterLayout.of(name), Progress()))


@command.command()
@_name
@click.argument("node")
def stop(name: str, node: str) -> None:
    """Switch a node off, as if its machine lost power; its data stays."""
    node_change.stop(ClusterLayout.of(name), node, Progress())


@command.command()
@_name
@click.argument("node")
def start(name: str, node: str) -> None:
    """Switch a stopped node on again."""
    node_change.start(ClusterLayout.of(name), node, Progress())


@command.command()
@_name
@click.argument("node")
def rm(name: str, node: str) -> None:
    """Remove a node and its data. `kubectl drain` it first to move its pods in good order."""
    node_change.remove(ClusterLayout.of(name), node, Progress())
