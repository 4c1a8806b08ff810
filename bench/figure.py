"""One measured figure, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: str
    target: str
    command: str

    def __str__(self) -> str:
        return f"{self.what:<66} {self.value:>46}   {self.target:<18} {self.command}"


HEADER = Figure("figure", "ours", "target", "made by")


def as_json(figures: Iterable[Figure]) -> str:
    return orjson.dumps([asdict(f) for f in figures], option=orjson.OPT_INDENT_2).decode()


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
