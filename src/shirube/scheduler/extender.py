"""HTTP extenders: somebody else's filter and scores, asked after our own filters (`v1.Extender` of the configuration).

The verbs `filter`, `prioritize`, `preempt` and `bind` are spoken, with names (`nodeCacheCapable`) or whole nodes and
pods. An extender with `managedResources` is asked only about pods that request one of them; one that is `ignorable` may
fail. Answers are data from outside: names that were not asked about are dropped, scores are clamped to 0 to 10.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
Victims = tuple[list[Object], int]  # pods to evict, and how many disruption budgets that breaks
EXTENDER = "Extender"  # where plugins are named
_MOST_BYTES = 64 * 1024 * 1024
_HIGHEST, _POINTS = 10, 10  # an extender's highest score, and what ours are to one of its


class ExtenderError(Exception):
    """An extender that must be heard could not be."""


@dataclass(slots=True)
class Filtered:
    """Nodes left, and why others are not; `unresolvable` ones no eviction would help."""

    names: list[str]
    failed: dict[str, str] = field(default_factory=dict)
    unresolvable: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Extender:
    """One entry of `extenders`."""

    url: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 1
    seconds: float = 5.0
    names_only: bool = False
    ignorable: bool = False
    managed: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()  # of these, resources that our own filter leaves to the extender
    tls: ssl.SSLContext | None = None
    server_name: str = ""  # that the certificate must be of, where it is not the URL's

    def interested(self, pod: PodInfo) -> bool:
        return not self.managed or any(r in self.managed for r in pod.requests)

    async def filter(self, pod: Object, nodes: list[Object]) -> Filtered:
        names = [n["metadata"]["name"] for n in nodes]
        try:
            answer = await self._post(self.filter_verb, self._about(pod, nodes))
        except ExtenderError:
            if self.ignorable:
                return Filtered(names)
            raise
        if error := _get(answer, "error"):
            raise ExtenderError(f"extender {self.url}: {error}")
        left = _get(answer, "nodenames")
        if left is None:
            items = (_get(answer, "nodes") or {}).get("items") or []
            left = [n["metadata"]["name"] for n in items]
        known = set(names)
        return Filtered(
            [n for n in left if n in known],
            _get(answer, "failednodes") or {},
            _get(answer, "failedandunresolvablenodes") or {},
        )

    async def prioritize(self, pod: Object, nodes: list[Object]) -> dict[str, int]:
        """Points by node, weighed and on the scale of our own scores; one that fails counts nothing, as upstream."""
        try:
            answer = await self._post(self.prioritize_verb, self._about(pod, nodes))
            return {
                str(_get(line, "host")): min(max(int(_get(line, "score") or 0), 0), _HIGHEST) * self.weight * _POINTS
                for line in answer
            }
        except (ExtenderError, TypeError, ValueError, AttributeError):
            return {}

    async def preempt(self, pod: Object, victims: Mapping[str, Victims]) -> dict[str, Victims]:
        """Of nodes with the pods that would be evicted those that may be, and whom they would cost."""
        plain = {
            node: {"pods": [{"uid": p["metadata"]["uid"]} for p in pods], "numPDBViolations": violations}
            for node, (pods, violations) in victims.items()
        }
        body: Object = {"pod": pod, "nodeNameToMetaVictims": plain if self.names_only else None}
        body["nodeNameToVictims"] = (
            None
            if self.names_only
            else {node: {"pods": pods, "numPDBViolations": violations} for node, (pods, violations) in victims.items()}
        )
        try:
            answer = await self._post(self.preempt_verb, body)
        except ExtenderError:
            if self.ignorable:
                return dict(victims)
            raise
        left: dict[str, Victims] = {}
        for node, found in (_get(answer, "nodenametometavictims") or {}).items():
            if node not in victims:
                raise ExtenderError(f"extender {self.url}: asked about preemption, it speaks of node {node!r}")
            uids = {_get(p, "uid") for p in _get(found, "pods") or ()}
            chosen = [p for p in victims[node][0] if p["metadata"]["uid"] in uids]
            if len(chosen) < len(uids):
                raise ExtenderError(f"extender {self.url}: it would evict a pod that is not on node {node!r}")
            left[node] = (chosen, int(_get(found, "numpdbviolations") or 0))
        return left

    async def bind(self, pod: PodInfo, node: str) -> None:
        """Let it write the binding."""
        body = {"podName": pod.name, "podNamespace": pod.namespace, "podUID": pod.uid, "node": node}
        answer = await self._post(self.bind_verb, body)
        if error := _get(answer or {}, "error"):
            raise ExtenderError(f"extender {self.url}: {error}")

    def _about(self, pod: Object, nodes: list[Object]) -> Object:
        names = [n["metadata"]["name"] for n in nodes]
        listed = None if self.names_only else {"apiVersion": "v1", "kind": "NodeList", "items": nodes}
        return {"pod": pod, "nodes": listed, "nodenames": names if self.names_only else None}

    async def _post(self, verb: str, body: Object) -> Any:
        url = f"{self.url.rstrip('/')}/{verb}"
        try:
            timeout = aiohttp.ClientTimeout(total=self.seconds)
            connector = aiohttp.TCPConnector(ssl=self.tls or True)
            async with (
                aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
                session.post(
                    url,
                    data=orjson.dumps(body),
                    headers={"Content-Type": "application/json"},
                    server_hostname=self.server_name or None,
                ) as response,
            ):
                if response.status != 200:
                    raise ExtenderError(f"extender {url} answered {response.status}")
                data = bytearray()
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise ExtenderError(f"extender {url} answered more than {_MOST_BYTES // 2**20} MiB")
                return orjson.loads(data)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise ExtenderError(f"cannot ask extender {url}: {str(error) or type(error).__name__}") from error


def _get(answer: Any, name: str) -> Any:
    """A field by its name in any case, as Go reads them."""
    if not isinstance(answer, dict):
        raise ExtenderError(f"an extender answered with a {type(answer).__name__} where an object must be")
    return next((v for k, v in answer.items() if k.lower() == name), None)
