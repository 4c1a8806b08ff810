"""Which unused images go, and which never do."""

from __future__ import annotations

from types import SimpleNamespace

from shirube.foundation.clock import ManualClock
from shirube.kubelet.image_garbage import ImageGarbage
from shirube.kubelet.stats_disk import FileSystem


def image(name, size=10, *, digest=True, pinned=False):
    digests = [f"{name}@sha256:1"] if digest else []
    return SimpleNamespace(id=f"id-{name}", repo_tags=[f"{name}:1"], repo_digests=digests, size=size, pinned=pinned)


class Runtime:
    def __init__(self, *images, used=()):
        self.images, self.used, self.removed = list(images), list(used), []

    async def call(self, method, **fields):
        match method:
            case "ListImages":
                return SimpleNamespace(images=self.images)
            case "ListContainers":
                found = [SimpleNamespace(image_ref=ref, image=SimpleNamespace(image="")) for ref in self.used]
                return SimpleNamespace(containers=found)
            case "Status":
                return SimpleNamespace(info={"config": '{"sandboxImage": "pause:1"}'})
            case "RemoveImage":
                self.removed.append(fields["image"]["image"])
                self.images = [known for known in self.images if known.id != self.removed[-1]]
        return None


def garbage(runtime, used=90):
    told = []

    async def file_system():
        return FileSystem(100, 100 - used, 1, 1)

    clock = ManualClock()
    collector = ImageGarbage(runtime, clock, file_system, lambda *event: told.append(event), high=85, low=80)
    return collector, clock, told


async def test_the_longest_unused_go_until_the_low_mark():
    runtime = Runtime(image("old"), image("recent"), used=["id-recent"])
    collector, clock, told = garbage(runtime)
    assert await collector.collect() == 0, "too young to judge"
    told.clear()
    clock.advance(200)
    await collector.collect()
    assert runtime.removed == ["id-old"]
    assert told == [], "what was needed was won"
    runtime.used = []
    await collector.collect()
    assert runtime.removed == ["id-old", "id-recent"], "what was used a moment ago went last"


async def test_what_is_used_pinned_loaded_by_hand_or_the_sandboxs_stays():
    kept = (image("used"), image("pinned", pinned=True), image("loaded", digest=False), image("pause"))
    runtime = Runtime(*kept, used=["id-used"])
    collector, clock, told = garbage(runtime)
    await collector.collect()
    clock.advance(200)
    await collector.collect()
    await collector.remove_all_unused()
    assert runtime.removed == []
    assert told[-1][1] == "FreeDiskSpaceFailed"


async def test_below_the_high_mark_nothing_goes():
    runtime = Runtime(image("old"))
    collector, clock, _ = garbage(runtime, used=84)
    await collector.collect()
    clock.advance(200)
    assert await collector.collect() == 0
    assert await collector.remove_all_unused() == 10, "unless the node is under pressure"


async def test_what_a_volume_shows_is_in_use():
    runtime = Runtime(image("shown"), image("other"))
    collector, clock, _ = garbage(runtime)
    collector._in_volumes = lambda: {"shown:1"}
    await collector.collect()
    clock.advance(200)
    await collector.remove_all_unused()
    assert runtime.removed == ["id-other"]
