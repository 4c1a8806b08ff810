"""The scheduler's semantics once more, slow and plain: raw objects in, a verdict per node out.

Written from the documented behaviour (the pages on assigning pods, taints, topology spread, resource scoring), node by
node and pod by pod, with nothing remembered. `cluster` is a list of (node, [pods on it]); each filter says whether the
node takes the pod, each score gives the points of all feasible nodes by name.
"""

import math
from fractions import Fraction

from shirube.api.quantity import milli, value

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
AFTER = "DuringSchedulingIgnoredDuringExecution"


def labels(obj):
    return obj["metadata"].get("labels") or {}


def amount(resource, text):
    return milli(text) if resource == "cpu" else value(text)


def of_container(container, defaults):
    asked = {**(defaults or {}), **(container.get("resources", {}).get("requests") or {})}
    return {resource: amount(resource, text) for resource, text in asked.items()}


def plus(*parts):
    return {r: sum(p.get(r, 0) for p in parts) for r in set().union(*parts)}


def most(*parts):
    return {r: max(p.get(r, 0) for p in parts) for r in set().union(*parts)}


def requests(pod, defaults=None):
    """What a pod needs at its most: its containers and sidecars together, or some moment while it is initialised."""
    spec = pod["spec"]
    sidecars, moments = {}, [{}]
    for container in spec.get("initContainers", []):
        own = of_container(container, defaults)
        if container.get("restartPolicy") == "Always":
            sidecars = plus(sidecars, own)
            moments.append(sidecars)
        else:
            moments.append(plus(sidecars, own))
    running = plus(sidecars, *(of_container(c, defaults) for c in spec["containers"]))
    whole = {r: amount(r, text) for r, text in spec.get("resources", {}).get("requests", {}).items()}
    overhead = {r: amount(r, text) for r, text in spec.get("overhead", {}).items()}
    return plus({**most(running, *moments), **whole}, overhead)


def nonzero(pod):
    return requests(pod, {"cpu": "100m", "memory": "200Mi"})


def capacity(node, resource):
    return amount(resource, node["status"]["allocatable"].get(resource, "0"))


# Selectors


def expression(e, have):
    key, operator, values = e["key"], e["operator"], e.get("values") or []
    if operator == "In":
        return key in have and have[key] in values
    if operator == "NotIn":
        return key not in have or have[key] not in values
    if operator == "Exists":
        return key in have
    if operator == "DoesNotExist":
        return key not in have
    if key not in have or not have[key].lstrip("-").isdigit():
        return False
    return int(have[key]) > int(values[0]) if operator == "Gt" else int(have[key]) < int(values[0])


def selects(selector, have):
    if selector is None:
        return False
    return all(have.get(k) == v for k, v in (selector.get("matchLabels") or {}).items()) and all(
        expression(e, have) for e in selector.get("matchExpressions") or []
    )


def node_term(term, node):
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    return all(expression(e, labels(node)) for e in expressions) and all(expression(f, name) for f in fields)


def tolerates(tolerations, taint):
    for t in tolerations:
        if t.get("effect", "") not in ("", taint["effect"]) or t.get("key", "") not in ("", taint["key"]):
            continue
        if t.get("operator", "Equal") == "Exists" or t.get("value", "") == taint.get("value", ""):
            return True
    return False


def wanted_nodes(pod, node):
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels(node).get(k) != v for k, v in selector.items()):
        return False
    required = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get("required" + AFTER)
    return required is None or any(node_term(t, node) for t in required["nodeSelectorTerms"])


# Filters


def node_name(pod, node, pods, cluster):
    return pod["spec"].get("nodeName", node["metadata"]["name"]) == node["metadata"]["name"]


def node_unschedulable(pod, node, pods, cluster):
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    return not node["spec"].get("unschedulable") or tolerates(pod["spec"].get("tolerations") or [], taint)


def taint_toleration(pod, node, pods, cluster):
    hard = [t for t in node["spec"].get("taints") or [] if t["effect"] in ("NoSchedule", "NoExecute")]
    return all(tolerates(pod["spec"].get("tolerations") or [], t) for t in hard)


def node_affinity(pod, node, pods, cluster):
    return wanted_nodes(pod, node)


def host_ports(pod):
    return [
        (p.get("hostIP") or "0.0.0.0", p.get("protocol", "TCP"), p["hostPort"])
        for c in pod["spec"]["containers"]
        for p in c.get("ports") or []
    ]


def node_ports(pod, node, pods, cluster):
    for ip, protocol, port in host_ports(pod):
        for other in pods:
            for ip2, protocol2, port2 in host_ports(other):
                if (protocol, port) == (protocol2, port2) and (ip == ip2 or "0.0.0.0" in (ip, ip2)):
                    return False
    return True


def resources_fit(pod, node, pods, cluster):
    if len(pods) + 1 > capacity(node, "pods"):
        return False
    for resource, asked in requests(pod).items():
        used = sum(requests(p).get(resource, 0) for p in pods)
        if asked and used + asked > capacity(node, resource):
            return False
    return True


