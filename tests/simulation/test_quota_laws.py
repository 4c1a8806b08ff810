"""Laws of quotas with many hands at once: never exceeded, and the count is right within seconds of the last change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.lives import ATTACK, SEEDS, changes, deaths, live

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, RESOURCEQUOTAS
from shirube.simulation.cluster import Cluster
from shirube.simulation.laws import Laws
from shirube.simulation.wire import Death
from shirube.storage.types import Event

# What one pair of hands does: wait, make one of six names (others may have it), hold it, delete it (or leave it).
ACTS = st.lists(
    st.tuples(st.floats(0.0, 2.0), st.integers(0, 5), st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=8
)
SETTLED_SECONDS = 12.0  # admission pauses, five seconds pass, the count is written; a dead controller rises in one


class Most:
    """The largest number of ConfigMaps that a namespace ever held."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.most = 0

    def __call__(self, events: Sequence[Event]) -> None:
        for key, obj in changes(events, "core/configmaps/default"):
            (self.held.discard if obj is None else self.held.add)(key)
            self.most = max(self.most, len(self.held))


@ATTACK
@given(seed=SEEDS, hard=st.integers(1, 4), hands=st.lists(ACTS, min_size=2, max_size=8), ends=deaths(6))
def test_many_hands_never_exceed_a_quota_and_its_count_is_right_soon(
    seed: int, hard: int, hands: list[list[tuple[float, int, float, bool]]], ends: list[Death]
):
    most = Most()

    async def work(cluster: Cluster, acts: list[tuple[float, int, float, bool]]) -> None:
        for pause, number, hold, tidy in acts:
            await asyncio.sleep(pause)
            name = f"c{number}"
            try:
                await cluster.admin.create(CONFIGMAPS, {"metadata": {"name": name}}, "default")
            except ApiError as error:
                assert error.code in (403, 409), error
                continue
            await asyncio.sleep(hold)
            if tidy:
                await cluster.admin.delete(CONFIGMAPS, name, "default")

    async def life(cluster: Cluster, laws: Laws) -> None:
        there = len(most.held)  # the root CA's
        made = {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": str(there + hard)}}}
        await cluster.admin.create(RESOURCEQUOTAS, made, "default")
        async with asyncio.TaskGroup() as group:
            for acts in hands:
                group.create_task(work(cluster, acts), name="hands")
        await asyncio.sleep(SETTLED_SECONDS)
        assert most.most <= there + hard
        quota = await cluster.get(RESOURCEQUOTAS, "q", "default")
        assert quota is not None
        assert quota["status"]["used"] == {"count/configmaps": str(len(most.held))}

    live(seed, life, nodes=0, dying="resourcequota-controller", deaths=ends, hear=most)
