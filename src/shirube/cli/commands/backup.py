"""`shirube backup`: a cluster's objects, at one moment, in a file."""

from __future__ import annotations

from pathlib import Path

import click

from shirube.cluster import stores
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress
from shirube.storage import backup


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", default="shirube", show_default=True, help="The cluster.")
@click.option("--store", help="Another store instead: an SQLite file's path, or the URL of an etcd.")
def command(file: Path, name: str, store: str | None) -> None:
    """Write every object, as of one moment, to FILE, beside a running cluster or from a stopped one.

    FILE holds every Secret; only its owner may read it. Keys and certificates are not in it: they are in the cluster's
    pki directory.
    """
    file = file.absolute()
    if store:
        contents = backup.back_up(store, file)
    else:
        contents = stores.back_up(ClusterLayout.of(name), file, Progress())
    click.echo(f"{contents.keys} objects at revision {contents.revision} are in {file} ({file.stat().st_size} bytes)")
