"""`shirube up`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from shirube.cluster import api_config as access_config
from shirube.cluster import layout
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import ClusterSpec, datastore_of
from shirube.cluster.up import up


@click.command()
@click.option("--name", default="shirube", show_default=True, help="The cluster's name.")
@click.option(
    "--nodes",
    type=click.IntRange(0, 100),
    help="How many nodes; 0 is the control plane alone.  [default: as before, else 1]",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"Port of the API on 127.0.0.1.  [default: as before, else {layout.API_PORT}]",
)
@click.option(
    "--ip-family",
    type=click.Choice(sorted(layout.FAMILIES)),
    help="Addresses of nodes, pods and Services: of one family, or of both.  [default: as before, else ipv4]",
)
@click.option(
    "--node-grace",
    type=click.IntRange(4, 3600),
    help="Seconds without a word after which a node counts as failed.  [default: as before, else 40]",
)
@click.option(
    "--datastore",
    help="Where objects are kept: sqlite, etcd (one of our own), or the URL of another etcd: "
    "etcds://HOST:PORT?ca=FILE&cert=FILE&key=FILE.  [default: as before, else sqlite]",
)
@click.option(
    "--api-config",
    type=click.Path(path_type=Path),
    help="Directory with authentication.yaml, authorization.yaml, encryption.yaml, audit-policy.yaml and "
    "admission.yaml for the API server; each may be absent.  [default: as before, else none]",
)
@click.option(
    "--enable-admission-plugins",
    multiple=True,
    metavar="NAME,…",
    help='Admission plugins that are off by default.  "" is none.  [default: as before, else none]',
)
@click.option(
    "--disable-admission-plugins",
    multiple=True,
    metavar="NAME,…",
    help='Admission plugins that are on by default.  "" is none.  [default: as before, else none]',
)
@click.option(
    "--runtime-config",
    multiple=True,
    metavar="KEY=true|false,…",
    help="APIs to serve or not: GROUP/VERSION, GROUP/VERSION/RESOURCE, api/ga, api/beta or api/all."
    '  "" is upstream\'s.  [default: as before, else none]',
)
@click.option("--install", is_flag=True, help="Install the Debian packages that are missing.")
def command(
    name: str,
    nodes: int | None,
    port: int | None,
    ip_family: str | None,
    node_grace: int | None,
    datastore: str | None,
    api_config: Path | None,
    enable_admission_plugins: tuple[str, ...],
    disable_admission_plugins: tuple[str, ...],
    runtime_config: tuple[str, ...],
    install: bool,
) -> None:
    """Start a cluster on this machine, or mend it. Does nothing where everything is right already."""
    cluster = ClusterLayout.of(name)
    before = ClusterSpec.load(cluster.spec) or ClusterSpec()
    spec = before if port is None else replace(before, api_port=port)
    if nodes is not None and nodes != len(before.indexes()):
        spec = replace(spec, nodes=nodes, removed=(), stopped=())
    if ip_family is not None:
        spec = replace(spec, ip_family=ip_family)
    if node_grace is not None:
        spec = replace(spec, node_grace=node_grace)
    if datastore is not None:
        spec = replace(spec, datastore=datastore_of(datastore))
    if api_config is not None:
        spec = replace(spec, api_config=str(api_config.absolute()))
    if enable_admission_plugins:
        spec = replace(spec, enable_admission_plugins=",".join(filter(None, enable_admission_plugins)))
    if disable_admission_plugins:
        spec = replace(spec, disable_admission_plugins=",".join(filter(None, disable_admission_plugins)))
    if runtime_config:
        spec = replace(spec, runtime_config=",".join(filter(None, runtime_config)))
    _check(spec)
    up(cluster, spec, Progress(), install=install)


def _check(spec: ClusterSpec) -> None:
    """What the API server would refuse is refused here."""
    access_config.check_served(spec.runtime_config)
    admission: Path | None = None
    if spec.api_config:
        directory = Path(spec.api_config)
        access_config.check(directory)
        admission = access_config.options(directory, directory).get("admission_control_config_file")
    access_config.check_plugins(spec.enable_admission_plugins, spec.disable_admission_plugins, admission)
