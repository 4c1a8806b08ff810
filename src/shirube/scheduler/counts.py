"""How many pods of which kind run where: per node and per topology domain, updated as pods come and go.

Pods that count alike (same namespace, labels and affinity terms, living or terminating) form a class. A `PodCount`
is a question that a plugin asked (pods that a selector matches, pods that have a certain anti-affinity term); it keeps
a number per node. A `DomainCount` sums these by the values of a topology key, over the nodes that are eligible. Both
are made when first asked for and follow every pod from then on; a change of nodes rebuilds sums from the numbers.
Most questions are about pods of one namespace: questions and classes find each other by it, so that what happens in a
namespace costs what is asked there and not what is asked in the whole cluster.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shirube.scheduler.matching import Matcher
from shirube.scheduler.pod import PodInfo, Term

if TYPE_CHECKING:
    from shirube.scheduler.columns import NodeColumns

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_MOST_COUNTS = 2048  # questions remembered; the one not asked for longest goes


@dataclass(slots=True, eq=False)
class PodClass:
    """Pods that count alike. `rows` says how many run where."""

    info: PodInfo  # one of them
    rows: dict[int, int] = field(default_factory=dict)
    counted_by: list[tuple[PodCount, int]] = field(default_factory=list)  # with the multiplicity


class DomainCount:
    """Pods by domain. `counts[code]` is a domain's number, the last entry (code -1: no such label) is always 0."""

    def __init__(self, nodes: NodeColumns, pods: PodCount, key: str, eligible: Bools | None) -> None:
        self._nodes, self._pods, self._key, self._eligible = nodes, pods, key, eligible
        self.rebuild()

    def rebuild(self) -> None:
        column = self._nodes.label(self._key)
        self.version = self._nodes.version
        self.codes = column.codes
        self._of_row = column.codes if self._eligible is None else np.where(self._eligible, column.codes, -1)
        length = len(column.values) + 1
        self.counts: Ints = np.bincount(
            np.where(self._of_row < 0, length - 1, self._of_row), weights=self._pods.rows, minlength=length
        ).astype(np.int64)
        self.counts[-1] = 0
        self.total = int(self.counts.sum())
        domains = np.zeros(length, dtype=np.bool_)
        domains[self._of_row] = True
        domains[-1] = False
        self.domains: Ints = np.flatnonzero(domains)

    def add(self, at: int, number: int) -> None:
        if self.version != self._nodes.version:
            return  # a label changed since: whoever asks next gets a new sum
        code = self._of_row[at]
        if code >= 0:
            self.counts[code] += number
            self.total += number

    def by_row(self) -> Ints:
        """Each node's domain's number."""
        return self.counts[self.codes]

    @property
    def least(self) -> int:
        return int(self.counts[self.domains].min()) if len(self.domains) else 0


class PodCount:
    """Pods by node, of the classes that `weigh` gives a number other than 0."""

    def __init__(self, size: int, weigh: Callable[[PodInfo], int], namespaces: frozenset[str] | None) -> None:
        """Outside `namespaces` (None: there is no outside) `weigh` gives 0."""
        self.weigh = weigh
        self.namespaces = namespaces
        self.rows: Ints = np.zeros(size, dtype=np.int64)
        self.domains: dict[Any, DomainCount] = {}

    def add(self, at: int, number: int) -> None:
        self.rows[at] += number
        for domain in self.domains.values():
            domain.add(at, number)


