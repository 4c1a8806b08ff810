"""A world of every kind of workload, finished; then the controllers start anew, and write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.controllers.conftest import kubelet
from tests.controllers.live import Live, live
from tests.controllers.test_cron_job import cron_job
from tests.controllers.test_daemon_set import daemon_set
from tests.controllers.test_job import finish, fresh
from tests.controllers.test_job import over as job_over
from tests.controllers.test_resource_quota import quota
from tests.controllers.test_stateful_set import stateful_set
from tests.controllers.test_volumes import claim, plain, volume
from tests.waiting import until

from shirube.api.gvr import (
    CRONJOBS,
    DAEMONSETS,
    ENDPOINTS,
    JOBS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    RESOURCEQUOTAS,
    SERVICES,
    STATEFULSETS,
)


async def furnish(house: Live) -> None:
    admin = house.admin
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    await admin.create(NODES, {"metadata": {"name": "n1"}})
    await admin.patch(NODES, "n1", {"status": {"conditions": [ready]}}, subresource="status")
    owner = stateful_set(2)
    del owner["metadata"]["uid"], owner["metadata"]["generation"]
    await admin.create(RESOURCEQUOTAS, quota(pods="20", **{"count/jobs.batch": "5"}))
    await admin.create(STATEFULSETS, owner)
    await admin.create(DAEMONSETS, daemon_set())
    await admin.create(JOBS, fresh("done", completions=1, parallelism=1))
    ticking = cron_job(schedule="0 0 1 1 *")
    ticking["metadata"] = {"name": "tick"}
    await admin.create(CRONJOBS, ticking, "default")
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "db"}}}}
    await admin.create(PODDISRUPTIONBUDGETS, budget, "default")
    await admin.create(PERSISTENTVOLUMES, volume("pv"))
    await admin.create(PERSISTENTVOLUMECLAIMS, plain(claim(storageClassName="")))
    await admin.create(SERVICES, {"metadata": {"name": "e"}, "spec": {"ports": [{"port": 80}]}}, "default")
    subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80}]}
    await admin.create(ENDPOINTS, {"metadata": {"name": "e"}, "subsets": [subset]}, "default")


async def settled(house: Live) -> bool:
    admin = house.admin
    for pod in (await admin.list(PODS, "default"))["items"]:
        if pod["metadata"]["name"].startswith("done-"):
            await finish(admin, pod, "Succeeded")
    database = (await admin.get(STATEFULSETS, "db", "default")).get("status") or {}
    agents = (await admin.get(DAEMONSETS, "agent", "default")).get("status") or {}
    budget = (await admin.get(PODDISRUPTIONBUDGETS, "b", "default")).get("status") or {}
    used = ((await admin.get(RESOURCEQUOTAS, "q", "default")).get("status") or {}).get("used") or {}
    return bool(
        used == {"pods": "3", "count/jobs.batch": "1"}
        and database.get("availableReplicas") == 2
        and agents.get("numberAvailable") == 1
        and budget.get("currentHealthy") == 2
        and await job_over(admin, "done")
    )


async def quiet(house: Live, controllers: list[Any]) -> None:
    async def idle() -> bool:
        return all(c.queue.idle for c in controllers)

    for controller in controllers:
        for informer in controller.informers:
            await informer.wait_for_cache_sync()
    still, seen = 0, -1
    while still < 300:
        await until(idle, 10)
        still, seen = (still + 1, seen) if len(house.tokens.log) == seen else (0, len(house.tokens.log))


async def test_a_restart_on_a_finished_world_writes_nothing(tmp_path: Path):
    async with live(tmp_path) as house:
        async with house.controllers() as controllers, kubelet(house.admin):
            await furnish(house)
            await until(lambda: settled(house), 15)
            await quiet(house, controllers)
        refused = {entry for entry in house.tokens.log if entry[2] in (401, 403, 422)}
        assert not refused - {("POST", "/api/v1/namespaces/default/pods", 403)}, "accounts may be younger than pods"
        house.tokens.log.clear()
        async with house.controllers() as controllers:
            await quiet(house, controllers)
        assert [entry for entry in house.tokens.log if entry[0] != "GET" and "/events" not in entry[1]] == []
