"""Tables: what ``kubectl get`` asks for, made by the server so that any client can show any kind.

The rows of a kind come from ``shirube.api.printers``. Each row carries its object as the client asked
(``includeObject``): its metadata (kubectl needs name and labels), all of it, or nothing.
Follows meta.k8s.io/v1 ``Table``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from shirube.api.printers import CUSTOM, DEFAULT, PRINTERS
from shirube.api.printers.column import Printer
from shirube.api.resources import BUILTIN

if TYPE_CHECKING:
    from shirube.api.resources import Resource

Obj = dict[str, Any]

INCLUDE = ("None", "Metadata", "Object")


def printer_of(resource: Resource) -> Printer:
    """How objects of a resource are printed."""
    if resource.definition is not None:
        custom: Printer = resource.definition.printer
        return custom
    printer = PRINTERS.get((resource.group, resource.name))
    if printer is not None:
        return printer
    builtin = BUILTIN.by_path(resource.group, resource.version, resource.name)
    return DEFAULT if builtin is not None else CUSTOM


def columns(resource: Resource) -> list[Obj]:
    """The columnDefinitions of a resource's table."""
    return [column.to_dict() for column in printer_of(resource).columns]


def row(printer: Printer, obj: Obj, now: float, include: str) -> Obj:
    """One object as a row; ``now`` is in seconds since the epoch."""
    made: Obj = {"cells": printer.cells(obj, now)}
    if printer.conditions is not None and (conditions := printer.conditions(obj)):
        made["conditions"] = conditions
    if include == "Object":
        made["object"] = obj
    elif include == "Metadata":
        metadata = obj.get("metadata") or {}
        made["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
        }
    else:
        made["object"] = None
    return made


def table(resource: Resource, objects: Iterable[Obj], now: float, *, include: str = "Metadata") -> Obj:
    """The Table of some objects, in their order. List metadata (resourceVersion, continue) is the caller's."""
    printer = printer_of(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [column.to_dict() for column in printer.columns],
        "rows": [row(printer, obj, now, include) for obj in objects],
    }
