"""`shirube image build|load|ls`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from shirube.cluster import containerd, images
from shirube.cluster.control import NotRunning
from shirube.cluster.down import known_nodes
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.up import import_images, is_running, save_image

_name = click.option("--name", default="shirube", show_default=True, help="The cluster's name.")


@click.group()
def command() -> None:
    """Images without a registry: built from a description, kept with the cluster, loaded into every node."""


@command.command()
@click.argument("source", type=click.Path(path_type=Path))
@_name
def build(source: Path, name: str) -> None:
    """Build the image that SOURCE (a folder with an image.toml, or the file) describes, and load it."""
    cluster = ClusterLayout.of(name)
    described = images.read_source(source)
    save_image(cluster, described)
    _load_into_nodes(cluster)
    print(described.name)


@command.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_name
def load(archive: Path, name: str) -> None:
    """Load an OCI or Docker image archive (tar) into every node, now and when nodes are added."""
    cluster = ClusterLayout.of(name)
    folder = cluster.lib / "images"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(archive, folder / (archive.stem + ".tar"))
    _load_into_nodes(cluster)


@command.command()
@_name
def ls(name: str) -> None:
    """The images of each node."""
    cluster = ClusterLayout.of(name)
    if not is_running(cluster):
        raise NotRunning(f"cannot list images: cluster {name} is not running; run `shirube up --name {name}`")
    for node in known_nodes(cluster):
        for image in containerd.image_names(node):
            print(f"{node.name}\t{image}")


def _load_into_nodes(cluster: ClusterLayout) -> None:
    if is_running(cluster):
        for node in known_nodes(cluster):
            import_images(node)