class Counts:
    def __init__(self, nodes: NodeColumns) -> None:
        self._nodes = nodes
        self._classes: dict[Any, PodClass] = {}
        self._classes_in: dict[str, dict[Any, PodClass]] = {}  # by namespace
        self._counts: OrderedDict[Any, PodCount] = OrderedDict()
        self._counts_in: dict[str | None, dict[Any, PodCount]] = {}  # by namespace, None: those about all of them
        self.anti_terms: dict[tuple[str, str], tuple[Term, int]] = {}  # of running pods, with how many classes have it
        self.score_terms: dict[tuple[str, str, int], tuple[Term, int]] = {}  # … preferred (weight), and required (0)
        self._claims: dict[str, int] = {}  # namespace/claim -> how many pods use it
        self.generation = 0  # changes with the set of terms

    # Pods come and go

    def count(self, at: int, info: PodInfo, sign: int) -> None:
        for volume in info.shape.volumes:
            if claim := volume.get("claim"):
                name = f"{info.namespace}/{claim}"
                self._claims[name] = self._claims.get(name, 0) + sign
                if not self._claims[name]:
                    del self._claims[name]
        key = (info.shape.class_key, info.terminating)
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = self._new_class(info)
            self._classes_in.setdefault(info.namespace, {})[key] = found
        left = found.rows.get(at, 0) + sign
        if left:
            found.rows[at] = left
        else:
            del found.rows[at]
        for counter, times in found.counted_by:
            counter.add(at, sign * times)
        if not found.rows:
            del self._classes[key]
            _drop(self._classes_in, info.namespace, key)
            self._terms(info, -1)

    def _new_class(self, info: PodInfo) -> PodClass:
        made = PodClass(info)
        for place in (info.namespace, None):
            for counter in self._counts_in.get(place, {}).values():
                if times := counter.weigh(info):
                    made.counted_by.append((counter, times))
        self._terms(info, 1)
        return made

    def _terms(self, info: PodInfo, sign: int) -> None:
        shape = info.shape
        for term in shape.anti_affinity:
            self._term(self.anti_terms, (term.matcher.key, term.topology_key), term, sign)
        for term, weight in (*shape.preferred_pods, *((t, 0) for t in shape.affinity)):
            self._term(self.score_terms, (term.matcher.key, term.topology_key, weight), term, sign)

    def _term(self, table: dict[Any, tuple[Term, int]], key: Any, term: Term, sign: int) -> None:
        _, classes = table.get(key, (term, 0))
        if classes + sign:
            table[key] = (term, classes + sign)
        else:
            del table[key]
        if classes == 0 or classes + sign == 0:
            self.generation += 1

    def grow(self, more: int) -> None:
        for counter in self._counts.values():
            counter.rows = np.concatenate([counter.rows, np.zeros(more, dtype=np.int64)])

    def forget(self) -> None:
        """Namespaces' labels changed: what was counted by them is counted anew when asked for."""
        self._counts.clear()
        self._counts_in.clear()
        for known in self._classes.values():
            known.counted_by.clear()
        self.generation += 1

    # Questions

    def claim_users(self, namespace: str, claim: str) -> int:
        """How many pods use a claim."""
        return self._claims.get(f"{namespace}/{claim}", 0)

    def matching(self, matcher: Matcher) -> PodCount:
        """Pods that a matcher selects."""
        return self.matching_all((matcher,))

    def matching_all(self, matchers: tuple[Matcher, ...]) -> PodCount:
        """Pods that every one of the matchers selects."""
        namespaces = self._nodes.around.namespaces

        def weigh(info: PodInfo) -> int:
            shape = info.shape
            return int(
                all(
                    (m.counts_terminating or not info.terminating)
                    and m.matches(shape.namespace, shape.labels, namespaces)
                    for m in matchers
                )
            )

        named = [m.namespaces for m in matchers if m.namespace_selector is None]
        within = frozenset.intersection(*named) if named else None
        return self._ask(("match", *(m.key for m in matchers)), weigh, within)

    def with_anti_term(self, term: Term) -> PodCount:
        """Pods that keep away from others by this required term."""
        wanted = (term.matcher.key, term.topology_key)

        def weigh(info: PodInfo) -> int:
            return sum((t.matcher.key, t.topology_key) == wanted for t in info.shape.anti_affinity)

        return self._ask(("anti", *wanted), weigh)

    def with_score_term(self, term: Term, weight: int) -> PodCount:
        """Pods that prefer (weight), or require (weight 0), to be near or far from others by this term."""
        wanted = (term.matcher.key, term.topology_key, weight)

        def weigh(info: PodInfo) -> int:
            shape = info.shape
            mine = [*shape.preferred_pods, *((t, 0) for t in shape.affinity)]
            return sum((t.matcher.key, t.topology_key, w) == wanted for t, w in mine)

        return self._ask(("score", *wanted), weigh)

    def by_domain(self, pods: PodCount, key: str, signature: Any = None, eligible: Bools | None = None) -> DomainCount:
        """Sums by a topology key; `signature` names what `eligible` was made from (and its nodes' version)."""
        domain = pods.domains.get((key, signature))
        if domain is None or domain.version != self._nodes.version:
            if len(pods.domains) > 64:
                pods.domains.clear()
            domain = pods.domains[key, signature] = DomainCount(self._nodes, pods, key, eligible)
        return domain

    def _ask(self, key: Any, weigh: Callable[[PodInfo], int], namespaces: frozenset[str] | None = None) -> PodCount:
        counter = self._counts.get(key)
        if counter is not None:
            self._counts.move_to_end(key)
            return counter
        counter = self._counts[key] = PodCount(self._nodes.size, weigh, namespaces)
        for place in _places(counter):
            self._counts_in.setdefault(place, {})[key] = counter
        for known in self._classes_of(counter):
            if times := weigh(known.info):
                known.counted_by.append((counter, times))
                for at, number in known.rows.items():
                    counter.rows[at] += number * times
        if len(self._counts) > _MOST_COUNTS:
            old_key, oldest = self._counts.popitem(last=False)
            for place in _places(oldest):
                _drop(self._counts_in, place, old_key)
            for known in self._classes_of(oldest):
                known.counted_by = [c for c in known.counted_by if c[0] is not oldest]
        return counter

    def _classes_of(self, counter: PodCount) -> Iterable[PodClass]:
        """Those that it may count."""
        if counter.namespaces is None:
            return self._classes.values()
        return (known for name in _places(counter) for known in self._classes_in.get(str(name), {}).values())


def _places(counter: PodCount) -> list[str | None]:
    return [None] if counter.namespaces is None else [*sorted(counter.namespaces)]


def _drop(table: dict[Any, dict[Any, Any]], place: Any, key: Any) -> None:
    filed = table[place]
    del filed[key]
    if not filed:
        del table[place]
