"""Policy rules from words: the notation of the tables in this package."""

from __future__ import annotations

from typing import Any


def on(groups: str, resources: str, verbs: str, names: str = "") -> dict[str, Any]:
    """A rule about resources. Words are separated by spaces, groups by "|"."""
    rule: dict[str, Any] = {"apiGroups": groups.split("|"), "resources": resources.split()}
    if names:
        rule["resourceNames"] = names.split()
    rule["verbs"] = verbs.split()
    return rule


def urls(paths: str, verbs: str) -> dict[str, Any]:
    """A rule about paths that are no resources."""
    return {"nonResourceURLs": paths.split(), "verbs": verbs.split()}
