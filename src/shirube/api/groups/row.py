"""The shape of a row in the tables of built-in resources.

A row says only what cannot be derived: plural name, kind, and whatever departs from the usual. The usual is a
namespaced kind with all eight verbs, whose singular name is its kind in lower case, kept in storage in the
version that serves it. `shirube.api.resources` turns rows into `Resource` objects; the tables themselves
import nothing but this module.
"""

from __future__ import annotations

from typing import NamedTuple

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_WRITE = ("get", "patch", "update")
PROXY_VERBS = ("create", "delete", "get", "patch", "update")
CREATE_ONLY = ("create",)


class Sub(NamedTuple):
    """A subresource. Kind, group and version are those of its parent where they are empty."""

    name: str
    kind: str = ""
    verbs: tuple[str, ...] = READ_WRITE
    group: str = ""
    version: str = ""


class Row(NamedTuple):
    """One resource. `short` and `categories` are words separated by spaces; `stored_in` is "group/version" of
    the hub version when another one than this is kept in storage ("v1" for the core group)."""

    name: str
    kind: str
    namespaced: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    short: str = ""
    categories: str = ""
    sub: tuple[Sub, ...] = ()
    stored_in: str = ""


class GroupTable(NamedTuple):
    """All resources of one group version, by name."""

    group: str
    version: str
    rows: tuple[Row, ...]


STATUS = Sub("status")
SCALE = Sub("scale", "Scale", READ_WRITE, "autoscaling", "v1")
CLUSTER = False  # for the `namespaced` column
NAMESPACED = True
