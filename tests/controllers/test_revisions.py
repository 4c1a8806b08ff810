from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.conftest import kubelet
from tests.controllers.live import live
from tests.controllers.test_daemon_set import daemon_set
from tests.controllers.test_restart import quiet
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONTROLLERREVISIONS, DAEMONSETS, NODES
from shirube.controllers import revisions


def owner(image: str) -> dict[str, Any]:
    one = daemon_set()
    one["metadata"]["uid"] = "u"
    one["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return one


def test_a_revision_gives_its_template_back():
    one = owner("a")
    kept = revisions.new_revision(one, "DaemonSet", 1, {"app": "agent"}, revisions.POD_LABEL, None)
    assert revisions.template_of(kept) == one["spec"]["template"]
    assert revisions.equal(kept, one) and not revisions.equal(kept, owner("b"))
    salted = revisions.new_revision(one, "DaemonSet", 1, {}, revisions.POD_LABEL, 1)
    assert salted["metadata"]["name"] != kept["metadata"]["name"]


def test_only_unused_revisions_beyond_the_limit_go():
    every = [{"metadata": {"name": str(n)}, "revision": n} for n in range(5)]
    assert [r["revision"] for r in revisions.to_clean_up(every, {"0", "4"}, 1)] == [1, 2]
    assert revisions.to_clean_up(every, set(), None) == []


@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
async def test_the_life_of_a_revision(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        await admin.create(NODES, {"metadata": {"name": "n1"}})
        await admin.patch(NODES, "n1", {"spec": {"taints": None}})

        async def listed(selector: str, count: int) -> list[dict[str, Any]]:
            found = (await admin.list(CONTROLLERREVISIONS, "default", label_selector=selector))["items"]
            return found if len(found) == count else []

        async with house.controllers(only="daemonset-controller") as controllers, kubelet(admin, ends=True):
            await admin.create(DAEMONSETS, daemon_set())
            (first,) = await until(lambda: listed("app=agent", 1), 10)

            async def up() -> bool:
                return ((await admin.get(DAEMONSETS, "agent", "default")).get("status") or {}).get("numberReady") == 1

            await until(up, 10)
            await quiet(house, controllers)
            name = first["metadata"]["name"]
            label = {"metadata": {"labels": {name: "patched"}}}
            patched = await admin.patch(CONTROLLERREVISIONS, name, label, "default")
            assert patched["metadata"]["labels"][name] == "patched"
            metadata = {"name": "extra", "labels": {"app": "agent", "controller-revision-hash": "extra"}}
            extra = {"metadata": metadata, "data": first["data"], "revision": first["revision"] + 1}
            await admin.create(CONTROLLERREVISIONS, extra, "default")
            assert await listed("app=agent", 2)
            await admin.delete(CONTROLLERREVISIONS, name, "default")
            assert await listed("app=agent", 1)

            async def updated() -> bool:
                current = await admin.get(CONTROLLERREVISIONS, "extra", "default")
                current["metadata"]["labels"]["extra"] = "updated"
                try:
                    await admin.update(CONTROLLERREVISIONS, current)
                except ApiError as error:
                    assert error.code == 409  # the controller has just made it its own
                    return False
                return True

            await until(updated, 10)
            assert await listed("extra=updated", 1)
            template = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
            await admin.patch(DAEMONSETS, "agent", template, "default", type="strategic")
            await until(lambda: listed("app=agent", 2), 10)
            await admin.delete_collection(CONTROLLERREVISIONS, "default", label_selector="extra=updated")
            (last,) = await until(lambda: listed("app=agent", 1), 10)
            assert last["revision"] == 3