def eligible(constraint, pod, node):
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not wanted_nodes(pod, node):
        return False
    return constraint.get("nodeTaintsPolicy", "Ignore") != "Honor" or taint_toleration(pod, node, [], None)


def spread_selector(constraint, pod):
    selector = constraint.get("labelSelector")
    if selector is None:
        return None
    more = [
        {"key": k, "operator": "In", "values": [labels(pod)[k]]}
        for k in constraint.get("matchLabelKeys") or []
        if k in labels(pod)
    ]
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or []), *more]}


def counted(constraint, pod, pods):
    return sum(
        p["metadata"]["namespace"] == pod["metadata"]["namespace"]
        and "deletionTimestamp" not in p["metadata"]
        and selects(spread_selector(constraint, pod), labels(p))
        for p in pods
    )


def topology_spread(pod, node, pods, cluster):
    hard = [c for c in pod["spec"].get("topologySpreadConstraints") or [] if c["whenUnsatisfiable"] == "DoNotSchedule"]
    if any(c["topologyKey"] not in labels(node) for c in hard):
        return False
    for c in hard:
        key, numbers = c["topologyKey"], {}
        for n, there in cluster:
            if all(k["topologyKey"] in labels(n) for k in hard) and eligible(c, pod, n):
                domain = labels(n)[key]
                numbers[domain] = numbers.get(domain, 0) + counted(c, pod, there)
        least = min(numbers.values(), default=0) if len(numbers) >= c.get("minDomains", 1) else 0
        itself = int(selects(spread_selector(c, pod), labels(pod)))
        if numbers.get(labels(node)[key], 0) + itself - least > c["maxSkew"]:
            return False
    return True


def pod_terms(pod, kind, strength="required"):
    return ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(strength + AFTER) or []


def term_selects(term, owner, pod, namespaces):
    allowed = set(term.get("namespaces") or [])
    if term.get("namespaceSelector") is not None:
        allowed |= {n for n, have in namespaces.items() if selects(term["namespaceSelector"], have)}
    elif not allowed:
        allowed = {owner["metadata"]["namespace"]}
    selector = term.get("labelSelector")
    if selector is not None:
        extra = [
            {"key": k, "operator": operator, "values": [labels(owner)[k]]}
            for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
            for k in term.get(field) or []
            if k in labels(owner)
        ]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or []), *extra]}
    return pod["metadata"]["namespace"] in allowed and selects(selector, labels(pod))


def together(a, b, key):
    return key in labels(a) and labels(a)[key] == labels(b).get(key)


def inter_pod_affinity(pod, node, pods, cluster, namespaces):
    everyone = [(n, p) for n, there in cluster for p in there]
    terms = pod_terms(pod, "podAffinity")
    if any(t["topologyKey"] not in labels(node) for t in terms):
        return False

    def friend(p):
        return all(term_selects(t, pod, p, namespaces) for t in terms)

    satisfied = all(any(friend(p) and together(node, n, t["topologyKey"]) for n, p in everyone) for t in terms)
    if not satisfied:
        anywhere = any(friend(p) and t["topologyKey"] in labels(n) for n, p in everyone for t in terms)
        if anywhere or not friend(pod):
            return False
    for t in pod_terms(pod, "podAntiAffinity"):
        if any(term_selects(t, pod, p, namespaces) and together(node, n, t["topologyKey"]) for n, p in everyone):
            return False
    return not any(
        term_selects(t, p, pod, namespaces) and together(node, n, t["topologyKey"])
        for n, p in everyone
        for t in pod_terms(p, "podAntiAffinity")
    )


FILTERS = {
    "NodeName": node_name,
    "NodeUnschedulable": node_unschedulable,
    "TaintToleration": taint_toleration,
    "NodeAffinity": node_affinity,
    "NodePorts": node_ports,
    "NodeResourcesFit": resources_fit,
    "PodTopologySpread": topology_spread,
    "InterPodAffinity": inter_pod_affinity,
}


# Scores: `feasible` is a list of (node, pods)


