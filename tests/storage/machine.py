"""A hypothesis state machine that drives a store and the model side by side, with two watches that lag as they like.

Every watch must deliver exactly the model's events; every read must agree with it, now and at old revisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shirube.storage.types import Compacted, Compare, CompareFailed, Delete, Event, Put, Storage

from .model import Model

KEYS = st.sampled_from(["/a/1", "/a/2", "/a/3", "/b/1", "/b/é", "/a"])
PREFIXES = st.sampled_from(["/", "/a/", "/a", "/b/", "/none/"])
VALUES = st.binary(max_size=12)


class StoreMachine(RuleBasedStateMachine):
    """`fresh` makes an opener for a store of its own; the test sets it on a subclass."""

    fresh: Callable[[], Callable[[], Awaitable[Storage]]]
    ordered: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opener = type(self).fresh()
        self.model = Model()
        self.store: Any = self.runner.run(self.opener())
        self.watches: list[tuple[Any, Any, str, int, list[Event]]] = []

    def teardown(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        for context, *_ in self.watches:
            await context.__aexit__(None, None, None)
        self.watches.clear()
        await self.store.close()

    @initialize(prefix=PREFIXES)
    def watch_from_the_start(self, prefix: str) -> None:
        self._watch(prefix, 1)

    def _watch(self, prefix: str, after: int) -> None:
        async def begin() -> None:
            context = self.store.watch(prefix, after)
            watch = await context.__aenter__()
            self.watches.append((context, watch, prefix, after, []))

        self.runner.run(begin())

    @rule(key=KEYS, value=VALUES)
    def put(self, key: str, value: bytes) -> None:
        self._commit([], [Put(key, value)])

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self._commit([], [Delete(key)])

    @rule(key=KEYS, value=VALUES, right=st.booleans(), offset=st.integers(0, 3))
    def compare_and_put(self, key: str, value: bytes, right: bool, offset: int) -> None:
        held = self.model.now.get(key)
        revision = held.mod_revision if held else 0
        self._commit([Compare(key, revision if right else revision + offset)], [Put(key, value)])

    @rule(writes=st.lists(st.tuples(KEYS, st.none() | VALUES), min_size=2, max_size=6))
    def many_at_once(self, writes: list[tuple[str, bytes | None]]) -> None:
        """Concurrent commits, of a backend in this process: group-committed, in the order in which they were begun.

        Requests to a server may overtake each other, so there they follow one another.
        """
        ops = [Delete(key) if value is None else Put(key, value) for key, value in writes]
        expected = [self.model.commit([op]) for op in ops]

        async def commit() -> list[int]:
            if not self.ordered:
                return [await self.store.commit([], [op]) for op in ops]
            return await asyncio.gather(*(self.store.commit([], [op]) for op in ops))

        assert self.runner.run(commit()) == expected

    def _commit(self, compares: list[Compare], ops: list[Put | Delete]) -> None:
        failing = self.model.failing(compares)
        try:
            revision = self.runner.run(self.store.commit(compares, ops))
        except CompareFailed as failed:
            assert failed.current == failing
        else:
            assert failing is True
            assert revision == self.model.commit(ops)

    @rule(share=st.floats(0, 1), prefix=PREFIXES, limit=st.integers(0, 3))
    def range(self, share: float, prefix: str, limit: int) -> None:
        revision = 1 + round(share * (self.model.revision - 1))
        ask = self.store.range(prefix, limit=limit, revision=revision, count=True)
        if revision < self.model.compacted:
            try:
                self.runner.run(ask)
            except Compacted as compacted:
                assert compacted.compact_revision == self.model.compacted
                return
            raise AssertionError("a compacted revision was answered")
        found = self.runner.run(ask)
        expected = [kv for key, kv in self.model.at(revision).items() if key.startswith(prefix)]
        assert found.items == (expected[:limit] if limit else expected)
        assert found.count == len(expected)
        assert found.more == (bool(limit) and len(expected) > limit)

    @rule(share=st.floats(0, 1))
    def compact(self, share: float) -> None:
        revision = 1 + round(share * (self.model.revision - 1))
        self.runner.run(self.store.compact(revision))
        self.model.compacted = max(self.model.compacted, revision)

    @rule(prefix=PREFIXES, share=st.floats(0, 1))
    def watch(self, prefix: str, share: float) -> None:
        low = max(1, self.model.compacted)
        self._watch(prefix, low + round(share * (self.model.revision - low)))

    @rule(which=st.integers(0, 9))
    def drain(self, which: int) -> None:
        """A watch catches up: what it delivered is what happened, unless it slept through a compaction."""
        if not self.watches:
            return
        context, watch, prefix, after, seen = self.watches[which % len(self.watches)]

        async def catch_up() -> None:
            async with asyncio.timeout(60):
                while watch.revision < self.model.revision:
                    watch.request_progress()
                    seen.extend(await anext(watch))

        try:
            self.runner.run(catch_up())
        except Compacted:
            assert max([after, watch.revision]) < self.model.compacted
            self.runner.run(context.__aexit__(None, None, None))
            self.watches.remove((context, watch, prefix, after, seen))
            return
        assert seen == self.model.after(after, prefix)

    @rule()
    def reopen(self) -> None:
        async def again() -> None:
            await self._close()
            self.store = await self.opener()

        self.runner.run(again())

    @invariant()
    def agrees_with_the_model(self) -> None:
        found = self.runner.run(self.store.range("/"))
        assert found.items == list(self.model.now.values())
        assert found.revision == self.model.revision
