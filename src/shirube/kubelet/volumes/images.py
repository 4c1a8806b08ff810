"""Image volumes: the files of an image, read-only, mounted by the agent itself.

containerd before 2.1 cannot do it, but its snapshot service can give a view of an image's layers, which the agent
mounts at the volume's place. The view is kept from containerd's garbage collector by a label and removed with the pod's
volumes; its key names the pod and the volume, so that after a crash the next try finds it again.
Follows https://kubernetes.io/docs/concepts/storage/volumes/#image and KEP-4639.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from shirube.foundation.clock import Clock, rfc3339
from shirube.kubelet import pod as pods
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol
from shirube.kubelet.images import ImageError, Images, default_tag
from shirube.kubelet.paths import Paths
from shirube.kubelet.volumes import kernel_mounts
from shirube.kubelet.volumes.volume import Host, Made, Request, VolumeError

PLUGIN = "kubernetes.io/image"
_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_FLAGS = {
    "ro": kernel_mounts.MS_RDONLY,
    "bind": kernel_mounts.MS_BIND,
    "rbind": kernel_mounts.MS_BIND | kernel_mounts.MS_REC,
}


class ImageVolumes:
    def __init__(
        self,
        runtime: Runtime,
        images: Images,
        objects: ApiObjects,
        paths: Paths,
        clock: Clock,
        tell: Callable[[pods.Pod, str, str, str], None],
    ) -> None:
        self._runtime, self._images, self._objects, self._paths = runtime, images, objects, paths
        self._clock = clock
        self._tell = tell
        self._snapshots = Runtime(runtime.endpoint, Protocol("containerd_snapshots.json"), _NAMESPACE)
        self._snapshotter = ""

    async def make(self, pod: pods.Pod, name: str, source: Mapping[str, Any]) -> Path:
        """Where the image's files are. Raises VolumeError."""
        target = self._paths.volume(pods.uid(pod), PLUGIN, name)
        if kernel_mounts.is_mounted(target):
            return target
        # First the directory: by its name a view is found again that was made before a crash.
        target.mkdir(parents=True, exist_ok=True)
        try:
            chain = await self._chain_of(await self._pulled(pod, source))
            mounts = await self._view(_key(pods.uid(pod), name), chain)
        except ImageError as error:
            raise VolumeError(f"{error.reason}: {error.message}") from error
        except CriError as error:
            raise VolumeError(f"cannot mount image {source['reference']}: {error}") from error
        for mount in mounts:
            _mount(mount, target)
        return target

    async def _pulled(self, pod: pods.Pod, source: Mapping[str, Any]) -> str:
        """The image's ID, once it is on the node as its policy asks."""
        wanted = [("secrets", ref["name"]) for ref in pod["spec"].get("imagePullSecrets") or () if ref.get("name")]
        found = await self._objects.get_all(pods.namespace(pod), wanted) if wanted else {}
        secrets = [found[ref] for ref in wanted if ref in found]
        as_container = {"image": source["reference"], "imagePullPolicy": source.get("pullPolicy")}

        def tell(type: str, reason: str, message: str) -> None:
            self._tell(pod, type, reason, message)

        image = await self._images.ensure(pods.uid(pod), as_container, secrets, tell)
        return str(image.id or default_tag(source["reference"]))

    async def _chain_of(self, image: str) -> str:
        """The name of the snapshot of all the image's layers."""
        answer = await self._runtime.call("ImageStatus", image={"image": image}, verbose=True)
        try:
            return str(orjson.loads(answer.info["info"])["chainID"])
        except (KeyError, ValueError) as error:
            raise VolumeError("image volumes need containerd: this runtime does not tell an image's chainID") from error

    async def _view(self, key: str, chain: str) -> list[Any]:
        """The mounts of a view of the snapshot, made unless it is there."""
        if not self._snapshotter:
            self._snapshotter = await self._name_of_snapshotter()
        # What has this label is kept until somebody removes it.
        labels = {"containerd.io/gc.root": rfc3339(self._clock.now())}
        try:
            answer = await self._snapshots.call(
                "View", snapshotter=self._snapshotter, key=key, parent=chain, labels=labels
            )
        except CriError as error:
            if error.code != "ALREADY_EXISTS":
                raise
            answer = await self._snapshots.call("Mounts", snapshotter=self._snapshotter, key=key)
        return list(answer.mounts)

    async def _name_of_snapshotter(self) -> str:
        answer = await self._runtime.call("Status", verbose=True)
        try:
            return str(orjson.loads(answer.info["config"])["containerd"]["snapshotter"])
        except (KeyError, ValueError):
            return "overlayfs"

    async def forget(self, pod_uid: str) -> None:
        """Remove the views of a pod whose volumes are unmounted, while their directories are still there."""
        top = self._paths.volume(pod_uid, PLUGIN, "")
        for directory in sorted(top.iterdir()) if top.is_dir() else ():
            if not self._snapshotter:
                self._snapshotter = await self._name_of_snapshotter()
            try:
                key = _key(pod_uid, directory.name)
                await self._snapshots.call("Remove", snapshotter=self._snapshotter, key=key)
            except CriError as error:
                if not error.not_found:
                    raise

    async def close(self) -> None:
        await self._snapshots.close()


def images_of(pod: pods.Pod) -> list[str]:
    """The images that the pod's volumes show."""
    found = (volume.get("image") for volume in pod["spec"].get("volumes") or ())
    return [default_tag(source["reference"]) for source in found if source is not None]


def _key(pod_uid: str, volume: str) -> str:
    return f"image-volume-{pod_uid}-{volume}"


def _mount(mount: Any, target: Path) -> None:
    flags, data = 0, []
    for option in mount.options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    kernel_mounts.mount(mount.source, str(target), mount.type, flags, ",".join(data))
    if flags & kernel_mounts.MS_BIND and flags & kernel_mounts.MS_RDONLY:
        # A bind mount takes its flags only when it is mounted again.
        again = kernel_mounts.MS_BIND | kernel_mounts.MS_REMOUNT | kernel_mounts.MS_RDONLY
        kernel_mounts.mount("none", str(target), flags=again)


async def set_up(host: Host, request: Request) -> Made:
    volume = request.volume
    assert host.image_volumes is not None, "the agent gives its plugins the image volumes"
    return Made(await host.image_volumes.make(request.pod, volume["name"], volume["image"]), read_only=True)
