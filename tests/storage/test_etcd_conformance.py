"""The store's conformance suite on a real etcd, and what only etcd has: several servers, restarts of the member."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from shirube.cluster import certificates
from shirube.storage import etcd_client, open_storage
from shirube.storage.types import (
    Compacted,
    Compare,
    CompareFailed,
    Put,
    Storage,
    StorageError,
    StorageUnavailable,
)

from .conformance import StorageConformance, take
from .etcd_process import EtcdProcess


@pytest.fixture
def etcd(tmp_path: Path):
    process = EtcdProcess(tmp_path / "etcd")
    yield process
    process.remove()


class TestEtcd(StorageConformance):
    ordered = False

    @pytest.fixture
    def opener(self, etcd: EtcdProcess):
        return lambda: open_storage(etcd.url)

    @pytest.fixture
    def fresh(self, tmp_path: Path):
        numbers = itertools.count()
        processes: list[EtcdProcess] = []

        def fresh():
            # One at a time: each takes 64 MB on disk for its log alone.
            while processes:
                processes.pop().remove()
            process = EtcdProcess(tmp_path / f"fresh-{next(numbers)}")
            processes.append(process)
            return lambda: open_storage(process.url)

        yield fresh
        for process in processes:
            process.remove()


@pytest.fixture
async def servers(etcd: EtcdProcess):
    one, two = await open_storage(etcd.url), await open_storage(etcd.url)
    yield one, two
    await one.close()
    await two.close()


async def test_two_servers_see_each_others_writes_at_once(servers):
    one, two = servers
    async with two.watch("/a", await two.current_revision()) as watch:
        first = await one.commit([Compare("/a/x", 0)], [Put("/a/x", b"1")])
        assert await two.current_revision() >= first
        with pytest.raises(CompareFailed):
            await two.commit([Compare("/a/x", 0)], [Put("/a/x", b"2")])
        second = await two.commit([Compare("/a/x", first)], [Put("/a/x", b"2")])
        assert [(e.revision, e.value) for e in await take(watch, 2)] == [(first, b"1"), (second, b"2")]


async def test_progress_passes_what_others_write_elsewhere(servers):
    one, two = servers
    async with two.watch("/a", await two.current_revision()) as watch:
        elsewhere = await one.commit([], [Put("/b/x", b"1")])
        watch.request_progress()
        async with asyncio.timeout(60):
            while watch.revision < elsewhere:
                assert not await anext(watch)


async def test_a_watch_goes_on_when_the_member_was_killed_and_started(etcd, servers):
    one, _ = servers
    async with one.watch("/a", await one.current_revision()) as watch:
        before = await one.commit([], [Put("/a/x", b"1")])
        assert [e.revision for e in await take(watch, 1)] == [before]
        etcd.kill()
        with pytest.raises(StorageUnavailable):
            await one.commit([], [Put("/a/x", b"lost")])
        etcd.start()
        assert (await one.get("/a/x")).value == b"1"
        after = await one.commit([], [Put("/a/x", b"2")])
        assert [e.revision for e in await take(watch, 1)] == [after]


async def test_a_server_that_opens_later_reads_history_from_etcd(etcd, servers):
    one, _ = servers
    revisions = [await one.commit([], [Put(f"/a/{i}", b"x")]) for i in range(50)]
    late = await open_storage(etcd.url)
    try:
        async with late.watch("/a", revisions[0]) as watch:
            assert [e.revision for e in await take(watch, 49)] == revisions[1:]
        await late.compact(revisions[-1])
        async with late.watch("/a", revisions[0]) as watch:
            with pytest.raises(Compacted):
                await take(watch, 1)
    finally:
        await late.close()


@pytest.fixture
def tls(tmp_path: Path):
    process = EtcdProcess(tmp_path / "etcd", pki=certificates.ensure_etcd(tmp_path / "pki", ["127.0.0.1"]))
    yield process
    process.remove()


async def test_tls_with_certificates_of_both_sides(tls: EtcdProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(etcd_client, "_DEADLINE", 2.0)
    store = await open_storage(tls.url)
    try:
        revision = await store.commit([Compare("/a/x", 0)], [Put("/a/x", b"1")])
        assert (await store.get("/a/x", revision)).value == b"1"
    finally:
        await store.close()
    other = certificates.ensure_etcd(tmp_path / "other", ["127.0.0.1"])
    refused = f"etcds://127.0.0.1:{tls.port}?ca={tmp_path}/pki/ca.crt&cert={other.client.cert}&key={other.client.key}"
    with pytest.raises(StorageUnavailable, match="cannot reach etcd"):
        await open_storage(refused)


async def test_three_members_of_which_one_after_the_other_dies(tmp_path: Path):
    pki = certificates.ensure_etcd(tmp_path / "pki", ["127.0.0.1"])
    members = {name: EtcdProcess(tmp_path / name, pki=pki, start=False) for name in ("a", "b", "c")}
    try:
        for name, member in members.items():
            member.join(name, members)
        for member in members.values():
            member.healthy()
        store = await open_storage(pki.url(",".join(f"127.0.0.1:{member.port}" for member in members.values())))
        try:
            await _outlives(store, members)
        finally:
            await store.close()
    finally:
        for member in members.values():
            member.remove()


async def _outlives(store: Storage, members: dict[str, EtcdProcess]) -> None:
    acknowledged: list[int] = []
    async with store.watch("/a", await store.current_revision()) as watch:
        for member in list(members.values())[:2]:
            member.kill()
            async with asyncio.timeout(60):
                while True:  # until the others have a leader
                    try:
                        acknowledged.append(await store.commit((), (Put("/a/x", b"%d" % len(acknowledged)),)))
                        break
                    except StorageUnavailable:
                        await asyncio.sleep(0.05)
            assert (await store.get("/a/x")).mod_revision == acknowledged[-1]
            member.start()
        seen: list[int] = []
        while not seen or seen[-1] < acknowledged[-1]:
            seen += [event.revision for event in await take(watch, 1)]
    # A write without an answer may have happened, too; nothing acknowledged is missing, nothing comes twice.
    assert seen == sorted(set(seen))
    assert set(acknowledged) <= set(seen)


async def test_urls_that_cannot_be_used(tmp_path: Path):
    (tmp_path / "x").write_text("nothing")
    for query, said in {
        f"cert={tmp_path}/x": "cert and key belong together",
        f"ca={tmp_path}/x": "is no PEM file",
        "ca=/no/such/file": "cannot read a certificate",
        "certificate=/x": "'certificate' is none of ca, cert and key",
    }.items():
        with pytest.raises(StorageError, match=said):
            await open_storage(f"etcds://127.0.0.1:1?{query}")


async def test_many_large_values_in_one_range(servers):
    one, _ = servers
    value = b"x" * 1_400_000
    for n in range(60):
        await one.commit((), (Put(f"/large/{n:02}", value),))
    found = await one.range("/large/")
    assert [kv.value for kv in found.items] == [value] * 60


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(etcd_client, "_DEADLINE", 0.5)
    with pytest.raises(StorageUnavailable, match=r"cannot reach etcd.*[Cc]onnection refused"):
        await asyncio.wait_for(open_storage("etcd://127.0.0.1:1"), 30)
