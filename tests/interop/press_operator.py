"""A kopf operator, run by `kopf run` in a process of its own: a ConfigMap for each Press, and a report in status."""

from __future__ import annotations

from typing import Any

import kopf
import kubernetes_asyncio as kubernetes


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "interop.example.com/operator"


async def _core() -> kubernetes.client.CoreV1Api:
    await kubernetes.config.load_kube_config()
    return kubernetes.client.CoreV1Api()


@kopf.on.create("presses")
async def create(spec: kopf.Spec, name: str, namespace: str, body: kopf.Body, **_: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"size": str(spec["size"])},
    }
    kopf.adopt(made)
    core = await _core()
    async with core.api_client:
        await core.create_namespaced_config_map(namespace, made)
    kopf.info(body, reason="Made", message=f"made ConfigMap {name}")
    return {"made": name}


@kopf.on.update("presses", field="spec.size")
async def resize(name: str, namespace: str, new: int, patch: kopf.Patch, **_: Any) -> None:
    core = await _core()
    async with core.api_client:
        await core.patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})
    patch.status["size"] = new


@kopf.on.delete("presses")
async def delete(name: str, namespace: str, **_: Any) -> None:
    core = await _core()
    async with core.api_client:
        await core.delete_namespaced_config_map(name, namespace)
