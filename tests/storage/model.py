"""What a store must do, as the simplest program that does it: a list of all events."""

from __future__ import annotations

from shirube.storage.types import FIRST_REVISION, Compare, Delete, Event, KeyValue, Op


class Model:
    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compacted = 0
        self.events: list[Event] = []

    def at(self, revision: int) -> dict[str, KeyValue]:
        state: dict[str, KeyValue] = {}
        for e in self.events:
            if e.revision > revision:
                break
            if e.kind == "PUT":
                state[e.key] = KeyValue(e.key, e.value, e.create_revision, e.revision)
            else:
                del state[e.key]
        return dict(sorted(state.items()))

    @property
    def now(self) -> dict[str, KeyValue]:
        return self.at(self.revision)

    def failing(self, compares: list[Compare]) -> KeyValue | bool | None:
        """True when all compares hold, else the first failing one's current key."""
        now = self.now
        for compare in compares:
            held = now.get(compare.key)
            if (held.mod_revision if held else 0) != compare.mod_revision:
                return held
        return True

    def commit(self, ops: list[Op]) -> int:
        now, revision = self.now, self.revision + 1
        events = []
        for op in ops:
            held = now.get(op.key)
            if isinstance(op, Delete):
                if held:
                    events.append(Event("DELETE", op.key, b"", revision, held.create_revision, held.value))
            else:
                create = held.create_revision if held else revision
                events.append(Event("PUT", op.key, op.value, revision, create, None))
        if events:
            self.revision = revision
            self.events += events
        return self.revision

    def after(self, revision: int, prefix: str) -> list[Event]:
        return [e for e in self.events if e.revision > revision and e.key.startswith(prefix)]
