"""What a volume is to the node: what its plugin is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shirube.client.rest import Client
from shirube.foundation.clock import Clock
from shirube.kubelet import downward
from shirube.kubelet import pod as pods
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.paths import Paths
from shirube.kubelet.service_account_tokens import ServiceAccountTokens
from shirube.kubelet.trust_bundles import TrustBundles

if TYPE_CHECKING:
    from shirube.kubelet.volumes.images import ImageVolumes

Volume = Mapping[str, Any]


class VolumeError(Exception):
    """A volume cannot be made (yet). The message goes into the FailedMount event."""


class ClaimNotReady(VolumeError):
    """The volume's claim is missing, unbound or not this pod's: there is no volume to make yet."""


def _nobody(pod: pods.Pod, claim: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Host:
    """What plugins work with."""

    client: Client
    paths: Paths
    objects: ApiObjects
    tokens: ServiceAccountTokens
    trust: TrustBundles
    clock: Clock
    node: Callable[[], downward.NodeFacts]
    node_object: Callable[[], Mapping[str, Any]]
    # Whether another pod of this node uses the claim (of the pod's namespace) now.
    claim_in_use: Callable[[pods.Pod, str], bool] = _nobody
    image_volumes: ImageVolumes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    pod: pods.Pod
    volume: Volume
    pod_ips: tuple[str, ...]
    max_age: float  # how old ConfigMaps and Secrets may be

    @property
    def fs_group(self) -> int | None:
        return (self.pod["spec"].get("securityContext") or {}).get("fsGroup")

    @property
    def fs_group_change_policy(self) -> str:
        shared = self.pod["spec"].get("securityContext") or {}
        return shared.get("fsGroupChangePolicy") or "Always"


@dataclass(frozen=True, slots=True)
class Made:
    """A volume as it is on the node."""

    path: Path
    read_only: bool = False  # whatever the container's mount says
    device: bool = False  # a block device: for volumeDevices, not for volumeMounts
