"""The smallest changes that would make a waiting pod fit: tried out, not guessed. Pure.

Each idea (`_ideas`, one generator a plugin) edits the pod or one node; it is kept when the scheduler's own filters then
accept some node. When no single one helps, pairs are tried. A node that the pod would fit on closes the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
import orjson

from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, feasible
from shirube.scheduler.pod import CPU, MEMORY, PODS, PodInfo, read

Object = dict[str, Any]
_MOST_IDEAS = 40
_SHOWN = 8
_AFTER = "DuringSchedulingIgnoredDuringExecution"


class Idea(NamedTuple):
    text: str
    edit: Callable[[Object], None] | None = None  # of the pod
    node: Object | None = None  # a node as it would have to be


def smallest_changes(pod: Object, nodes: list[Object], columns: NodeColumns, profile: Profile) -> list[Object]:
    """`{"change", "steps", "opens", "nodes"}`, the fewest steps first, then what opens most nodes."""
    ideas = list(islice(_ideas(pod, nodes, columns, profile), _MOST_IDEAS))
    found = [line for idea in ideas if (line := _tried((idea,), pod, columns, profile))]
    if not found:
        pairs = (p for p in combinations(ideas, 2) if p[0].node is None or p[1].node is None)
        found = [line for pair in islice(pairs, 300) if (line := _tried(pair, pod, columns, profile))]
    found.sort(key=lambda line: (line["steps"], -line["opens"], line["change"]))
    found = found[:_SHOWN]
    gated = bool(pod["spec"].get("schedulingGates"))
    if not gated and (shape := _new_node(pod, columns, profile)):
        found.append(shape)
    return found


def _copy(obj: Object) -> Object:
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def _tried(ideas: tuple[Idea, ...], pod: Object, columns: NodeColumns, profile: Profile) -> Object | None:
    edited = _copy(pod)
    before = {}
    for idea in ideas:
        if idea.edit is not None:
            idea.edit(edited)
        if idea.node is not None:
            name = idea.node["metadata"]["name"]
            before[name] = _as_node(columns, name)
            columns.set_node(idea.node)
    try:
        mask = feasible(read(edited), columns, profile)
        if mask is None or edited["spec"].get("schedulingGates"):
            return None
        opened = sorted(columns.rows[at].name for at in np.flatnonzero(mask))
    finally:
        for node in before.values():
            columns.set_node(node)
    if not opened:
        return None
    return {
        "change": " and ".join(idea.text for idea in ideas),
        "steps": len(ideas),
        "opens": len(opened),
        "nodes": opened,
    }


def _as_node(columns: NodeColumns, name: str) -> Object:
    """A row back as a node object, enough to restore it."""
    at = columns.index(name)
    assert at is not None
    row = columns.rows[at]
    capacity = {r: int(c[at]) for r, c in columns.allocatable.items()}
    capacity[CPU] = f"{capacity[CPU]}m"  # type: ignore[assignment]
    return {
        "metadata": {"name": name, "labels": dict(row.labels)},
        "spec": {
            "taints": [{"key": k, "value": v, "effect": e} for k, v, e in row.taints],
            "unschedulable": bool(columns.unschedulable[at]),
        },
        "status": {"allocatable": capacity},
    }


def _ideas(pod: Object, nodes: list[Object], columns: NodeColumns, profile: Profile) -> Iterator[Idea]:
    info = read(pod)
    if info.shape.gates:
        yield Idea("take its scheduling gates away", _drop("schedulingGates"))
    yield from _requests(info, columns, profile)
    yield from _taints(columns)
    yield from _cordons(nodes)
    yield from _node_labels(info, nodes)
    yield from _node_selection(info)
    yield from _ports(pod)
    yield from _spread(pod)
    yield from _pod_affinity(pod)


def _requests(info: PodInfo, columns: NodeColumns, profile: Profile) -> Iterator[Idea]:
    """Each resource lowered to the most that a node has left, where everything else would do."""
    others = columns.present.copy()
    for plugin in profile.filters:
        if plugin.name != "NodeResourcesFit" and plugin.applies(info, columns) and not plugin.forbids(info, columns):
            others &= plugin.fits(info, columns)
    if not others.any():
        others = columns.present
    for resource, amount in info.requests.items():
        if resource not in columns.allocatable:
            yield Idea(f"take its request of {resource} away (no node has any)", _set_request(resource, 0))
            continue
        rest = others.copy()
        for other, wanted in info.requests.items():
            if other != resource and other in columns.allocatable:
                rest &= columns.requested[other] + wanted <= columns.allocatable[other]
        rest &= columns.requested[PODS] < columns.allocatable[PODS]
        free = (columns.allocatable[resource] - columns.requested[resource])[rest if rest.any() else others]
        most = int(free.max(initial=0))
        if 0 < most < amount:
            shown = f"{written(resource, amount)} to {written(resource, most)}"
            yield Idea(f"lower its requests of {resource} from {shown}", _set_request(resource, most))


def written(resource: str, amount: int) -> str:
    """An amount as a person writes it."""
    if resource == CPU:
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if amount >= size and (resource == MEMORY or "storage" in resource):
            return f"{amount // size}{suffix}"
    return str(amount)


def _set_request(resource: str, amount: int) -> Callable[[Object], None]:
    def edit(pod: Object) -> None:
        spec = pod["spec"]
        for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
            (container.get("resources", {}).get("requests") or {}).pop(resource, None)
        (spec.get("overhead") or {}).pop(resource, None)
        (spec.get("resources", {}).get("requests") or {}).pop(resource, None)
        if amount:
            text = f"{amount}m" if resource == CPU else str(amount)
            spec["containers"][0].setdefault("resources", {}).setdefault("requests", {})[resource] = text

    return edit


def _drop(*path: str) -> Callable[[Object], None]:
    """Take something out of the pod's spec."""

    def edit(pod: Object) -> None:
        inner = pod["spec"]
        for part in path[:-1]:
            inner = inner[part]
        inner.pop(path[-1], None)

    return edit


