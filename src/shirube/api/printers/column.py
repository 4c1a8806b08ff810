"""A column of a table, and how the rows of a kind are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Obj = dict[str, Any]
# (object, now in seconds since the epoch) -> one cell a column
Cells = Callable[[Obj, float], list[Any]]
Conditions = Callable[[Obj], list[dict[str, str]]]


class Column(NamedTuple):
    """As ``kubectl get`` heads it; priority 1 is shown with ``-o wide`` only."""

    name: str
    description: str
    type: str = "string"
    format: str = ""
    priority: int = 0

    def to_dict(self) -> Obj:
        return self._asdict()


@dataclass(frozen=True, slots=True)
class Printer:
    """How one kind is printed."""

    columns: tuple[Column, ...]
    cells: Cells
    # what a client may want to know of a row without reading its cells: a pod that has finished
    conditions: Conditions | None = None


NAME = Column("Name", "Name of the object, unique among its kind in its namespace.", format="name")
AGE = Column("Age", "Time since the object was created.")


def wide(name: str, description: str, type: str = "string") -> Column:
    """A column for ``-o wide``."""
    return Column(name, description, type, priority=1)


def integer(name: str, description: str) -> Column:
    return Column(name, description, "integer")


CONTAINERS = wide("Containers", "Names of the containers in the template.")
IMAGES = wide("Images", "Images of the containers in the template.")
SELECTOR = wide("Selector", "Labels by which pods are found.")
