"""The volume plugins once more, claim by claim and node by node.

`world` has "claims", "volumes", "classes" (by name) and "csi_nodes" (limits by node: driver -> count).
"""

from shirube.api.quantity import value

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
BETA = {"failure-domain.beta.kubernetes.io/zone": ZONE, "failure-domain.beta.kubernetes.io/region": REGION}
DONE = {"pv.kubernetes.io/bind-completed": "yes"}


def claims_of(pod, world):
    names = [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes", []) if len(v) > 1]
    return [world["claims"].get(n) for n in names]


def bound(claim):
    return bool(claim["spec"].get("volumeName")) and DONE.items() <= claim["metadata"].get("annotations", {}).items()


def size(obj):
    spec = obj["spec"]
    return value(spec["capacity"]["storage"] if "capacity" in spec else spec["resources"]["requests"]["storage"])


def reaches(volume, node):
    from tests.scheduler.reference import node_term

    required = volume["spec"].get("nodeAffinity", {}).get("required")
    return required is None or any(node_term(t, node) for t in required["nodeSelectorTerms"])


def suits(volume, claim):
    spec, own = claim["spec"], volume["spec"]
    return (
        own["storageClassName"] == spec["storageClassName"]
        and set(spec["accessModes"]) <= set(own["accessModes"])
        and size(volume) >= size(claim)
        and own.get("volumeMode", "Filesystem") == spec.get("volumeMode", "Filesystem")
    )


def choices(claim, node, world):
    """The claim's volumes on a node, the smallest first; one that is kept for it excludes all others."""
    suiting = [v for v in world["volumes"].values() if suits(v, claim)]
    kept = [v for v in suiting if v["spec"].get("claimRef", {}).get("name") == claim["metadata"]["name"]]
    free = [v for v in suiting if "claimRef" not in v["spec"] and v["status"]["phase"] == "Available"]
    return sorted((v for v in kept or free if reaches(v, node)), key=size)


def can_be_made(claim, node, world):
    from tests.scheduler.reference import labels

    kind = world["classes"].get(claim["spec"]["storageClassName"])
    if kind is None or kind["provisioner"] == "kubernetes.io/no-provisioner":
        return False
    terms = kind.get("allowedTopologies")
    return not terms or any(
        all(labels(node).get(e["key"]) in e["values"] for e in t["matchLabelExpressions"]) for t in terms
    )


def volume_binding(pod, node, pods, world):
    waiting = []
    for claim in claims_of(pod, world):
        if claim is None:
            return False
        if bound(claim):
            volume = world["volumes"].get(claim["spec"]["volumeName"])
            if volume is None or not reaches(volume, node):
                return False
            continue
        kind = world["classes"].get(claim["spec"]["storageClassName"])
        if kind is None or kind["volumeBindingMode"] != "WaitForFirstConsumer":
            return False
        waiting.append(claim)
    taken = set()
    for claim in sorted(waiting, key=size):
        if marked := claim["metadata"].get("annotations", {}).get("volume.kubernetes.io/selected-node"):
            if marked != node["metadata"]["name"] or not can_be_made(claim, node, world):
                return False
            continue
        found = next((v for v in choices(claim, node, world) if v["metadata"]["name"] not in taken), None)
        if found is not None:
            taken.add(found["metadata"]["name"])
        elif not can_be_made(claim, node, world):
            return False
    return True


def volume_zone(pod, node, pods, world):
    from tests.scheduler.reference import labels

    have = labels(node)
    if not any(k in have for k in (*BETA, *BETA.values())):
        return True
    for claim in claims_of(pod, world):
        volume = world["volumes"].get((claim or {}).get("spec", {}).get("volumeName", ""))
        for key, wanted in labels(volume).items() if volume else ():
            if key in (*BETA, *BETA.values()) and (have.get(key) or have.get(BETA.get(key, key))) not in wanted.split(
                "__"
            ):
                return False
    return True


def volume_restrictions(pod, node, pods, world, everyone):
    """Claims for one pod only: nobody else in the cluster uses them."""
    for claim in claims_of(pod, world):
        if claim is not None and "ReadWriteOncePod" in claim["spec"]["accessModes"]:
            name = claim["metadata"]["name"]
            if any(name in [c["metadata"]["name"] for c in claims_of(p, world) if c] for p in everyone):
                return False
    return True


def attached(pod, world):
    found = set()
    for claim in claims_of(pod, world):
        if claim is None:
            continue
        volume = world["volumes"].get(claim["spec"].get("volumeName", ""))
        if volume is not None:
            if "csi" in volume["spec"]:
                found.add((volume["spec"]["csi"]["driver"], volume["spec"]["csi"]["volumeHandle"]))
        elif claim["spec"]["storageClassName"] in world["classes"]:
            provisioner = world["classes"][claim["spec"]["storageClassName"]]["provisioner"]
            found.add((provisioner, claim["metadata"]["name"]))
    return found


def node_volume_limits(pod, node, pods, world):
    limits = world["csi_nodes"].get(node["metadata"]["name"], {})
    there = set().union(*(attached(p, world) for p in pods)) if pods else set()
    new = attached(pod, world) - there
    return all(
        sum(d == driver for d, _ in there | new) <= limit
        for driver, limit in limits.items()
        if any(d == driver for d, _ in new)
    )


FILTERS = {
    "VolumeBinding": volume_binding,
    "VolumeZone": volume_zone,
    "VolumeRestrictions": volume_restrictions,
    "NodeVolumeLimits": node_volume_limits,
}