def _tolerate(tolerations: list[Object]) -> Callable[[Object], None]:
    def edit(pod: Object) -> None:
        pod["spec"]["tolerations"] = [*(pod["spec"].get("tolerations") or []), *tolerations]

    return edit


def _taints(columns: NodeColumns) -> Iterator[Idea]:
    sets = {columns.rows[at].taints for at in columns.indexes()}
    for taints in sorted(sets):
        hard = [t for t in taints if t[2] != "PreferNoSchedule"]
        if hard:
            shown = ", ".join(f"{k}={v}:{e}" if v else f"{k}:{e}" for k, v, e in hard)
            wanted = [{"key": k, "operator": "Equal", "value": v, "effect": e} for k, v, e in hard]
            yield Idea(f"tolerate {shown}", _tolerate(wanted))


def _cordons(nodes: list[Object]) -> Iterator[Idea]:
    cordoned = [n for n in nodes if (n.get("spec") or {}).get("unschedulable")]
    for node in cordoned[:5]:
        edited = _copy(node)
        edited["spec"].pop("unschedulable")
        edited["spec"]["taints"] = [
            t for t in edited["spec"].get("taints") or [] if t["key"] != "node.kubernetes.io/unschedulable"
        ]
        yield Idea(f"uncordon {node['metadata']['name']}", node=edited)


def _node_labels(info: PodInfo, nodes: list[Object]) -> Iterator[Idea]:
    """What a node would have to be labelled with: the selector, or the first required term of equalities."""
    wanted = dict(info.shape.selector)
    for term in (info.shape.required_terms or [])[:1]:
        for e in term.get("matchExpressions") or []:
            if e["operator"] == "In" and e.get("values"):
                wanted.setdefault(e["key"], e["values"][0])
            elif e["operator"] == "Exists":
                wanted.setdefault(e["key"], "")
    if not wanted:
        return
    for node in nodes[:10]:
        labels = node["metadata"].get("labels") or {}
        missing = {k: v for k, v in wanted.items() if labels.get(k) != v}
        if missing:
            edited = _copy(node)
            edited["metadata"]["labels"] = {**labels, **missing}
            shown = ", ".join(f"{k}={v}" for k, v in sorted(missing.items()))
            yield Idea(f"label node {node['metadata']['name']} with {shown}", node=edited)


