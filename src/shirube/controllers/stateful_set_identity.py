"""What makes a StatefulSet's pod that very pod: its name, labels, host name and claims.

Claims are made before their pod and outlive it; whom they belong to follows the retention policy: nobody, the
set (deleted with it), or the pod (deleted when the set is scaled down).
"""

from __future__ import annotations

from shirube.client.rest import Object
from shirube.controllers.ownership import controller_of, controller_reference
from shirube.controllers.pod_control import pod_from_template
from shirube.controllers.revisions import POD_LABEL
from shirube.controllers.stateful_set_plan import in_range, ordinal_of

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


def pod_name(owner: Object, ordinal: int) -> str:
    return f"{owner['metadata']['name']}-{ordinal}"


def claim_templates(owner: Object) -> list[Object]:
    return list(owner["spec"].get("volumeClaimTemplates") or ())


def claim_name(owner: Object, template: Object, ordinal: int) -> str:
    return f"{template['metadata']['name']}-{owner['metadata']['name']}-{ordinal}"


def has_claim(owner: Object, name: str) -> bool:
    """Whether a claim of that name is for one of the set's pods."""
    return any(
        ordinal_of(name, f"{template['metadata']['name']}-{owner['metadata']['name']}") >= 0
        for template in claim_templates(owner)
    )


def volumes_of(owner: Object, ordinal: int, volumes: list[Object]) -> list[Object]:
    """The pod's volumes: the claims' in place of those of the same name."""
    templates = claim_templates(owner)
    claims = [
        {"name": t["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim_name(owner, t, ordinal)}}
        for t in templates
    ]
    taken = {t["metadata"]["name"] for t in templates}
    return claims + [v for v in volumes if v["name"] not in taken]


def new_pod(owner: Object, template: Object, ordinal: int, revision: str) -> Object:
    pod = pod_from_template(template, owner, "apps/v1", "StatefulSet")
    name = pod_name(owner, ordinal)
    metadata = pod["metadata"]
    del metadata["generateName"]
    metadata["name"] = name
    metadata["labels"] |= {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal), POD_LABEL: revision}
    spec = pod["spec"]
    spec["hostname"] = name
    if owner["spec"].get("serviceName"):
        spec["subdomain"] = owner["spec"]["serviceName"]
    if volumes := volumes_of(owner, ordinal, list(spec.get("volumes") or ())):
        spec["volumes"] = volumes
    return pod


def wrong_labels(owner: Object, pod: Object) -> Object:
    """The identity labels that a pod lacks."""
    name = pod["metadata"]["name"]
    wanted = {POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal_of(name, owner["metadata"]["name"]))}
    labels = pod["metadata"].get("labels") or {}
    return {k: v for k, v in wanted.items() if labels.get(k) != v}


def new_claims(owner: Object, ordinal: int) -> list[Object]:
    labels = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
    out = []
    for template in claim_templates(owner):
        metadata = template["metadata"]
        out.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    **{k: metadata[k] for k in ("annotations", "finalizers") if k in metadata},
                    "name": claim_name(owner, template, ordinal),
                    "namespace": owner["metadata"]["namespace"],
                    "labels": {**(metadata.get("labels") or {}), **labels},
                },
                "spec": template["spec"],
            }
        )
    return out


def retention(owner: Object) -> tuple[bool, bool]:
    """(claims go with the set, claims go with pods scaled away)."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"


def claim_owners(owner: Object, ordinal: int, pod: Object | None, claim: Object) -> list[Object] | None:
    """The owner references that the claim should have; None when it has them, or belongs to somebody else."""
    with_set, with_pod = retention(owner)
    condemned = not in_range(owner, ordinal)
    have = list(claim["metadata"].get("ownerReferences") or ())
    name = owner["metadata"]["name"]
    ours = [
        r
        for r in have
        if (r["kind"] == "StatefulSet" and r["name"] == name)
        or (r["kind"] == "Pod" and r["name"] == f"{name}-{ordinal}")
    ]
    others = [r for r in have if r not in ours]
    if controller_of({"metadata": {"ownerReferences": others}}) is not None:
        return None
    wanted: list[Object] = []
    if with_pod and condemned:
        if pod is None:
            return None  # too late: the pod that would take it along is gone
        wanted = [controller_reference(pod, "v1", "Pod")]
    elif with_set:
        wanted = [controller_reference(owner, "apps/v1", "StatefulSet")]

    def identities(references: list[Object]) -> set[tuple[str, str]]:
        return {(r["kind"], r["uid"]) for r in references}

    return None if identities(ours) == identities(wanted) else others + wanted


def stale(owner: Object, claim: Object, pod: Object | None) -> bool:
    """The claim still belongs to a pod of that name that is no more, and will go with it."""
    uid = pod["metadata"]["uid"] if pod is not None else None
    return any(
        r["kind"] == "Pod" and r["name"].startswith(owner["metadata"]["name"] + "-") and r["uid"] != uid
        for r in claim["metadata"].get("ownerReferences") or ()
    )
