"""Which devices of one node's pools a pod's claims could have: an exhaustive search, the first solution wins.

As upstream's structured allocator: claim after claim, request after request, device after device in the order of the
pools; of `firstAvailable` the first alternative that leads to a solution. `All` takes every matching device or none.
Pure: what is there and who has it comes from the inventory, `reaches` says whether a part of a slice is for the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shirube.api import quantity
from shirube.scheduler.devices.capacity import Amounts, consumed, room
from shirube.scheduler.devices.inventory import DeviceId, Inventory, Pool
from shirube.scheduler.devices.selecting import AllocationError, Chosen, bearable, satisfied, selected

Object = dict[str, Any]
Reaches = Callable[[Object], bool]  # a slice's spec, or a device of one that selects nodes per device
MOST_RESULTS = 32  # of one claim
_MOST_TOGETHER = 128  # of all of a pod's claims: bounds the recursion
_MOST_STEPS = 2_000


class Request(NamedTuple):
    """A request, or one alternative of it."""

    claim: int
    name: str
    alternative: str  # "" for a request that has none
    spec: Object  # the `exactly`, or the alternative
    rank: int = 0  # of the alternative

    @property
    def full_name(self) -> str:
        return f"{self.name}/{self.alternative}" if self.alternative else self.name


class Candidate(NamedTuple):
    id: DeviceId
    device: Object
    slice: Object
    pool: Pool


@dataclass(slots=True)
class Result:
    """A device for a request; `capacity` where several share it."""

    request: Request
    candidate: Candidate
    capacity: Amounts | None = None
    counts: bool = False  # whether it takes of the pool's counters

    @property
    def chosen(self) -> Chosen:
        one = self.candidate
        return Chosen(self.request.name, self.request.alternative, one.id.driver, one.device)


class TimedOut(Exception):
    """The search was given up."""


class _TooMany(Exception):
    """More devices than a claim can have, whatever is tried for what comes before."""


@dataclass(slots=True, eq=False)
class _Search:
    names: list[str]  # of the claims
    specs: list[Object]  # their spec.devices
    inventory: Inventory
    candidates: list[Candidate]
    matches: dict[tuple[int, str, DeviceId], bool] = field(default_factory=dict)
    results: list[list[Result]] = field(default_factory=list)
    held: dict[DeviceId, list[int]] = field(default_factory=dict)  # chosen for a claim (its number) in this search
    shared: dict[DeviceId, list[Amounts]] = field(default_factory=dict)
    counters: Counter[tuple[Any, ...]] = field(default_factory=Counter)  # taken in this search
    left: dict[tuple[str, str], dict[tuple[Any, ...], int]] = field(default_factory=dict)
    steps: int = 0


def allocate(
    names: list[str], specs: list[Object], inventory: Inventory, pools: list[Pool], reaches: Reaches
) -> list[list[Result]] | None:
    """Devices for each claim; None when this node cannot serve them all. Raises AllocationError and TimedOut."""
    search = _Search(names, specs, inventory, [])
    search.results = [[] for _ in specs]
    usable, broken = [], [p for p in pools if p.invalid]
    for pool in pools:
        here = list(_candidates(pool, reaches))
        if here and not pool.invalid and pool.complete:
            usable += here
        elif here:
            _refuse_all(search, pool)
    search.candidates = usable
    _check_size(search)
    if _claim(search, 0):
        return search.results
    if broken:
        raise AllocationError("invalid resource pools were encountered")
    return None


def _candidates(pool: Pool, reaches: Reaches) -> Iterator[Candidate]:
    for one in pool.slices:
        spec = one["spec"]
        single = bool(spec.get("perDeviceNodeSelection"))
        if not single and not reaches(spec):
            continue
        for device in spec.get("devices") or ():
            if not single or reaches(device):
                yield Candidate(DeviceId(*pool.id, device["name"]), device, one, pool)


def _refuse_all(search: _Search, pool: Pool) -> None:
    """Who wants all devices cannot have them while nobody knows how many there are."""
    state = "invalid" if pool.invalid else "being updated"
    for number, devices in enumerate(search.specs):
        for request in devices.get("requests") or ():
            if any(r.spec.get("allocationMode") == "All" for r in alternatives(number, request)):
                raise AllocationError(
                    f"claim {search.names[number]}, request {request['name']}: asks for all devices, "
                    f"but resource pool {'/'.join(pool.id)} is currently {state}"
                )


def alternatives(claim: int, request: Object) -> list[Request]:
    if request.get("exactly") is not None:
        return [Request(claim, request["name"], "", request["exactly"])]
    return [
        Request(claim, request["name"], one["name"], one, rank)
        for rank, one in enumerate(request.get("firstAvailable") or ())
    ]


def _check_size(search: _Search) -> None:
    total = 0
    for number, devices in enumerate(search.specs):
        least = 0
        for request in devices.get("requests") or ():
            options = alternatives(number, request)
            if not options:
                raise AllocationError(f"claim {search.names[number]}, request {request['name']}: unknown request type")
            least += min(1 if o.spec.get("allocationMode") == "All" else int(o.spec.get("count", 1)) for o in options)
        if least > MOST_RESULTS:
            raise AllocationError(
                f"claim {search.names[number]}: number of requested devices {least} exceeds the claim limit "
                f"of {MOST_RESULTS}"
            )
        total += least
    if total > _MOST_TOGETHER:
        raise AllocationError(f"the pod's claims ask for {total} devices together; at most {_MOST_TOGETHER} can be had")


# The search: each step returns whether everything after it could be had, too


def _claim(search: _Search, number: int) -> bool:
    if number == len(search.specs):
        return True
    try:
        return _request(search, number, 0)
    except _TooMany:
        return False  # a claim before it may still choose otherwise


def _request(search: _Search, claim: int, number: int) -> bool:
    requests = search.specs[claim].get("requests") or []
    if number == len(requests):
        return _claim(search, claim + 1)
    too_many = 0
    options = alternatives(claim, requests[number])
    for option in options:
        try:
            if _option(search, option, number):
                return True
        except _TooMany:
            too_many += 1
    if too_many == len(options):
        raise _TooMany
    return False


def _option(search: _Search, option: Request, number: int) -> bool:
    if option.spec.get("allocationMode") == "All":
        wanted = [c for c in search.candidates if _matches(search, option, c) and _could_ever(search, option, c)]
        _check_results(search, option.claim, len(wanted))
        return bool(wanted) and _all(search, option, number, wanted, 0)
    count = int(option.spec.get("count", 1))
    _check_results(search, option.claim, count)
    return _some(search, option, number, count, 0)


def _could_ever(search: _Search, option: Request, one: Candidate) -> bool:
    """Whether the device's capacity would do were the search at its beginning: others are not among `All`."""
    return _capacity(search, option, one, ()) is not None