def _node_selection(info: PodInfo) -> Iterator[Idea]:
    for key, value in info.shape.selector.items():
        yield Idea(f"drop {key}={value} from its nodeSelector", _drop("nodeSelector", key))
    if info.shape.required_terms is not None:
        yield Idea(
            "make its required node affinity a preference",
            _drop("affinity", "nodeAffinity", f"required{_AFTER}"),
        )


def _ports(pod: Object) -> Iterator[Idea]:
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or [] if p.get("hostPort")]

    def edit(edited: Object) -> None:
        for container in edited["spec"]["containers"]:
            for port in container.get("ports") or []:
                port.pop("hostPort", None)

    if ports:
        shown = ", ".join(str(p["hostPort"]) for p in ports)
        yield Idea(f"give up its host port{'s' if len(ports) > 1 else ''} {shown}", edit)


def _spread(pod: Object) -> Iterator[Idea]:
    for i, constraint in enumerate(pod["spec"].get("topologySpreadConstraints") or []):
        if constraint.get("whenUnsatisfiable") != "DoNotSchedule":
            continue
        over = f"its spread over {constraint['topologyKey']}"
        for skew in range(constraint["maxSkew"] + 1, constraint["maxSkew"] + 6):
            yield Idea(f"allow {over} a maxSkew of {skew}", _edit_spread(i, "maxSkew", skew))
        yield Idea(f"make {over} a preference (ScheduleAnyway)", _edit_spread(i, "whenUnsatisfiable", "ScheduleAnyway"))


def _edit_spread(i: int, field: str, value: Any) -> Callable[[Object], None]:
    def edit(pod: Object) -> None:
        pod["spec"]["topologySpreadConstraints"][i][field] = value

    return edit


def _pod_affinity(pod: Object) -> Iterator[Idea]:
    affinity = pod["spec"].get("affinity") or {}
    for kind, words in (("podAffinity", "required pod affinity"), ("podAntiAffinity", "required pod anti-affinity")):
        if (affinity.get(kind) or {}).get(f"required{_AFTER}"):
            yield Idea(
                f"make its {words} a preference",
                _drop("affinity", kind, f"required{_AFTER}"),
            )


def _new_node(pod: Object, columns: NodeColumns, profile: Profile) -> Object | None:
    """The smallest node that would take the pod."""
    info = read(pod)
    labels = {"kubernetes.io/hostname": "one-more", **info.shape.selector}
    for term in (info.shape.required_terms or [])[:1]:
        for e in term.get("matchExpressions") or []:
            if e["operator"] in ("In", "Exists"):
                labels.setdefault(e["key"], (e.get("values") or [""])[0])
    for spread in info.shape.spread:
        labels.setdefault(spread.topology_key, "another")
    capacity = {r: f"{a}m" if r == CPU else str(a) for r, a in info.requests.items()}
    node = {
        "metadata": {"name": "one-more", "labels": labels},
        "spec": {},
        "status": {"allocatable": {**capacity, "pods": "1"}},
    }
    if columns.index("one-more") is not None:
        return None
    columns.set_node(node)
    try:
        mask = feasible(info, columns, profile)
        at = columns.index("one-more")
        if mask is None or at is None or not mask[at]:
            return None
    finally:
        columns.remove_node("one-more")
    wanted = [f"{written(r, a)} {r}" for r, a in info.requests.items()]
    wanted += [f"label {k}={v}" for k, v in sorted(labels.items()) if k != "kubernetes.io/hostname"]
    shown = f" with at least {', '.join(wanted)} left" if wanted else ""
    return {"change": f"add a node{shown} and no taints", "steps": 1, "opens": 1, "nodes": []}
