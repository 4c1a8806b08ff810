import asyncio

from fake_api import FakeApi

from shirube.foundation.clock import SYSTEM
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.object_watches import ObjectWatches
from shirube.kubelet.trust_bundles import TrustBundles

PATH = "/api/v1/namespaces/default/configmaps/settings"
REFERENCE = ("configmaps", "settings")


class Followed:
    def __init__(self) -> None:
        self.api = FakeApi()
        self.objects = ApiObjects(self.api.client(), SYSTEM)
        self.trust = TrustBundles(self.api.client())
        self.woken: asyncio.Queue[str] = asyncio.Queue()
        self.watches = ObjectWatches(self.api.client(), self.objects, self.trust, self.woken.put_nowait)

    async def value(self) -> str | None:
        found = await self.objects.get("configmaps", "default", "settings", max_age=1e-9)
        return None if found is None else found["data"]["key"]

    def put(self, value: str) -> None:
        self.api.put(PATH, {"metadata": {"uid": "one-and-the-same"}, "data": {"key": value}})

    def reads(self) -> int:
        return self.api.requests.count(("GET", PATH))


async def test_a_change_wakes_the_pods_and_is_answered_without_asking_again():
    it = Followed()
    it.put("one")
    try:
        it.watches.follow("a", "default", [REFERENCE])
        assert await it.woken.get() == "a" and await it.value() == "one"
        it.watches.follow("b", "default", [REFERENCE])
        it.put("two")
        assert {await it.woken.get(), await it.woken.get()} == {"a", "b"}
        assert await it.value() == "two" and it.reads() == 0
        assert (it.watches.news("a"), it.watches.news("b")) == (2, 1)
    finally:
        await it.watches.close()


async def test_an_object_that_comes_and_goes():
    it = Followed()
    try:
        it.watches.follow("a", "default", [REFERENCE])
        assert await it.value() is None
        it.put("one")
        assert await it.woken.get() == "a" and await it.value() == "one"
        it.api._remove(PATH, it.api.objects[PATH])
        assert await it.woken.get() == "a" and await it.value() is None
    finally:
        await it.watches.close()


async def test_who_does_not_follow_any_more_is_left_alone_and_reads_again():
    it = Followed()
    it.put("one")
    try:
        it.watches.follow("a", "default", [REFERENCE])
        assert await it.woken.get() == "a"
        it.watches.forget("a")
        it.put("two")
        assert await it.value() == "two" and it.reads() == 1 and it.woken.empty()
    finally:
        await it.watches.close()


async def test_an_answer_that_was_overtaken_by_the_watch_is_not_kept():
    it = Followed()
    it.put("old")
    old = it.api.objects[PATH]
    it.put("new")
    key = ("configmaps", "default", "settings")
    assert it.objects.heard(key, it.api.objects[PATH])
    assert not it.objects.heard(key, old)
    assert await it.value() == "new"