def _check_results(search: _Search, claim: int, more: int) -> None:
    if len(search.results[claim]) + more > MOST_RESULTS:
        raise _TooMany


def _all(search: _Search, option: Request, number: int, wanted: list[Candidate], at: int) -> bool:
    if at == len(wanted):
        return _request(search, option.claim, number + 1)
    if not _take(search, option, wanted[at]):
        return False
    return _finish(search, option, lambda: _all(search, option, number, wanted, at + 1))


def _some(search: _Search, option: Request, number: int, count: int, start: int) -> bool:
    """`count` more devices, not looking back behind `start`: the order within a request does not matter."""
    if count == 0:
        return _request(search, option.claim, number + 1)
    for at in range(start, len(search.candidates)):
        one = search.candidates[at]
        if _in_use(search, option, one) or not _matches(search, option, one) or not _take(search, option, one):
            continue
        if _finish(search, option, lambda at=at: _some(search, option, number, count - 1, at + 1)):  # type: ignore[misc]
            return True
    return False


def _finish(search: _Search, option: Request, rest: Callable[[], bool]) -> bool:
    """The rest of the search with the device taken; given back when that fails."""
    try:
        done = rest()
    except _TooMany:
        _give_back(search, option)
        raise
    if not done:
        _give_back(search, option)
    return done


# One device


def _in_use(search: _Search, option: Request, one: Candidate) -> bool:
    if one.device.get("allowMultipleAllocations"):
        return False
    if option.spec.get("adminAccess"):
        return option.claim in search.held.get(one.id, ())
    return search.inventory.in_use(one.id) or bool(search.held.get(one.id))


def _matches(search: _Search, option: Request, one: Candidate) -> bool:
    key = (option.claim, option.full_name, one.id)
    known = search.matches.get(key)
    if known is None:
        known = search.matches[key] = _selectable(search, option, one)
    return known


