"""PodTopologySpread: pods spread evenly over zones, nodes or whatever labels name (KEP-895 and its successors).

Hard constraints filter, soft ones score. Pods that name none get the cluster's defaults: over nodes and zones, by
everything that selects them (services and their owner). Numbers per domain follow every pod; `counts` keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.counts import DomainCount
from shirube.scheduler.matching import Matcher, in_namespace, owners_selector
from shirube.scheduler.plugins.framework import MAX_SCORE, Filter, Groups, Score, first_of, merged
from shirube.scheduler.plugins.node_affinity import selected
from shirube.scheduler.plugins.taint_toleration import tolerated
from shirube.scheduler.pod import PodInfo, Spread

Object = dict[str, Any]
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SYSTEM_DEFAULTS = (
    Spread(HOSTNAME, 3, False, None, 1, True, False),
    Spread(ZONE, 5, False, None, 1, True, False),
)


class PodTopologySpread(Filter, Score):
    name = "PodTopologySpread"

    def __init__(self, defaults: tuple[Spread, ...] = SYSTEM_DEFAULTS, *, system: bool = True) -> None:
        """`system`: the defaults are the built-in ones, for which a node may lack a label."""
        super().__init__()
        self._defaults = defaults
        self._system = system

    # Constraints

    def constraints(self, pod: PodInfo, nodes: NodeColumns, *, hard: bool) -> list[tuple[Spread, Matcher]]:
        own = pod.shape.spread
        if own:
            return [(s, s.matcher) for s in own if s.hard is hard and s.matcher is not None]
        wanted = [s for s in self._defaults if s.hard is hard]
        matcher = self._default_matcher(pod, nodes) if wanted else None
        return [] if matcher is None else [(s, matcher) for s in wanted]

    def _default_matcher(self, pod: PodInfo, nodes: NodeColumns) -> Matcher | None:
        around, shape = nodes.around, pod.shape
        services = around.services.get(shape.namespace)
        if not services and not shape.owner[0]:
            return None
        memory = nodes.remembered(f"{self.memory}-defaults")
        known = memory.get(shape)
        if known is None or known[0] != around.selectors_version:
            selecting = [s for s in (services or {}).values() if s.matches(shape.labels)]
            owner = around.owners.get((shape.owner[0], shape.namespace, shape.owner[1]))
            selector = owners_selector(selecting, owner)
            matcher = None if selector is None else in_namespace(shape.namespace, selector)
            known = nodes.remember(memory, shape, (around.selectors_version, matcher))
        found: Matcher | None = known[1]
        return found

    def _eligible(self, pod: PodInfo, nodes: NodeColumns, spread: Spread, keys: tuple[str, ...]) -> tuple[Any, Bools]:
        """Nodes that count for a constraint, with what names them."""
        signature = (pod.shape.node_key, spread.honor_affinity, spread.honor_taints, keys)
        memory = nodes.remembered(f"{self.memory}-eligible")
        known = memory.get(signature)
        if known is None or known[0] != nodes.version:
            mask = nodes.present.copy()
            if spread.honor_affinity:
                mask &= selected(pod, nodes)
            if spread.honor_taints:
                mask &= tolerated(pod, nodes)
            for key in keys:
                mask &= nodes.label(key).codes >= 0
            known = nodes.remember(memory, signature, (nodes.version, mask))
        return signature, known[1]

    def _domains(
        self, pod: PodInfo, nodes: NodeColumns, spread: Spread, matcher: Matcher, keys: tuple[str, ...]
    ) -> DomainCount:
        signature, mask = self._eligible(pod, nodes, spread, keys)
        return nodes.counts.by_domain(nodes.counts.matching(matcher), spread.topology_key, signature, mask)

    # Filter

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        if pod.shape.spread:
            return any(s.hard for s in pod.shape.spread)
        return any(s.hard for s in self._defaults) and bool(self.constraints(pod, nodes, hard=True))

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits: Bools | None = None
        for codes, fine in self._verdicts(pod, nodes):
            one = fine[codes]
            fits = one if fits is None else fits & one
        return np.ones(nodes.size, dtype=np.bool_) if fits is None else fits

    def _verdicts(self, pod: PodInfo, nodes: NodeColumns) -> Iterator[tuple[Any, Bools]]:
        """Of each hard constraint: the nodes' codes, and for each code whether the pod may go there."""
        constraints = self.constraints(pod, nodes, hard=True)
        keys = tuple(s.topology_key for s, _ in constraints)
        for spread, matcher in constraints:
            domains = self._domains(pod, nodes, spread, matcher, keys)
            least = domains.least if len(domains.domains) >= spread.min_domains else 0
            itself = int(matcher.matches(pod.namespace, pod.shape.labels, nodes.around.namespaces))
            fine = domains.counts + (itself - least) <= spread.max_skew
            fine[-1] = False
            yield domains.codes, fine

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        mismatch = "node(s) didn't match pod topology spread constraints"
        answers = []
        for codes, fine in self._verdicts(pod, nodes):
            answers.append((f"{mismatch} (missing required label)", False, codes < 0))
            answers.append((mismatch, True, ~fine[codes]))
        return merged(first_of(rows, answers))

    # Score

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        constraints = self.constraints(pod, nodes, hard=False)
        if not constraints:
            return None
        need_all = bool(pod.shape.spread) or not self._system
        keys = tuple(s.topology_key for s, _ in constraints) if need_all else ()
        counted = mask
        for key in keys:
            counted = counted & (nodes.label(key).codes >= 0)
        raw = np.zeros(nodes.size)
        for spread, matcher in constraints:
            column = nodes.label(spread.topology_key)
            if spread.topology_key == HOSTNAME:
                numbers = nodes.counts.matching(matcher).rows
                size = int(np.count_nonzero(counted))
                one = numbers * math.log(size + 2) + (spread.max_skew - 1)
            else:
                numbers = self._domains(pod, nodes, spread, matcher, keys).counts
                seen = np.zeros(len(column.values) + 1, dtype=np.bool_)
                seen[column.codes[counted]] = True
                size = int(np.count_nonzero(seen))
                one = (numbers * math.log(size + 2) + (spread.max_skew - 1))[column.codes]
            raw += one if need_all else np.where(column.codes >= 0, one, 0.0)
        rounded = np.floor(raw + 0.5).astype(np.int64)
        most = int(np.where(counted, rounded, 0).max(initial=0))
        if most == 0:
            return np.where(counted, MAX_SCORE, 0)
        least = int(np.where(counted, rounded, most).min(initial=most))
        return np.where(counted, MAX_SCORE * (most + least - rounded) // most, 0)
