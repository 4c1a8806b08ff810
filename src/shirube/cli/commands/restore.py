"""`shirube restore`: a backup back into a store."""

from __future__ import annotations

from pathlib import Path

import click

from shirube.cluster import stores
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import datastore_of
from shirube.storage import backup


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", default="shirube", show_default=True, help="The cluster; it must be stopped.")
@click.option(
    "--datastore", help="Where it keeps its objects from now on: sqlite, etcd, or a URL.  [default: as before]"
)
@click.option("--store", help="Another store instead, that no server uses: a path, or the URL of an etcd.")
@click.option("--overwrite", is_flag=True, help="Replace what the store holds.")
def command(file: Path, name: str, datastore: str | None, store: str | None, overwrite: bool) -> None:
    """Put the objects of a backup FILE into an empty store of either kind.

    Revisions go on far above those of before: clients and controllers list anew.
    """
    if store and datastore:
        raise click.UsageError("--store and --datastore exclude each other")
    file = file.absolute()
    if store:
        contents = backup.restore(store, file, overwrite=overwrite)
    else:
        kind = None if datastore is None else datastore_of(datastore)
        contents = stores.restore(ClusterLayout.of(name), file, Progress(), datastore=kind, overwrite=overwrite)
        click.echo(f"{contents.keys} objects restored; `shirube up --name {name}` goes on with them")
        return
    click.echo(f"{contents.keys} objects restored into {store.partition('?')[0]}")
