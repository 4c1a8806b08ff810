"""A cluster's store from outside of its API server: `shirube backup` and `shirube restore`.

A backup is taken from a running cluster or a stopped one; a restore needs it stopped, for its servers hold what they
have read. An etcd of the cluster's own is reached inside the control plane's network namespace, or started for as long
as it takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from shirube.cluster import etcd, namespaces
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import ClusterSpec
from shirube.cluster.up import UpError, is_running, locked
from shirube.storage import backup
from shirube.storage.backup_file import Contents


def back_up(cluster: ClusterLayout, file: Path, progress: Progress) -> Contents:
    """Raises UpError, EtcdError, StorageError."""
    spec = ClusterSpec.load(cluster.spec)
    if spec is None:
        raise UpError(f"cannot back up cluster {cluster.name}: there is no such cluster here")
    with locked(cluster, progress), _reached(cluster, spec) as url:
        return backup.back_up(url, file)


def restore(
    cluster: ClusterLayout, file: Path, progress: Progress, *, datastore: str | None = None, overwrite: bool = False
) -> Contents:
    """`datastore`: where the cluster keeps its objects from now on; None: as before. Raises as `back_up`."""
    with locked(cluster, progress):
        if is_running(cluster):
            raise UpError(
                f"cannot restore into cluster {cluster.name} while it runs: `shirube down --name {cluster.name}` first"
            )
        spec = ClusterSpec.load(cluster.spec) or ClusterSpec()
        if datastore is not None:
            spec = replace(spec, datastore=datastore)
        with _reached(cluster, spec) as url:
            contents = backup.restore(url, file, overwrite=overwrite)
        spec.save(cluster.spec)
        return contents


@contextlib.contextmanager
def _reached(cluster: ClusterLayout, spec: ClusterSpec) -> Iterator[str]:
    """The store's URL, for this process."""
    if not spec.datastore:
        yield str(cluster.store / "store.db")
    elif spec.datastore != "etcd":
        yield spec.datastore
    elif is_running(cluster):
        namespaces.join(network=namespaces.network_namespace_path(cluster.netns))
        yield etcd.url(cluster)
    else:
        with etcd.running(cluster) as url:
            yield url
