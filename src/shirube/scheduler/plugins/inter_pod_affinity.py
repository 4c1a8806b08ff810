"""InterPodAffinity: pods that must, must not, would rather or rather not share a domain with others.

Symmetric: a running pod's required anti-affinity keeps the new pod away too, its preferences count in the score, and
its required affinity counts with `hardPodAffinityWeight`. Which running pods' terms select the new pod is worked out
once per kind of pod and set of terms; numbers per domain follow every pod.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.counts import DomainCount
from shirube.scheduler.plugins.framework import MAX_SCORE, Filter, Groups, Score, first_of
from shirube.scheduler.pod import PodInfo, Term

Object = dict[str, Any]
Weighed = list[tuple[Term, int, int]]  # (term, weight in the table of terms, weight in the score)


class InterPodAffinity(Filter, Score):
    name = "InterPodAffinity"

    def __init__(self, args: Object | None = None) -> None:
        super().__init__()
        self._hard_weight = int((args or {}).get("hardPodAffinityWeight", 1))
        self._ignore_existing = bool((args or {}).get("ignorePreferredTermsOfExistingPods", False))

    # Filter

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        shape = pod.shape
        if shape.affinity or shape.anti_affinity:
            return True
        return bool(nodes.counts.anti_terms) and bool(self._keeping_away(pod, nodes))

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = np.ones(nodes.size, dtype=np.bool_)
        if pod.shape.affinity:
            fits &= self._near(pod, nodes)
        for term in pod.shape.anti_affinity:
            fits &= _empty(nodes.counts.by_domain(nodes.counts.matching(term.matcher), term.topology_key))
        for term in self._keeping_away(pod, nodes):
            fits &= _empty(nodes.counts.by_domain(nodes.counts.with_anti_term(term), term.topology_key))
        return fits

    def _near(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        """Domains with a pod that every required term selects; the first of a group that selects itself may start."""
        terms = pod.shape.affinity
        matchers = tuple(t.matcher for t in terms)
        pods = nodes.counts.matching_all(matchers)
        sums = [nodes.counts.by_domain(pods, t.topology_key) for t in terms]
        labelled = np.ones(nodes.size, dtype=np.bool_)
        for one in sums:
            labelled &= one.codes >= 0
        if not any(one.total for one in sums):
            namespaces = nodes.around.namespaces
            if all(m.matches(pod.namespace, pod.shape.labels, namespaces) for m in matchers):
                return labelled
        for one in sums:
            labelled &= one.by_row() > 0
        return labelled

    def _keeping_away(self, pod: PodInfo, nodes: NodeColumns) -> list[Term]:
        """Running pods' required anti-affinity terms that select this pod."""
        memory = nodes.remembered(f"{self.memory}-away")
        key = (pod.shape.class_key[0], pod.shape.class_key[1])
        known = memory.get(key)
        if known is None or known[0] != nodes.counts.generation:
            shape, namespaces = pod.shape, nodes.around.namespaces
            terms = [
                t for t, _ in nodes.counts.anti_terms.values()
                if t.matcher.matches(shape.namespace, shape.labels, namespaces)
            ]  # fmt: skip
            known = nodes.remember(memory, key, (nodes.counts.generation, terms))
        found: list[Term] = known[1]
        return found

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        everywhere = np.ones(nodes.size, dtype=np.bool_)
        near = self._near(pod, nodes) if pod.shape.affinity else everywhere
        own = np.ones(nodes.size, dtype=np.bool_)
        for term in pod.shape.anti_affinity:
            own &= _empty(nodes.counts.by_domain(nodes.counts.matching(term.matcher), term.topology_key))
        return first_of(
            rows,
            [
                ("node(s) didn't match pod affinity rules", False, ~near),
                ("node(s) didn't match pod anti-affinity rules", True, ~own),
                ("node(s) didn't satisfy existing pods anti-affinity rules", True, everywhere),
            ],
        )

    # Score

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        counts = nodes.counts
        mine, theirs = pod.shape.preferred_pods, self._liking(pod, nodes)
        if not mine and not theirs:
            return None
        raw = np.zeros(nodes.size, dtype=np.int64)
        for term, weight in mine:
            raw += weight * counts.by_domain(counts.matching(term.matcher), term.topology_key).by_row()
        for term, listed, weight in theirs:
            raw += weight * counts.by_domain(counts.with_score_term(term, listed), term.topology_key).by_row()
        if not mask.any():
            return None
        inside = raw[mask]
        least, most = int(inside.min()), int(inside.max())
        if most == least:
            return 0
        return (MAX_SCORE * ((raw - least) / (most - least))).astype(np.int64)

    def _liking(self, pod: PodInfo, nodes: NodeColumns) -> Weighed:
        """Running pods' preferences (and required affinity) that select this pod."""
        if not nodes.counts.score_terms or (self._ignore_existing and not pod.shape.preferred_pods):
            return []
        memory = nodes.remembered(f"{self.memory}-like")
        key = (pod.shape.class_key[0], pod.shape.class_key[1])
        known = memory.get(key)
        if known is None or known[0] != nodes.counts.generation:
            shape, namespaces = pod.shape, nodes.around.namespaces
            found = [
                (term, listed, listed or self._hard_weight)
                for (_, _, listed), (term, _) in nodes.counts.score_terms.items()
                if (listed or self._hard_weight) and term.matcher.matches(shape.namespace, shape.labels, namespaces)
            ]
            known = nodes.remember(memory, key, (nodes.counts.generation, found))
        terms: Weighed = known[1]
        return terms


def _empty(domain: DomainCount) -> Bools:
    return (domain.counts == 0)[domain.codes]
