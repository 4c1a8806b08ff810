"""Dynamic resource allocation once more, by brute force: every choice of devices is tried and judged as a whole.

`world` has "slices", "classes" and "claims" (by name) as the API gives them. Selectors are judged by `SELECTORS`.
"""

from itertools import combinations

from shirube.api.quantity import parse

DRIVER = "gpu.example.com"
SELECTORS = {
    f'device.driver == "{DRIVER}"': lambda d: True,
    f'device.attributes["{DRIVER}"].?model.orValue("") == "a"': lambda d: attribute(d, "model") == {"string": "a"},
    f'"model" in device.attributes["{DRIVER}"] && device.attributes["{DRIVER}"].model == "b"': lambda d: (
        attribute(d, "model") == {"string": "b"}
    ),
    f'device.capacity["{DRIVER}"].memory.compareTo(quantity("2Gi")) >= 0': lambda d: amount(d, "memory") >= 2 * 2**30,
}


def attribute(device, name):
    found = device.get("attributes") or {}
    return found.get(f"{DRIVER}/{name}") or found.get(name)


def amount(device, name):
    return parse(device["capacity"][name]["value"]).nanos // 10**9


def place_is(place, node):
    if place.get("nodeName"):
        return place["nodeName"] == node["metadata"]["name"]
    if place.get("allNodes"):
        return True
    return bool(place.get("nodeSelector")) and selector_matches(place["nodeSelector"], node)


def selector_matches(selector, node):
    from tests.scheduler.reference import node_term

    return any(node_term(t, node) for t in selector["nodeSelectorTerms"])


def pools_of(world, node):
    """(usable devices as (id, device, slice), whether some pool of the node's is broken)"""
    by_pool = {}
    for one in world["slices"]:
        by_pool.setdefault((one["spec"]["driver"], one["spec"]["pool"]["name"]), []).append(one)
    usable, broken = [], False
    for pool in sorted(by_pool):
        latest = max(s["spec"]["pool"]["generation"] for s in by_pool[pool])
        slices = [s for s in by_pool[pool] if s["spec"]["pool"]["generation"] == latest]
        names = [d["name"] for s in slices for d in s["spec"]["devices"]]
        bad = len(slices) != slices[0]["spec"]["pool"]["resourceSliceCount"] or len(set(names)) < len(names)
        here = []
        for one in sorted(slices, key=lambda s: s["metadata"]["name"]):
            each = one["spec"].get("perDeviceNodeSelection")
            for device in one["spec"]["devices"]:
                if place_is(device if each else one["spec"], node):
                    here.append(((*pool, device["name"]), device, slices))
        if bad:
            broken = broken or bool(here)
        else:
            usable += here
    return usable, broken


def taken_of(world):
    """Devices that allocated claims have for themselves, and capacity that they share."""
    alone, shared = set(), {}
    for claim in world["claims"].values():
        for r in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", []):
            key = (r["driver"], r["pool"], r["device"])
            if r.get("adminAccess"):
                continue
            if r.get("shareID"):
                sums = shared.setdefault(key, {})
                for name, text in r.get("consumedCapacity", {}).items():
                    sums[name] = sums.get(name, 0) + parse(text).nanos
            else:
                alone.add(key)
    return alone, shared


def options_of(request):
    if "exactly" in request:
        return [(request["name"], "", request["exactly"], 0)]
    return [(request["name"], o["name"], o, rank) for rank, o in enumerate(request["firstAvailable"])]


def selects(spec, device, world):
    selectors = world["classes"][spec["deviceClassName"]]["spec"].get("selectors", []) + spec.get("selectors", [])
    return all(SELECTORS[s["cel"]["expression"]](device) for s in selectors)


def tolerated(spec, device):
    def bears(t, taint):
        return (
            t.get("effect", taint["effect"]) == taint["effect"]
            and t.get("key", taint["key"]) == taint["key"]
            and (t["operator"] == "Exists" or t.get("value", "") == taint.get("value", ""))
        )

    return all(
        any(bears(t, taint) for t in spec.get("tolerations", []))
        for taint in device.get("taints", [])
        if taint["effect"] != "None"
    )


def consumption(spec, device):
    """Of each capacity what the request takes; None when its policy has no such amount."""
    asked = spec.get("capacity", {}).get("requests", {})
    if any(name not in device.get("capacity", {}) for name in asked):
        return None
    found = {}
    for name, capacity in device.get("capacity", {}).items():
        policy = capacity.get("requestPolicy", {})
        if name not in asked:
            found[name] = parse(policy.get("default", capacity["value"])).nanos
            continue
        wanted = parse(asked[name]).nanos
        if "validValues" in policy:
            wanted = min((v for v in (parse(t).nanos for t in policy["validValues"]) if v >= wanted), default=None)
            if wanted is None:
                return None
        found[name] = wanted
    return found


