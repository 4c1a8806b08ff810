"""What must be true of a store that is killed again and again, as a model that judges what was seen.

The *history* is what the store itself tells after a crash: every event after the revision that was judged before. Held
against it are what writers were answered and what watchers were told:

- An acknowledged write is in the history, at the revision that was answered, in its writer's order. A refused one is
  not. One whose answer was lost happened once or never.
- Nothing is in the history that nobody wrote.
- A write that began after another was acknowledged has the higher revision.
- No update of a shared object is lost: each state of it differs from the one before by one writer's one step.
- A watcher was told exactly the history's events after where it began, in order, each once, as far as it came.
- A list is the state at its revision.

Pure: no clock, no network.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

State = dict[str, tuple[int, str]]  # key -> (revision, value)


class Violation(AssertionError):
    """The store broke a promise."""


class Happened(NamedTuple):
    """An event of the history. `value` is empty when the key was deleted."""

    revision: int
    kind: Literal["PUT", "DELETE"]
    key: str
    value: str


@dataclass(slots=True)
class Write:
    """`revision`: as answered; 0 when the answer has none. `known`: an answer came."""

    key: str
    kind: Literal["PUT", "DELETE"]
    value: str
    floor: int  # the highest revision that had been acknowledged to anybody when this began
    known: bool = False
    revision: int = 0


@dataclass(slots=True)
class Told:
    """What one watcher was told since it began at `after`; it has come to `revision`."""

    name: str
    after: int
    revision: int
    only: str = ""  # it watches this key alone
    events: list[Happened] = field(default_factory=list)


class Judge:
    def __init__(self, shared: str) -> None:
        self.shared = shared  # the key that all writers step
        self.revision = 0  # judged up to here
        self.state: State = {}
        self.acknowledged = 0  # the highest revision
        self.writes: list[Write] = []
        self.told: list[Told] = []
        self.lists: list[tuple[str, int, State]] = []
        self.judged_writes = 0
        self.judged_events = 0

    # What is seen

    def begins(self, key: str, kind: Literal["PUT", "DELETE"], value: str) -> Write:
        write = Write(key, kind, value, self.acknowledged)
        self.writes.append(write)
        return write

    def answered(self, write: Write, revision: int) -> None:
        write.known, write.revision = True, revision
        self.acknowledged = max(self.acknowledged, revision)

    def refused(self, write: Write) -> None:
        self.writes.remove(write)

    def watches(self, name: str, after: int, only: str = "") -> Told:
        told = Told(name, after, after, only)
        self.told.append(told)
        return told

    def listed(self, name: str, revision: int, state: State) -> None:
        self.lists.append((name, revision, state))

    # The verdict

    def judge(self, history: list[Happened], revision: int) -> None:
        """All of what happened after `self.revision` up to `revision`; no write is under way. Raises Violation."""
        if revision < max(self.revision, self.acknowledged):
            raise Violation(f"the store is at {revision}, but {self.acknowledged} had been acknowledged")
        _rises([event.revision for event in history], "the history", self.revision)
        self._judge_writes(history)
        self._judge_shared(history)
        self._judge_lists(history, revision)
        self._judge_watches(history, revision)
        self.state = replay(self.state, history)
        self.revision = revision
        self.judged_events += len(history)

    def _judge_writes(self, history: list[Happened]) -> None:
        by_key: dict[str, list[Happened]] = {}
        for event in history:
            by_key.setdefault(event.key, []).append(event)
        wrote: dict[str, list[Write]] = {}
        for write in self.writes:
            wrote.setdefault(write.key, []).append(write)
        for key in by_key.keys() | wrote.keys():
            if key == self.shared:  # written by many at once: their order is the history's
                order = {event.value: n for n, event in enumerate(by_key.get(key, []))}
                wrote.get(key, []).sort(key=lambda w: order.get(w.value, len(order)))
            _match(key, wrote.get(key, []), by_key.get(key, []))
        self.judged_writes += sum(write.known for write in self.writes)
        self.writes = []

    def _judge_shared(self, history: list[Happened]) -> None:
        before = steps(self.state[self.shared][1]) if self.shared in self.state else {}
        for event in history:
            if event.key != self.shared:
                continue
            after = steps(event.value)
            moved = {who: after.get(who, 0) - before.get(who, 0) for who in after.keys() | before.keys()}
            if sorted(by for by in moved.values() if by) != [1]:
                raise Violation(f"an update of {self.shared} was lost at {event.revision}: {before} became {after}")
            before = after

    def _judge_lists(self, history: list[Happened], revision: int) -> None:
        later = []
        for name, at, state in self.lists:
            if at > revision:
                later.append((name, at, state))
                continue
            expected = replay(self.state, [event for event in history if event.revision <= at])
            if state != expected:
                differ = sorted(k for k in state.keys() | expected.keys() if state.get(k) != expected.get(k))
                raise Violation(f"{name}: the list at {at} is not the state then: {differ[:3]} differ")
        self.lists = later

    def _judge_watches(self, history: list[Happened], revision: int) -> None:
        for told in self.told:
            _rises([event.revision for event in told.events], told.name, told.after)
            upto = min(told.revision, revision)
            was = [event for event in told.events if event.revision <= upto]
            start = max(told.after, self.revision)
            should = [e for e in history if start < e.revision <= upto and (not told.only or e.key == told.only)]
            if was != should:
                wrong = next((pair for pair in zip(was, should, strict=False) if pair[0] != pair[1]), None)
                detail = f"first difference {wrong}" if wrong else f"told {len(was)} of {len(should)}"
                lost = [e for e in should if e not in was][:2]
                raise Violation(f"{told.name} from {told.after} to {upto}: {detail}; lost {lost}")
            told.events = [event for event in told.events if event.revision > upto]
            told.after = max(told.after, upto)

    def forget(self, told: Told) -> None:
        """The watcher begins anew: what it was told so far is judged next time, then it is gone."""
        told.name += " (ended)"

    def drop_ended(self) -> None:
        self.told = [told for told in self.told if not told.name.endswith(" (ended)")]


def replay(state: State, history: list[Happened]) -> State:
    after = dict(state)
    for event in history:
        if event.kind == "PUT":
            after[event.key] = (event.revision, event.value)
        else:
            after.pop(event.key, None)
    return after


def steps(value: str) -> dict[str, int]:
    """The shared object's value: `writer=number` for each; what follows a semicolon makes it unique."""
    numbers = value.partition(";")[0]
    return {who: int(number) for who, _, number in (part.partition("=") for part in numbers.split(",") if part)}


def _rises(revisions: list[int], what: str, after: int) -> None:
    for before, revision in zip([after, *revisions], revisions, strict=False):
        if revision <= before:
            raise Violation(f"{what}: revision {revision} came after {before}")


def _match(key: str, writes: list[Write], events: list[Happened]) -> None:
    waiting = iter(writes)
    for event in events:
        for write in waiting:
            if (write.kind, write.value) == (event.kind, event.value):
                break
            if write.known:
                raise Violation(f"an acknowledged write is lost: {write}; found {event}")
        else:
            raise Violation(f"nobody wrote (or somebody wrote once) what is at {key}: {event}")
        if write.revision and write.revision != event.revision:
            raise Violation(f"{write} was acknowledged at {write.revision}, but is at {event.revision}")
        if event.revision <= write.floor:
            raise Violation(f"{write} began after {write.floor} was acknowledged, but is at {event.revision}")
    for write in waiting:
        if write.known:
            raise Violation(f"an acknowledged write is lost: {write}")
