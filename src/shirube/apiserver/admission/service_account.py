"""ServiceAccount: every pod runs as an account of its namespace and finds that account's token in a volume.

The token is a projected volume that the node agent keeps fresh: token (good for 3607 seconds, a number that
tells tokens made by this plugin from others), the cluster's CA, the namespace. See "Configure Service Accounts
for Pods" in the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api import errors
from shirube.api.errors import ApiError
from shirube.api.gvr import SERVICEACCOUNTS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, AdmissionRequest
from shirube.apiserver.authorization.pod_graph import MIRROR_ANNOTATION, references

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
EXPIRATION_SECONDS = 3607
ROOT_CA_CONFIG_MAP = "kube-root-ca.crt"
_VOLUME_PREFIX = "kube-api-access-"
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    operations = frozenset((CREATE, "UPDATE"))
    resources = frozenset((("", "pods"), ("", "pods/ephemeralcontainers")))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.operation != CREATE or req.obj is None or req.subresource:
            return
        pod = req.obj
        if MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {}):
            return
        spec = pod.setdefault("spec", {})
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = spec.get("serviceAccount") or "default"
        spec["serviceAccount"] = spec["serviceAccountName"]
        account = await self._account(req, spec["serviceAccountName"])
        if _automount(account, spec):
            self._mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(ref) for ref in account["imagePullSecrets"]]

    async def validate(self, req: AdmissionRequest) -> None:
        pod = req.obj
        if pod is None or (req.operation != CREATE and req.subresource != "ephemeralcontainers"):
            return
        spec = pod.get("spec") or {}
        if MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {}):
            self._check_mirror(req, pod)
            return
        account = await self._account(req, spec.get("serviceAccountName", ""))
        if (account["metadata"].get("annotations") or {}).get(_ENFORCE, "").lower() == "true":
            self._check_mountable(req, account, pod)

    def _check_mirror(self, req: AdmissionRequest, pod: dict[str, Any]) -> None:
        spec = pod.get("spec") or {}
        if spec.get("serviceAccountName"):
            raise req.refusal("a mirror pod may not reference service accounts")
        if any(resource == "secrets" for resource, _ in references(pod)):
            raise req.refusal("a mirror pod may not reference secrets")
        for volume in spec.get("volumes") or ():
            for source in (volume.get("projected") or {}).get("sources") or ():
                if "serviceAccountToken" in source:
                    raise req.refusal("a mirror pod may not use ServiceAccountToken volume projections")

    async def _account(self, req: AdmissionRequest, name: str) -> dict[str, Any]:
        account = self.server.reader.get(SERVICEACCOUNTS, req.namespace, name)
        if account is not None:
            return account
        try:
            return await self.server.store.get(SERVICEACCOUNTS, req.namespace, name)
        except ApiError as error:
            if error.code != 404:
                raise
            missing = errors.not_found("serviceaccount", name)
            raise req.refusal(f"error looking up service account {req.namespace}/{name}: {missing.message}") from None

    def _check_mountable(self, req: AdmissionRequest, account: dict[str, Any], pod: dict[str, Any]) -> None:
        mountable = {ref.get("name") for ref in account.get("secrets") or ()}
        name = account["metadata"]["name"]
        spec = pod.get("spec") or {}
        for secret in _volume_secrets(spec):
            if secret not in mountable:
                raise req.refusal(
                    f'volume with secret.secretName="{secret}" is not allowed because service account {name} '
                    "does not reference that secret"
                )
        for container, secret in _environment_secrets(spec):
            if secret not in mountable:
                raise req.refusal(
                    f'container {container} with envVar referencing secret.secretName="{secret}" is not allowed '
                    f"because service account {name} does not reference that secret"
                )
        pullable = {ref.get("name") for ref in account.get("imagePullSecrets") or ()}
        for index, ref in enumerate(spec.get("imagePullSecrets") or ()):
            if ref.get("name") not in pullable:
                raise req.refusal(
                    f'imagePullSecrets[{index}].name="{ref.get("name")}" is not allowed because service account '
                    f"{name} does not reference that imagePullSecret"
                )

    def _mount_token(self, spec: dict[str, Any]) -> None:
        volumes = spec.get("volumes") or []
        found = next((v["name"] for v in volumes if _is_token_volume(v)), "")
        name = found or _VOLUME_PREFIX + self.server.chance.suffix()
        mounted = False
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            mounts = container.get("volumeMounts") or []
            if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                continue
            container["volumeMounts"] = [*mounts, {"mountPath": MOUNT_PATH, "name": name, "readOnly": True}]
            mounted = True
        if mounted and not found:
            spec["volumes"] = [*volumes, token_volume(name)]


def token_volume(name: str) -> dict[str, Any]:
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": EXPIRATION_SECONDS, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": ROOT_CA_CONFIG_MAP}},
                {"downwardAPI": {"items": [field]}},
            ],
        },
    }


def _is_token_volume(volume: dict[str, Any]) -> bool:
    sources = (volume.get("projected") or {}).get("sources") or ()
    return volume.get("name", "").startswith(_VOLUME_PREFIX) and any("serviceAccountToken" in s for s in sources)


def _automount(account: dict[str, Any], spec: dict[str, Any]) -> bool:
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _volume_secrets(spec: dict[str, Any]) -> Iterator[str]:
    """Secrets that are mounted, as a volume of their own or as a part of one."""
    for volume in spec.get("volumes") or ():
        if secret := (volume.get("secret") or {}).get("secretName"):
            yield secret
        for source in (volume.get("projected") or {}).get("sources") or ():
            if secret := (source.get("secret") or {}).get("name"):
                yield secret


def _environment_secrets(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(container, secret) of every reference from an environment."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            for variable in container.get("env") or ():
                ref = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if ref:
                    yield container.get("name", ""), ref.get("name", "")
            for source in container.get("envFrom") or ():
                if ref := source.get("secretRef"):
                    yield container.get("name", ""), ref.get("name", "")
