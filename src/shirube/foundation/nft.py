"""nftables: one table of ours, made of fragments, and what changed as one transaction.

A `Fragment` is what one thing (a Service, a pod, a policy) needs of the table: chains, sets, elements. A `Table` holds
the fragments of all owners and remembers what differs from what was programmed last, so the cost of a change is that of
the change, however much there is. The same chain or element may be wanted by several owners: it is there as long as one
wants it, and of different verdicts that of the first owner in order counts, so the outcome does not depend on history.

`Table` is pure; `apply` hands a script to `nft`: all of it takes effect at once, or nothing does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shirube.foundation.programs import ProgramError, run

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class NftError(Exception):
    """nft refused a transaction; the message is its own."""


async def apply(script: str, timeout: float = 30.0) -> None:
    """Run `nft -f -` on `script` in this process's network namespace."""
    try:
        await run("nft", "-f", "-", given=script, timeout=timeout)
    except ProgramError as error:
        raise NftError(f"cannot program nftables: {error}") from error


@dataclass(slots=True)
class Fragment:
    """What one owner wants in the table. Elements: set or map -> key -> verdict or value, "" in plain sets."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)  # name -> declaration; one name has one declaration, for ever
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, key: str, verdict: str = "") -> None:
        """Want an element; of two wishes in one fragment the first counts."""
        self.elements.setdefault(name, {}).setdefault(key, verdict)


_NOTHING = Fragment()


class _Claims(Generic[_K, _V]):
    """Things that owners want, which of several wishes counts, and what changed since `settle`."""

    def __init__(self) -> None:
        self._wishes: dict[_K, tuple[tuple[str, _V], ...]] = {}
        self._before: dict[_K, _V | None] = {}

    def get(self, key: _K) -> _V | None:
        wishes = self._wishes.get(key)
        return wishes[0][1] if wishes else None

    def change(self, owner: str, key: _K, value: _V | None) -> None:
        self._before.setdefault(key, self.get(key))
        others = tuple(w for w in self._wishes.get(key, ()) if w[0] != owner)
        if value is not None:
            others = tuple(sorted((*others, (owner, value)), key=lambda w: w[0])) if others else ((owner, value),)
        if others:
            self._wishes[key] = others
        else:
            self._wishes.pop(key, None)

    def changes(self) -> list[tuple[_K, _V | None, _V | None]]:
        """(key, before, now) of everything that differs."""
        pairs = ((key, before, self.get(key)) for key, before in self._before.items())
        return [(key, before, now) for key, before, now in pairs if before != now]

    def everything(self) -> list[tuple[_K, _V | None, _V | None]]:
        return [(key, None, wishes[0][1]) for key, wishes in self._wishes.items()]

    def settle(self) -> None:
        self._before.clear()


class Table:
    """A table (`name`: "ip shirube_proxy") with a fixed part and the fragments of its owners."""

    def __init__(self, name: str, fixed: str) -> None:
        self._name = name
        self._fixed = f"add table {name}\ndelete table {name}\nadd table {name}\n{fixed.strip()}\n"
        self._fragments: dict[str, Fragment] = {}
        self._chains: _Claims[str, tuple[str, ...]] = _Claims()
        self._sets: _Claims[str, str] = _Claims()
        self._elements: _Claims[tuple[str, str], str] = _Claims()
        self._afresh = True

    def put(self, owner: str, wanted: Fragment | None) -> None:
        """Replace what `owner` wants; None or an empty fragment takes it away."""
        old, new = self._fragments.get(owner, _NOTHING), wanted or _NOTHING
        if old == new:
            return
        _put_all(self._chains, owner, old.chains, new.chains)
        _put_all(self._sets, owner, old.sets, new.sets)
        for name in old.elements.keys() | new.elements.keys():
            before, after = old.elements.get(name, {}), new.elements.get(name, {})
            for key in before.keys() | after.keys():
                if before.get(key) != after.get(key):
                    self._elements.change(owner, (name, key), after.get(key))
        if new == _NOTHING:
            self._fragments.pop(owner, None)
        else:
            self._fragments[owner] = new

    def owners(self) -> Iterable[str]:
        return self._fragments.keys()

    def script(self) -> str:
        """The transaction that programs what changed since `settle`; "" when nothing did."""
        if self._afresh:
            lines = _lines(self._name, self._chains.everything(), self._sets.everything(), self._elements.everything())
            return self._fixed + "\n".join([*lines, ""])
        lines = _lines(self._name, self._chains.changes(), self._sets.changes(), self._elements.changes())
        return "\n".join([*lines, ""]) if lines else ""

    def settle(self) -> None:
        """What `script` said last is in the kernel."""
        self._afresh = False
        for claims in (self._chains, self._sets, self._elements):
            claims.settle()

    def distrust(self) -> None:
        """Nobody knows what is in the kernel: the next script makes the table afresh."""
        self._afresh = True


def _put_all(claims: _Claims[str, _V], owner: str, old: dict[str, _V], new: dict[str, _V]) -> None:
    for key in old.keys() | new.keys():
        if old.get(key) != new.get(key):
            claims.change(owner, key, new.get(key))


_Changes = list[tuple[_K, _V | None, _V | None]]


def _lines(
    table: str,
    chains: _Changes[str, tuple[str, ...]],
    sets: _Changes[str, str],
    elements: _Changes[tuple[str, str], str],
) -> list[str]:
    """Elements first go, then rules change, then elements come: no verdict ever points at a chain that is gone."""
    gone_sets = {name for name, _, now in sets if now is None}
    lines = [f"add set {table} {name} {now}" for name, before, now in sets if before is None]
    lines += [f"add chain {table} {name}" for name, before, _ in chains if before is None]
    gone = ((where, key, "") for (where, key), before, _ in elements if before is not None and where not in gone_sets)
    lines += _element_lines("delete", table, gone)
    for name, before, rules in chains:
        if rules is None:
            continue
        if before is not None:
            lines.append(f"flush chain {table} {name}")
        lines += [f"add rule {table} {name} {rule}" for rule in rules]
    lines += _element_lines("add", table, ((where, key, now) for (where, key), _, now in elements if now is not None))
    dead = [name for name, _, now in chains if now is None]
    lines += [f"flush chain {table} {name}" for name in dead]
    lines += [f"delete chain {table} {name}" for name in dead]
    lines += [f"delete set {table} {name}" for name in sorted(gone_sets)]
    return lines


def _element_lines(verb: str, table: str, elements: Iterable[tuple[str, str, str]]) -> list[str]:
    by_set: dict[str, list[str]] = {}
    for where, key, verdict in elements:
        by_set.setdefault(where, []).append(f"{key} : {verdict}" if verdict else key)
    return [f"{verb} element {table} {where} {{ {', '.join(keys)} }}" for where, keys in by_set.items()]
