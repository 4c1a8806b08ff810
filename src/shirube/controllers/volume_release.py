"""The end of a provisioned volume: when what is behind it is to go, and how its object goes then.

Provisioners hold their volumes with a finalizer, so that what is behind one is also removed when the volume is deleted
before its claim. Whoever takes that finalizer off a volume that is being deleted keeps what is behind it.
Follows KEP-2644 (honour the reclaim policy).
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import PERSISTENTVOLUMES
from shirube.client.rest import Client, Object
from shirube.controllers import volume_matching as matching
from shirube.controllers.ownership import deleting

FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"


def made_by(volume: Object, provisioner: str) -> bool:
    return bool(matching.annotations_of(volume).get(matching.PROVISIONED_BY) == provisioner)


def _phase(volume: Object) -> str:
    return str((volume.get("status") or {}).get("phase") or "")


def held(volume: Object) -> bool:
    return FINALIZER in (volume["metadata"].get("finalizers") or ())


def unwanted(volume: Object) -> bool:
    """What is behind the volume is to be removed."""
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    return _phase(volume) == "Released" and policy == "Delete" and (held(volume) or not deleting(volume))


def abandoned(volume: Object) -> bool:
    """It is deleted, nobody uses it, and what is behind it stays."""
    return deleting(volume) and _phase(volume) != "Bound" and not unwanted(volume)


async def let_go(client: Client, volume: Object) -> None:
    """Delete the volume; once it is being deleted (its watchers see it again) take off what holds it."""
    metadata = volume["metadata"]
    try:
        if not deleting(volume):
            await client.delete(PERSISTENTVOLUMES, metadata["name"], preconditions={"uid": metadata["uid"]})
        elif held(volume):
            rest = [one for one in metadata["finalizers"] if one != FINALIZER]
            await client.update(PERSISTENTVOLUMES, {**volume, "metadata": {**metadata, "finalizers": rest}})
    except ApiError as error:
        if error.code != 404:
            raise