def room(spec, device, sums):
    takes = consumption(spec, device)
    return takes is not None and all(
        sums.get(n, 0) + a <= parse(device["capacity"][n]["value"]).nanos for n, a in takes.items()
    )


def valid(steps, specs, world):
    """`steps` in the order of allocation: (claim, request, option name, option spec, (id, device, slices))."""
    alone, shared = taken_of(world)
    shared = {k: dict(v) for k, v in shared.items()}
    held, counted = {}, set(alone) | set(shared)
    for claim, _, _, spec, (key, device, _) in steps:
        several = device.get("allowMultipleAllocations")
        if not several:
            mine = held.get(key, [])
            if claim in mine if spec.get("adminAccess") else (mine or key in alone):
                return False
            held.setdefault(key, []).append(claim)
        sums = shared.get(key, {})
        if not selects(spec, device, world) or not tolerated(spec, device) or not room(spec, device, sums):
            return False
        if several:
            takes = consumption(spec, device)
            shared[key] = {n: sums.get(n, 0) + a for n, a in takes.items()}
    users = counted | {s[4][0] for s in steps if not s[3].get("adminAccess")}
    return counters_allow(steps, users) and all(
        constraint_holds(c, [s for s in steps if s[0] == number])
        for number, spec in enumerate(specs)
        for c in spec.get("constraints", [])
    )


def counters_allow(steps, users):
    for _, _, _, _, (key, _, slices) in steps:
        left = {
            (c["name"], n): parse(v["value"]).nanos
            for s in slices
            for c in s["spec"].get("sharedCounters", [])
            for n, v in c["counters"].items()
        }
        for device in (d for s in slices for d in s["spec"]["devices"]):
            if (*key[:2], device["name"]) in users:
                for part in device.get("consumesCounters", []):
                    for n, v in part["counters"].items():
                        left[part["counterSet"], n] -= parse(v["value"]).nanos
        if any(v < 0 for v in left.values()):
            return False
    return True


def constraint_holds(constraint, steps):
    wanted = constraint.get("requests", [])
    values = [
        attribute(device, (constraint.get("matchAttribute") or constraint["distinctAttribute"]).split("/")[1])
        for _, request, option, _, (_, device, _) in steps
        if not wanted or request in wanted or f"{request}/{option}" in wanted
    ]
    if None in values:
        return False
    kinds = {tuple(v.items()) for v in values}
    return len(kinds) <= 1 if "matchAttribute" in constraint else len(kinds) == len(values)


def choices(specs, devices, world, steps=(), claim=0, request=0):
    """Every way to serve all requests, in order, good or bad."""
    if claim == len(specs):
        yield steps
        return
    requests = specs[claim]["requests"]
    if request == len(requests):
        yield from choices(specs, devices, world, steps, claim + 1, 0)
        return
    for name, option, spec, _ in options_of(requests[request]):
        fitting = [d for d in devices if selects(spec, d[1], world)]
        if spec.get("allocationMode") == "All":
            # What could not be had with nothing chosen yet, because of its capacity, is not among all.
            _, shared = taken_of(world)
            everything = [d for d in fitting if room(spec, d[1], shared.get(d[0], {}))]
            sets = [everything] if everything else []
        else:
            sets = combinations(fitting, spec.get("count", 1))
        for chosen in sets:
            more = tuple((claim, name, option, spec, d) for d in chosen)
            yield from choices(specs, devices, world, (*steps, *more), claim, request + 1)


def search(specs, node, world):
    """The first way that holds; None when there is none."""
    devices, broken = pools_of(world, node)
    everything = any(o[2].get("allocationMode") == "All" for s in specs for r in s["requests"] for o in options_of(r))
    if broken and everything:
        return None
    return next((steps for steps in choices(specs, devices, world) if valid(steps, specs, world)), None)


def waiting(pod, world):
    names = [c["resourceClaimName"] for c in pod["spec"].get("resourceClaims", [])]
    claims = [world["claims"][n] for n in names]
    return [c["spec"]["devices"] for c in claims if not c.get("status", {}).get("allocation")], claims


def fits(pod, node, world):
    specs, claims = waiting(pod, world)
    for claim in claims:
        selector = claim.get("status", {}).get("allocation", {}).get("nodeSelector")
        if selector and not selector_matches(selector, node):
            return False
    return not specs or search(specs, node, world) is not None


def score(pod, feasible, world):
    raw = {}
    specs, _ = waiting(pod, world)
    for node in feasible:
        steps = search(specs, node, world) or ()
        ranks = {
            (number, r["name"], o[1]): o[3]
            for number, s in enumerate(specs)
            for r in s["requests"]
            for o in options_of(r)
            if o[1]
        }
        taken = {(s[0], s[1], s[2]) for s in steps if s[2]}
        raw[node["metadata"]["name"]] = sum(8 - ranks[t] for t in taken)
    most = max(raw.values(), default=0)
    return {n: p * 100 // most if most else 0 for n, p in raw.items()}