def _selectable(search: _Search, option: Request, one: Candidate) -> bool:
    search.steps += 1
    if search.steps > _MOST_STEPS:
        raise TimedOut
    name = option.spec.get("deviceClassName", "")
    kind = search.inventory.classes.get(name)
    if kind is None:
        raise AllocationError(f"request {option.full_name}: device class {name} does not exist")
    claim = search.names[option.claim]
    for of, selectors in (
        (f"class {name}", (kind.get("spec") or {}).get("selectors")),
        (f"claim {claim}", option.spec.get("selectors")),
    ):
        for number, selector in enumerate(selectors or ()):
            expression = (selector.get("cel") or {}).get("expression", "")
            if not selected(expression, one.id.driver, one.device, f"{of}: selector #{number}"):
                return False
    return True


def _capacity(search: _Search, option: Request, one: Candidate, chosen: Iterable[Amounts]) -> Amounts | None:
    """What the request takes of the device's capacity beside what was chosen before; None when there is too little."""
    requested = (option.spec.get("capacity") or {}).get("requests") or {}
    try:
        taken = consumed(requested, one.id.driver, one.device)
        if taken is None:
            return None
        already: Counter[str] = Counter(search.inventory.shared.get(one.id) or {})
        for amounts in chosen:
            already.update(amounts)
        return taken if room(taken, already, one.device) else None
    except quantity.QuantityError as error:
        raise AllocationError(f"claim {search.names[option.claim]}, request {option.full_name}: {error}") from error


def _take(search: _Search, option: Request, one: Candidate) -> bool:
    """Choose a selectable device for now."""
    search.steps += 1
    if search.steps > _MOST_STEPS:
        raise TimedOut
    several = bool(one.device.get("allowMultipleAllocations"))
    if _in_use(search, option, one) or not bearable(one.device, option.spec.get("tolerations") or []):
        return False
    taken = _capacity(search, option, one, search.shared.get(one.id, ()))
    counts = _counts(search, option, one)
    if taken is None or (counts and not _countable(search, one)):
        return False
    result = Result(option, one, taken if several else None, counts)
    mine = search.results[option.claim]
    constraints = search.specs[option.claim].get("constraints") or []
    if constraints and not satisfied(constraints, [r.chosen for r in (*mine, result)], search.names[option.claim]):
        if option.spec.get("allocationMode") == "All":
            raise AllocationError(
                f"claim {search.names[option.claim]}, request {option.full_name}: cannot add device "
                f"{'/'.join(one.id)} because a claim constraint would not be satisfied"
            )
        return False
    mine.append(result)
    if several:
        search.shared.setdefault(one.id, []).append(taken)
    else:
        search.held.setdefault(one.id, []).append(option.claim)
    if counts:
        search.counters.update(_consumption(one))
    return True


def _give_back(search: _Search, option: Request) -> None:
    result = search.results[option.claim].pop()
    one = result.candidate
    if result.counts:
        search.counters.subtract(_consumption(one))
    if result.capacity is not None:
        search.shared[one.id].pop()
    else:
        search.held[one.id].pop()


# Shared counters


def _counts(search: _Search, option: Request, one: Candidate) -> bool:
    """Only the first who uses a device takes its counters; administrators look on without any."""
    used = bool(search.shared.get(one.id)) or one.id in search.inventory.shares
    return bool(one.device.get("consumesCounters")) and not option.spec.get("adminAccess") and not used


def _consumption(one: Candidate) -> dict[tuple[Any, ...], int]:
    found: Counter[tuple[Any, ...]] = Counter()
    for part in one.device.get("consumesCounters") or ():
        for name, counter in (part.get("counters") or {}).items():
            found[one.pool.id, part["counterSet"], name] += quantity.parse(counter["value"]).nanos
    return found


def _countable(search: _Search, one: Candidate) -> bool:
    """Whether the pool's counters allow the device."""
    left = search.left.get(one.pool.id)
    if left is None:
        left = search.left[one.pool.id] = _counters_left(search.inventory, one.pool)
    return all(search.counters[key] + amount <= left[key] for key, amount in _consumption(one).items() if key in left)


def _counters_left(inventory: Inventory, pool: Pool) -> dict[tuple[Any, ...], int]:
    left: dict[tuple[Any, ...], int] = {}
    for one in pool.slices:
        for counters in one["spec"].get("sharedCounters") or ():
            for name, counter in (counters.get("counters") or {}).items():
                left[pool.id, counters["name"], name] = quantity.parse(counter["value"]).nanos
    for one in pool.slices:
        for device in one["spec"].get("devices") or ():
            if device.get("consumesCounters") and inventory.in_use(DeviceId(*pool.id, device["name"])):
                made = Candidate(DeviceId(*pool.id, device["name"]), device, one, pool)
                for key, amount in _consumption(made).items():
                    if key in left:
                        left[key] -= amount
    return left
