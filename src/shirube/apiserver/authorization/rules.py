"""RBAC rules: what one allows, and whether some rules cover others. Pure functions over PolicyRule objects.

A rule is compiled once (`CompiledRule`) when its role is read; matching is then a few set look-ups.
See "Using RBAC Authorization" in the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from shirube.apiserver.attributes import Attributes

Rule = dict[str, Any]


class CompiledRule:
    __slots__ = ("_groups", "_names", "_prefixes", "_resources", "_urls", "_verbs", "source")

    def __init__(self, rule: Rule) -> None:
        self.source = rule
        self._verbs = _set(rule, "verbs")
        self._groups = _set(rule, "apiGroups")
        self._resources = _set(rule, "resources")
        self._names = _set(rule, "resourceNames")
        urls = _set(rule, "nonResourceURLs")
        self._urls = urls
        self._prefixes = tuple(url.rstrip("*") for url in urls if url.endswith("*"))

    def allows(self, a: Attributes) -> bool:
        if a.verb not in self._verbs and "*" not in self._verbs:
            return False
        if not a.is_resource:
            return a.path in self._urls or any(a.path.startswith(p) for p in self._prefixes)
        if a.group not in self._groups and "*" not in self._groups:
            return False
        if self._names and a.name not in self._names:
            return False
        resources = self._resources
        if "*" in resources:
            return True
        if not a.subresource:
            return a.resource in resources
        return f"{a.resource}/{a.subresource}" in resources or f"*/{a.subresource}" in resources


def _set(rule: Rule, key: str) -> frozenset[str]:
    return frozenset(rule.get(key) or ())


def uncovered(owner: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of `wanted` that no rule of `owner` allows, as single-valued rules."""
    return [atom for rule in wanted for atom in _atoms(rule) if not any(_covers(o, atom) for o in owner)]


def _atoms(rule: Rule) -> list[Rule]:
    """A rule taken apart: one verb, one group, one resource, one name (or one URL) each."""
    verbs = list(dict.fromkeys(rule.get("verbs") or ()))
    atoms: list[Rule] = []
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                names = rule.get("resourceNames") or ()
                base = {"apiGroups": [group], "resources": [resource]}
                if names:
                    atoms += [{**base, "resourceNames": [n], "verbs": [verb]} for n in names]
                else:
                    atoms.append({**base, "verbs": [verb]})
    for url in rule.get("nonResourceURLs") or ():
        atoms += [{"nonResourceURLs": [url], "verbs": [verb]} for verb in verbs]
    return atoms


def _covers(owner: Rule, atom: Rule) -> bool:
    verbs = owner.get("verbs") or ()
    if "*" not in verbs and atom["verbs"][0] not in verbs:
        return False
    if "nonResourceURLs" in atom:
        return any(_url_covers(mine, atom["nonResourceURLs"][0]) for mine in owner.get("nonResourceURLs") or ())
    groups = owner.get("apiGroups") or ()
    if "*" not in groups and atom["apiGroups"][0] not in groups:
        return False
    resources, resource = owner.get("resources") or (), atom["resources"][0]
    sub = resource.partition("/")[2]
    if "*" not in resources and resource not in resources and not (sub and f"*/{sub}" in resources):
        return False
    names = owner.get("resourceNames") or ()
    return not names or ("resourceNames" in atom and atom["resourceNames"][0] in names)


def _url_covers(mine: str, wanted: str) -> bool:
    if mine in ("*", wanted):
        return True
    return mine.endswith("*") and wanted.startswith(mine.rstrip("*"))


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Rules that differ in their verb only become one."""
    merged: dict[tuple[Any, ...], Rule] = {}
    for rule in rules:
        key = tuple(tuple(rule.get(k) or ()) for k in ("apiGroups", "resources", "nonResourceURLs", "resourceNames"))
        if key in merged:
            verbs = merged[key]["verbs"]
            verbs += [v for v in rule["verbs"] if v not in verbs]
        else:
            merged[key] = {**rule, "verbs": list(rule["verbs"])}
    return list(merged.values())


def describe(rule: Rule) -> str:
    """One rule as upstream's refusals print it: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`."""
    parts = []
    for title, key in (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("ResourceNames", "resourceNames"),
        ("Verbs", "verbs"),
    ):
        if values := rule.get(key):
            parts.append(f"{title}:{quoted(values)}")
    return "{" + ", ".join(parts) + "}"


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go's `%q` prints it."""
    return "[" + " ".join(f'"{v}"' for v in values) + "]"
