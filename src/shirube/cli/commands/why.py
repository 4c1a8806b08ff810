"""`shirube why`: why a pod waits, or why it is where it is.

What the scheduler decides is worked out here from what the API lets the asker read, with the scheduler's own plugins:
nobody learns what RBAC would not show them. Kinds that may not be read are left out, and named.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import orjson

from shirube.api import gvr
from shirube.api.errors import ApiError
from shirube.api.gvr import GVR
from shirube.client.rest import Client
from shirube.cluster.layout import ClusterLayout

Object = dict[str, Any]
_TABLES = {
    "claims": gvr.PERSISTENTVOLUMECLAIMS,
    "volumes": gvr.PERSISTENTVOLUMES,
    "classes": gvr.STORAGECLASSES,
    "csi_nodes": gvr.CSINODES,
    "csi_drivers": gvr.CSIDRIVERS,
    "capacities": gvr.CSISTORAGECAPACITIES,
    "budgets": gvr.PODDISRUPTIONBUDGETS,
}
_OWNERS = {
    "ReplicaSet": gvr.REPLICASETS,
    "StatefulSet": gvr.STATEFULSETS,
    "ReplicationController": gvr.REPLICATIONCONTROLLERS,
}
_NAMED = 5  # nodes named in a line of text


@click.command()
@click.argument("target", metavar="pod/NAME")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="As whom to ask.  [default: $KUBECONFIG, or --name]"
)
@click.option(
    "--scheduler-config",
    type=click.Path(path_type=Path),
    help="The KubeSchedulerConfiguration that the pod's scheduler runs with.  [default: the default plugins]",
)
@click.option("--name", default="shirube", show_default=True, help="The cluster, where no kubeconfig is given.")
def command(
    target: str, namespace: str, output: str, kubeconfig: Path | None, scheduler_config: Path | None, name: str
) -> None:
    """Why a pod is pending (and what would make it fit), or why it runs where it runs."""
    kind, _, pod = target.rpartition("/")
    if kind not in ("pod", "pods", "po", "") or not pod:
        raise click.BadParameter(f"cannot explain {target!r}: only pods can be asked about, as pod/NAME")
    from shirube.scheduler.configuration import Configuration, ConfigurationError, load

    path = kubeconfig or _default_kubeconfig(name)
    try:
        configuration = load(scheduler_config) if scheduler_config else Configuration()
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    try:
        found = asyncio.run(_ask(path, namespace, pod, configuration.profiles))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot read kubeconfig {path}: {error}") from error
    except ApiError as error:
        raise click.ClickException(f"cannot explain pod {namespace}/{pod}: {error.message}") from error
    if output == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo("\n".join(lines(found)))


def _default_kubeconfig(name: str) -> Path:
    given = os.environ.get("KUBECONFIG", "").split(":")[0]
    return Path(given) if given else ClusterLayout.of(name).admin_kubeconfig


async def _ask(kubeconfig: Path, namespace: str, name: str, profiles: Mapping[str, Any]) -> Object:
    from shirube.scheduler.explaining import explain

    client = Client.from_kubeconfig(kubeconfig, "shirube-why")
    try:
        pod = await client.get(gvr.PODS, name, namespace)
        world, unread = await _read_world(client)
    finally:
        await client.close()
    found = explain(pod, world, profiles)
    if unread:
        found["unread"] = unread
    return found


async def _read_world(client: Client) -> tuple[Any, list[str]]:
    from shirube.scheduler.explaining import World

    unread: list[str] = []

    async def every(collection: GVR) -> list[Object]:
        try:
            listed = await client.list(collection)
        except ApiError as error:
            if error.code not in (403, 404):
                raise
            unread.append(collection.resource)
            return []
        items: list[Object] = listed["items"]
        return items

    nodes = (await client.list(gvr.NODES))["items"]  # without nodes there is nothing to say
    world = World(nodes=nodes, pods=await every(gvr.PODS))
    world.namespaces, world.services = await every(gvr.NAMESPACES), await every(gvr.SERVICES)
    world.owners = [(kind, obj) for kind, collection in _OWNERS.items() for obj in await every(collection)]
    world.tables = {table: await every(collection) for table, collection in _TABLES.items()}
    world.slices, world.device_classes = await every(gvr.RESOURCESLICES), await every(gvr.DEVICECLASSES)
    world.device_claims = await every(gvr.RESOURCECLAIMS)
    return world, unread


# Text


def lines(found: Object) -> list[str]:
    """The answer for a person."""
    head = f"pod {found['pod']}"
    if found["state"] == "placed":
        text = [f"{head} is on {found['node']}.", *_score_lines(found)]
    elif found["state"] == "fits":
        text = [f"{head} fits on {_names(found['feasible'])}: the scheduler should place it now."]
    else:
        waits = "is held back" if found["state"] == "gated" else "fits on no node"
        verdicts = [*_verdict_lines(found), ""] if "verdicts" in found else []
        text = [f"{head} {waits}: {found['message']}", "", *verdicts, *_change_lines(found)]
    if note := found.get("note"):
        text += ["", note]
    if unread := found.get("unread"):
        text += ["", f"answered without {', '.join(unread)}, which this user may not list"]
    return text


def _verdict_lines(found: Object) -> list[str]:
    text = []
    for verdict in found["verdicts"]:
        evict = "; evicting pods can help" if verdict["evictionCanHelp"] else ""
        count = len(verdict["nodes"])
        text.append(f"  {verdict['plugin']}: {', '.join(verdict['reasons'])}{evict}")
        text.append(f"    {count} node{'s' if count != 1 else ''}: {_names(verdict['nodes'])}")
    return text


def _change_lines(found: Object) -> list[str]:
    if not found["changes"]:
        return ["No single change or pair of changes would make it fit."]
    text = ["It would fit after any one of these:"]
    for change in found["changes"]:
        opens = f" ({_names(change['nodes'])})" if change["nodes"] else ""
        text.append(f"  - {change['change']}{opens}")
    return text


def _score_lines(found: Object) -> list[str]:
    if not found["scores"]:
        return []
    used = Counter({p: points for line in found["scores"] for p, points in line["plugins"].items() if points})
    width = max(len(line["node"]) for line in found["scores"]) + 2
    text = [f"By today's state {found['feasible']} nodes would take it; points, weighted:", ""]
    text.append(f"  {'NODE':{width}} {'TOTAL':>6}  " + "  ".join(used))
    for line in found["scores"]:
        mark = "*" if line["node"] == found["node"] else " "
        points = "  ".join(f"{line['plugins'][plugin]:>{len(plugin)}}" for plugin in used)
        text.append(f"{mark} {line['node']:{width}} {line['total']:>6}  {points}")
    return text


def _names(nodes: list[str]) -> str:
    more = len(nodes) - _NAMED
    return ", ".join(nodes[:_NAMED]) + (f" and {more} more" if more > 0 else "")
