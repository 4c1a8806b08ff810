"""The `shirube` command: a table of commands, loaded lazily so that each starts fast.

Exit status: 0 done, 1 it failed (one clear message on stderr), 2 the command line was wrong.
"""

from __future__ import annotations

import importlib
import sys

import click

import shirube
from shirube.cli.errors import EXPECTED

COMMANDS = {
    "up": "Start a cluster on this machine, or mend it.",
    "down": "Stop a cluster; its data stays unless --purge.",
    "node": "Add, stop, start and remove nodes of a running cluster.",
    "status": "What runs, where things are, and what is wrong.",
    "why": "Why a pod is pending, or where it is.",
    "doctor": "What of this machine would hinder a cluster, and what to do about it.",
    "kubeconfig": "An administrator's kubeconfig on standard output.",
    "backup": "Every object of a cluster, at one moment, in a file.",
    "restore": "A backup back into a store, of the same kind or the other.",
    "server": "The API alone, in the foreground.",
    "simulate": "A cluster on virtual time: an hour of failures in minutes, from a seed.",
    "image": "Build images and load them into the nodes.",
    "apiserver": "Run the API server of a cluster in the foreground.",
    "controllers": "Run the controllers in the foreground.",
    "scheduler": "Run the scheduler in the foreground.",
    "kubelet": "Run the node agent in the foreground.",
    "network": "Run the node's proxy, pod network and DNS in the foreground.",
}
_COMPONENTS = {"apiserver", "controllers", "scheduler", "kubelet", "network"}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"shirube.cli.commands.{'component' if name in _COMPONENTS else name}")
        command: click.Command = module.command(name) if name in _COMPONENTS else module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(shirube.VERSION, message=f"shirube {shirube.VERSION} (Kubernetes {shirube.KUBERNETES_VERSION})")
def shirube_command() -> None:
    """Kubernetes in Python: a complete cluster on this machine, in seconds."""


def main() -> None:
    try:
        shirube_command(prog_name="shirube")
    except EXPECTED as error:
        print(f"shirube: {error}", file=sys.stderr)
        sys.exit(1)
