from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.client.waiting import until
from tests.controllers.live import live

from shirube.api.gvr import CONFIGMAPS, PODS, RESOURCEQUOTAS
from shirube.api.resources import BUILTIN
from shirube.controllers.resource_quota import resources_of, used


def quota(**hard: str) -> dict[str, Any]:
    return {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}


def test_used_counts_what_is_named_and_nothing_else():
    pods = BUILTIN.by_path("", "v1", "pods")
    assert pods is not None
    one = {"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}]}, "status": {"phase": "Running"}}
    over = {**one, "status": {"phase": "Succeeded"}}
    names = {"pods": "5", "requests.cpu": "1", "count/deployments.apps": "3", "secrets": "1"}
    found = used(quota(**names), [(pods, [one, one, over])], {"count/deployments.apps": 2})
    assert found == {"pods": "2", "requests.cpu": "200m", "count/deployments.apps": "2", "secrets": "0"}
    assert resources_of(names) == {"deployments.apps"}


async def test_usage_follows_creation_and_deletion(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(RESOURCEQUOTAS, quota(pods="5", configmaps="9", **{"count/leases.coordination.k8s.io": "3"}))
        async with house.controllers(only="resourcequota-controller"):

            async def uses(**wanted: str) -> bool:
                status = (await admin.get(RESOURCEQUOTAS, "q", "default"))["status"]
                return wanted.items() <= (status.get("used") or {}).items()

            await until(lambda: uses(pods="0", configmaps="0", **{"count/leases.coordination.k8s.io": "0"}), 10)
            await admin.create(CONFIGMAPS, {"metadata": {"name": "c"}}, "default")
            pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}

            async def created() -> bool:
                await admin.create(PODS, pod, "default")
                return True

            await until(lambda: _retry(created), 10)
            await until(lambda: uses(pods="1", configmaps="1"), 10)
            await admin.delete(PODS, "p", "default", grace_period_seconds=0)
            await admin.delete(CONFIGMAPS, "c", "default")
            await until(lambda: uses(pods="0", configmaps="0"), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def _retry(work: Any) -> bool:
    from shirube.api.errors import ApiError

    try:
        return bool(await work())
    except ApiError:  # the namespace's service account may not be there yet
        return False
