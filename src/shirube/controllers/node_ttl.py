"""How long node agents may keep what they have read: `node.alpha.kubernetes.io/ttl` on every node, by cluster size.

In a small cluster agents may ask for Secrets and ConfigMaps anew at once (0 s); the more nodes ask, the longer they
should keep their answers. Sizes overlap, so that a cluster at a boundary does not swing to and fro: it stays where it
is while its size allows. After a restart the nodes' own annotations say where it was.

All nodes are looked at when the step changes, otherwise only those that changed; a node that says the right thing is
not written. Follows upstream's ttl controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import NODES
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context

_ACCOUNT = "ttl-controller"
ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """Nodes from `least` to `most`, both included."""

    least: int
    most: int | None
    seconds: int


STEPS = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, None, 300),
)


def step_for(nodes: int, now: Step) -> Step:
    """The step of a cluster of that size which is at step `now`; the same while it may stay there."""
    place = STEPS.index(now)
    while (most := STEPS[place].most) is not None and nodes > most:
        place += 1
    while nodes < STEPS[place].least:
        place -= 1
    return STEPS[place]


def told(node: Object) -> int | None:
    """What the node's annotation says; None when it says nothing that can be read."""
    text = (node["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else None


def remembered(nodes: Iterable[Object]) -> Step:
    """The highest step that a node was told of."""
    said = {told(node) for node in nodes}
    return max((step for step in STEPS if step.seconds in said), default=STEPS[0])


class NodeTTLController(Controller[str]):
    name = "ttl-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._nodes = context.informer(NODES)
        super().__init__(self._nodes)
        self._client = context.client_of(_ACCOUNT)
        self._step: Step | None = None  # until all nodes are known
        self._nodes.add_handler(self._came_or_went, self._updated, self._came_or_went)

    async def started(self) -> None:
        self._step = step_for(len(self._nodes.store), remembered(self._nodes.store))
        self._look_at_all()

    def _came_or_went(self, node: Object) -> None:
        if self._step is None:
            return
        before, self._step = self._step, step_for(len(self._nodes.store), self._step)
        if self._step == before:
            self._look_at(node)
        else:
            self._look_at_all()

    def _updated(self, _: Object, new: Object) -> None:
        self._look_at(new)

    def _look_at_all(self) -> None:
        for node in self._nodes.store:
            self._look_at(node)

    def _look_at(self, node: Object) -> None:
        if self._step is not None and told(node) != self._step.seconds:
            self.queue.add(key_of(node))

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.store.get(None, key)
        if node is None or self._step is None or told(node) == self._step.seconds:
            return None
        annotations = {ANNOTATION: str(self._step.seconds)}
        patch = {"metadata": {"uid": node["metadata"]["uid"], "annotations": annotations}}
        try:
            await self._client.patch(NODES, key, patch)
        except ApiError as error:
            if error.code != 404:
                raise
        return None