def scaled(points, reverse=False):
    most = max(points.values(), default=0)
    if most == 0:
        return dict.fromkeys(points, 100 if reverse else 0)
    return {n: 100 - p * 100 // most if reverse else p * 100 // most for n, p in points.items()}


def score_taints(pod, feasible, cluster, namespaces):
    mine = [t for t in pod["spec"].get("tolerations") or [] if t.get("effect", "") in ("", "PreferNoSchedule")]
    return scaled(
        {
            n["metadata"]["name"]: sum(
                t["effect"] == "PreferNoSchedule" and not tolerates(mine, t) for t in n["spec"].get("taints") or []
            )
            for n, _ in feasible
        },
        reverse=True,
    )


def score_node_affinity(pod, feasible, cluster, namespaces):
    terms = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get("preferred" + AFTER) or []
    return scaled(
        {n["metadata"]["name"]: sum(t["weight"] for t in terms if node_term(t["preference"], n)) for n, _ in feasible}
    )


def score_fit(pod, feasible, cluster, namespaces):
    found = {}
    for n, pods in feasible:
        points = weights = 0
        for resource in ("cpu", "memory"):
            have = capacity(n, resource)
            used = nonzero(pod)[resource] + sum(nonzero(p)[resource] for p in pods)
            if have:
                weights += 1
                points += 0 if used > have else (have - used) * 100 // have
        found[n["metadata"]["name"]] = points // weights if weights else 0
    return found


def score_balance(pod, feasible, cluster, namespaces):
    asked = requests(pod)
    if not asked.get("cpu") and not asked.get("memory"):
        return {n["metadata"]["name"]: 0 for n, _ in feasible}
    found = {}
    for n, pods in feasible:
        shares = []
        for resource in ("cpu", "memory"):
            if have := capacity(n, resource):
                used = asked.get(resource, 0) + sum(requests(p).get(resource, 0) for p in pods)
                shares.append(min(Fraction(used, have), Fraction(1)))
        deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0
        found[n["metadata"]["name"]] = (1 - deviation) * 100
    return found


def score_spread(pod, feasible, cluster, namespaces):
    soft = [c for c in pod["spec"].get("topologySpreadConstraints") or [] if c["whenUnsatisfiable"] == "ScheduleAnyway"]
    names = [n["metadata"]["name"] for n, _ in feasible]
    if not soft:
        return dict.fromkeys(names, 0)
    counted_nodes = [(n, p) for n, p in feasible if all(c["topologyKey"] in labels(n) for c in soft)]
    raw = {}
    for n, pods in counted_nodes:
        points = 0.0
        for c in soft:
            key = c["topologyKey"]
            if key == HOSTNAME:
                number, size = counted(c, pod, pods), len(counted_nodes)
            else:
                size = len({labels(m)[key] for m, _ in counted_nodes})
                number = sum(
                    counted(c, pod, there)
                    for m, there in cluster
                    if together(n, m, key) and eligible(c, pod, m) and all(o["topologyKey"] in labels(m) for o in soft)
                )
            points += number * math.log(size + 2) + c["maxSkew"] - 1
        raw[n["metadata"]["name"]] = math.floor(points + 0.5)
    if not raw:
        return dict.fromkeys(names, 0)
    most, least = max(raw.values()), min(raw.values())
    return {n: (100 if not most else 100 * (most + least - raw[n]) // most) if n in raw else 0 for n in names}


def score_pods(pod, feasible, cluster, namespaces):
    raw = {}
    for node, _ in feasible:
        points = 0
        for n, there in cluster:
            for p in there:
                for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
                    for a, b in ((pod, p), (p, pod)):
                        for t in pod_terms(a, kind, "preferred"):
                            term = t["podAffinityTerm"]
                            if term_selects(term, a, b, namespaces) and together(node, n, term["topologyKey"]):
                                points += sign * t["weight"]
                for term in pod_terms(p, "podAffinity"):
                    if term_selects(term, p, pod, namespaces) and together(node, n, term["topologyKey"]):
                        points += 1
        raw[node["metadata"]["name"]] = points
    least, most = min(raw.values(), default=0), max(raw.values(), default=0)
    if most == least:
        return dict.fromkeys(raw, 0)
    return {n: int(100 * ((p - least) / (most - least))) for n, p in raw.items()}


def score_images(pod, feasible, cluster, namespaces):
    found = {}
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    images = [c.get("image", "") for c in containers]
    images += [v["image"]["reference"] for v in pod["spec"].get("volumes", []) if "image" in v]
    for n, _ in feasible:
        total = 0
        for image in images:
            if ":" not in image.rsplit("/", 1)[-1]:
                image += ":latest"
            holders = [m for m, _ in cluster if any(image in i["names"] for i in m["status"].get("images") or [])]
            size = next((i["sizeBytes"] for i in n["status"].get("images") or [] if image in i["names"]), 0)
            total += int(size * (len(holders) / len(cluster)))
        low, high = 23 * 2**20, 1000 * 2**20 * len(images)
        found[n["metadata"]["name"]] = 100 * (min(max(total, low), high) - low) // (high - low)
    return found


SCORES = {
    "TaintToleration": score_taints,
    "NodeAffinity": score_node_affinity,
    "NodeResourcesFit": score_fit,
    "PodTopologySpread": score_spread,
    "InterPodAffinity": score_pods,
    "NodeResourcesBalancedAllocation": score_balance,
    "ImageLocality": score_images,
}
WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2, "PodTopologySpread": 2, "InterPodAffinity": 2}


def fits(name, pod, node, pods, cluster, namespaces):
    if name == "InterPodAffinity":
        return inter_pod_affinity(pod, node, pods, cluster, namespaces)
    return FILTERS[name](pod, node, pods, cluster)
