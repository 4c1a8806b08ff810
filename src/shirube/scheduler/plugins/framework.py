"""What a plugin is. Pure: plugins read the columns and answer for every node at once.

A filter says which nodes take the pod; only when somebody must be told why, `rejections` words it node by node.
Filters with `static` depend on the node object alone, so that their answer holds while `NodeColumns.version` does.
A score gives 0 to 100 for each row (a plain number when all are equal, None when it has nothing to say); values at
rows outside the mask mean nothing. Arrays are as long as the columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.pod import PodInfo

MAX_SCORE = 100
_instances = itertools.count()


class Rejection(NamedTuple):
    """Why one node does not take the pod. Evicting other pods can help when it is `resolvable`."""

    reasons: tuple[str, ...]
    resolvable: bool


Groups = list[tuple[Rejection, Ints]]


class Plugin:
    name = ""

    def __init__(self) -> None:
        self.memory = f"{self.name}-{next(_instances)}"  # where its results by signature are kept in the columns


class Filter(Plugin):
    static = False

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        """False when it would let the pod go anywhere."""
        return True

    def forbids(self, pod: PodInfo, nodes: NodeColumns) -> str:
        """Why no node will do whatever it looks like; "" otherwise."""
        return ""

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        raise AssertionError

    def accepts(self, pod: PodInfo, nodes: NodeColumns, at: int) -> bool:
        """`fits` of one row, for those who ask about one."""
        return bool(self.fits(pod, nodes)[at])

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        """Why, for these rows, which `fits` has refused: every row in one group."""
        raise AssertionError


class Score(Plugin):
    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        raise AssertionError


def same(reason: str, rows: Ints, *, resolvable: bool) -> Groups:
    return [(Rejection((reason,), resolvable), rows)]


def first_of(rows: Ints, answers: Iterable[tuple[str, bool, Bools]]) -> Groups:
    """Rows by the first answer (reason, resolvable, rows that it is about) that speaks of them."""
    found: Groups = []
    for reason, resolvable, mask in answers:
        mine = mask[rows]
        if mine.any():
            found.append((Rejection((reason,), resolvable), rows[mine]))
            rows = rows[~mine]
    return found


def merged(groups: Groups) -> Groups:
    """Groups of the same answer as one."""
    found: dict[Rejection, Ints] = {}
    for answer, rows in groups:
        found[answer] = np.concatenate([found[answer], rows]) if answer in found else rows
    return list(found.items())


def all_of(rows: Ints, answers: Iterable[tuple[str, bool, Bools]]) -> Groups:
    """Rows by the set of answers that speak of them; resolvable when all of these are."""
    known = list(answers)
    codes = np.zeros(len(rows), dtype=np.int64)
    for bit, (_, _, mask) in enumerate(known):
        codes |= mask[rows].astype(np.int64) << min(bit, 62)
    found: Groups = []
    # np.unique would load NumPy's masked arrays.
    for code in sorted(set(codes.tolist())) if len(known) > 12 else np.flatnonzero(np.bincount(codes)):
        mine = [(reason, resolvable) for bit, (reason, resolvable, _) in enumerate(known) if int(code) >> bit & 1]
        reasons = tuple(dict.fromkeys(reason for reason, _ in mine))
        found.append((Rejection(reasons, all(resolvable for _, resolvable in mine)), rows[codes == code]))
    return found


def normalised(raw: Ints, mask: Bools, *, reverse: bool = False) -> Ints | int:
    """Upstream's DefaultNormalizeScore: the best becomes 100, or with `reverse` 0."""
    most = int(np.where(mask, raw, 0).max(initial=0))
    if most == 0:
        return MAX_SCORE if reverse else 0
    scaled = raw * MAX_SCORE // most
    return MAX_SCORE - scaled if reverse else scaled
