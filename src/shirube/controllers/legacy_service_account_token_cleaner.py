"""Tokens in Secrets that the control plane made long ago and that nobody uses are marked invalid, later deleted.

Once a day each Secret of type `kubernetes.io/service-account-token` is looked at. One that is listed by its
ServiceAccount (so nobody made it by hand), that is mounted by no pod, and whose use has not been noted for a year gets
the label `kubernetes.io/legacy-token-invalid-since`: the API server refuses it from then on, and removing the label
brings it back. After another year without a use it is deleted. Nothing is judged before uses have been noted for as
long (the ConfigMap `kube-apiserver-legacy-service-account-token-tracking` says since when).

What few candidates there are, their accounts and pods are asked of the server: the shared caches keep neither which
secrets an account lists nor which a pod mounts. Follows upstream's `legacy_serviceaccount_token_cleaner.go` (KEP-2799);
like it, without Events.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.foundation.clock import parse_rfc3339, parse_utc_day, utc_day

LAST_USED, INVALID_SINCE = "kubernetes.io/legacy-token-last-used", "kubernetes.io/legacy-token-invalid-since"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LOOK_SECONDS = 24 * 3600.0

_ACCOUNT = "legacy-service-account-token-cleaner"
_TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_DAY = 24 * 3600.0
# Volumes that name a Secret, and by which field.
_SECRET_NAMES = {"secret": "secretName", "azureFile": "secretName"}
_SECRET_REFERENCES = {
    "cephfs": "secretRef",
    "cinder": "secretRef",
    "flexVolume": "secretRef",
    "rbd": "secretRef",
    "scaleIO": "secretRef",
    "iscsi": "secretRef",
    "storageos": "secretRef",
    "csi": "nodePublishSecretRef",
}


def day_begins(text: str) -> float | None:
    """When a day of the form YYYY-MM-DD began; None for what is none."""
    try:
        return parse_utc_day(text)
    except ValueError:
        return None


def tracked_long_enough(since: str, now: float, period: float) -> bool:
    """Whether every use within `period` has been noted: from the day after `since` on all are."""
    begun = day_begins(since)
    return begun is not None and now >= begun + _DAY + period


def unused(secret: Object, now: float, period: float) -> bool:
    """Whether a Secret holds a token, older than `period`, whose use has not been noted within it."""
    metadata = secret["metadata"]
    if secret.get("type") != _TYPE or deleting(secret):
        return False
    if parse_rfc3339(metadata["creationTimestamp"]) >= now - period:
        return False
    used = (metadata.get("labels") or {}).get(LAST_USED)
    return used is None or (day_begins(used) is not None and used < utc_day(now - period))


def step(secret: Object, now: float, period: float) -> str:
    """What becomes of an unused token that is listed and not mounted: "mark", "delete" or "" (wait)."""
    since = (secret["metadata"].get("labels") or {}).get(INVALID_SINCE, "")
    if day_begins(since) is None:
        return "mark"
    return "delete" if since < utc_day(now - period) else ""


def look_again(secret: Object, now: float, period: float) -> float:
    """Seconds until the next look: a day, or sooner when the token comes of age before."""
    of_age = parse_rfc3339(secret["metadata"]["creationTimestamp"]) + period - now
    return min(of_age + 1, LOOK_SECONDS) if of_age >= 0 else LOOK_SECONDS


def lists(account: Object, secret: Object) -> bool:
    """Whether the account (which may have been replaced by another of its name) lists the Secret."""
    metadata = secret["metadata"]
    uid = (metadata.get("annotations") or {}).get(_UID)
    if uid and uid != account["metadata"]["uid"]:
        return False
    return any(reference.get("name") == metadata["name"] for reference in account.get("secrets") or ())


def mounted(pod: Object) -> Iterator[str]:
    """Names of the Secrets that a pod refers to."""
    spec = pod.get("spec") or {}
    for reference in spec.get("imagePullSecrets") or ():
        yield reference.get("name", "")
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                yield (source.get("secretRef") or {}).get("name", "")
            for variable in container.get("env") or ():
                yield ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("secret") or {}).get("name", "")
        yield from _of_volume(volume)


def _of_volume(volume: dict[str, Any]) -> Iterator[str]:
    for kind, field in _SECRET_NAMES.items():
        yield (volume.get(kind) or {}).get(field, "")
    for kind, field in _SECRET_REFERENCES.items():
        yield ((volume.get(kind) or {}).get(field) or {}).get("name", "")


class LegacyServiceAccountTokenCleaner(Controller[str]):
    name = "legacy-serviceaccount-token-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._secrets = context.informer(SECRETS)
        super().__init__(self._secrets)
        self._reader = context.reader
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._period = context.legacy_token_clean_up

        self._secrets.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, secret: Object) -> None:
        if secret.get("type") == _TYPE:
            self.queue.add(key_of(secret))

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.store.get(*split_key(key))
        if secret is None or secret.get("type") != _TYPE or deleting(secret):
            return None
        now = self._clock.now()
        if unused(secret, now, self._period) and (what := step(secret, now, self._period)):
            await self._clean(secret, what, now)
        return look_again(secret, now, self._period)

    async def _clean(self, secret: Object, what: str, now: float) -> None:
        if not await self._tracked(now) or not await self._forgotten(secret):
            return
        metadata = secret["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        try:
            if what == "mark":
                self.log.info("marking a token that nobody uses as invalid", namespace=namespace, secret=name)
                patch = {"metadata": {"uid": metadata["uid"], "labels": {INVALID_SINCE: utc_day(now)}}}
                await self._client.patch(SECRETS, name, patch, namespace)
            else:
                self.log.info("deleting a token that nobody uses", namespace=namespace, secret=name)
                # A use that is noted meanwhile changes the revision, and keeps the token.
                seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
                await self._client.delete(SECRETS, name, namespace, preconditions=seen)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            self.log.debug("a token changed while it was judged", namespace=namespace, secret=name, error=str(error))

    async def _tracked(self, now: float) -> bool:
        try:
            found = await self._client.get(CONFIGMAPS, TRACKING, "kube-system")
        except ApiError as error:
            if error.code != 404:
                raise
            return False  # the API server makes it anew: tracking begins again
        return tracked_long_enough((found.get("data") or {}).get("since", ""), now, self._period)

    async def _forgotten(self, secret: Object) -> bool:
        """Whether an account lists the Secret, which says that it was not made by hand, and no pod mounts it."""
        metadata = secret["metadata"]
        account = await self._account(metadata["namespace"], (metadata.get("annotations") or {}).get(_NAME, ""))
        if account is None or not lists(account, secret):
            return False
        pods = (await self._reader.list(PODS, metadata["namespace"]))["items"]
        return not any(metadata["name"] in mounted(pod) for pod in pods)

    async def _account(self, namespace: str, name: str) -> Object | None:
        if not name:
            return None
        try:
            return await self._reader.get(SERVICEACCOUNTS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None
