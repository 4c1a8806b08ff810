"""Kills at random points under load, and judges after each.

SQLite: the API server is killed. etcd: mostly the member, sometimes the API server in front of it. After every kill
the store itself is asked what happened, and everything that writers and watchers saw is held against it. One kill in
six hits while the killed one is starting again, so recovery is interrupted, too. The seed decides when and whom.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shirube.cluster import certificates

from ..etcd_process import EtcdProcess  # noqa: TID252 - there is no absolute name for it
from .judge import Judge, Violation
from .load import SHARED, Load
from .servers import ApiServer, history

WRITERS = 6
WATCHERS = 4
_LONGEST_LOAD = 0.8  # seconds between readiness and the kill
_AGAIN_SHARE = 1 / 6
_ETCD_SHARE = 0.8


@dataclass(slots=True)
class Count:
    kills: int = 0
    etcd_kills: int = 0
    acknowledged: int = 0
    unknown: int = 0
    events: int = 0
    relists: int = 0
    seconds: float = 0.0


class Harness:
    def __init__(self, backend: Literal["sqlite", "etcd"], folder: Path, seed: int) -> None:
        self.count = Count()
        self._chance = random.Random(seed)
        self._judge = Judge(SHARED)
        self._seed = seed
        self._etcd: EtcdProcess | None = None
        url = ""
        if backend == "etcd":
            pki = certificates.ensure_etcd(folder / "etcd-pki", ["127.0.0.1"])
            self._etcd = EtcdProcess(folder / "etcd", pki=pki)
            url = self._etcd.url
        self._server = ApiServer(folder / "server", url)
        self._url = url or str(folder / "server" / "store.db")

    async def run(self, kills: int, seconds: float = 1e9) -> Count:
        """So many kills, or as many as fit in the time. Raises Violation."""
        began = time.monotonic()
        self._server.start()
        await self._server.ready()
        self._judge.revision = 1
        load = Load(self._server.url, self._server.tls(), self._judge, self._seed, WRITERS, WATCHERS)
        try:
            while self.count.kills < kills and time.monotonic() - began < seconds:
                load.resume()
                await asyncio.sleep(self._chance.uniform(0.02, _LONGEST_LOAD))
                load.check()
                await self._kill(load)
            load.resume()
            await asyncio.sleep(0.3)
            load.check()
            await load.pause()
        finally:
            self.count.unknown, self.count.relists = load.unknown, load.relists
            await load.close()
            self._server.stop()
        await self._verdict()
        if complaints := self._server.complaints():
            raise Violation(f"the server's log has what no crash explains: {complaints[:3]}\n{self._server.said()}")
        self.count.seconds = time.monotonic() - began
        return self.count

    async def _kill(self, load: Load) -> None:
        if self._etcd is not None and self._chance.random() < _ETCD_SHARE:
            self._etcd.kill()
            self.count.etcd_kills += 1
            self.count.kills += 1
            await asyncio.to_thread(self._restart_etcd)
            await self._server.ready()
            await load.pause()
            await self._verdict()
            return
        self._server.kill()
        self.count.kills += 1
        await load.pause()
        await self._verdict()
        self._server.start()
        if self._chance.random() < _AGAIN_SHARE:
            await asyncio.sleep(self._chance.uniform(0.1, 2.0))
            self._server.kill()
            self.count.kills += 1
            self._server.start()
        await self._server.ready()

    def _restart_etcd(self) -> None:
        assert self._etcd is not None
        if self._chance.random() < _AGAIN_SHARE:
            self._etcd.start_and_kill(self._chance.uniform(0.0, 0.3))
            self.count.etcd_kills += 1
            self.count.kills += 1
        self._etcd.start()

    async def _verdict(self) -> None:
        happened, revision = await history(self._url, self._judge.revision)
        self._judge.judge(happened, revision)
        self._judge.drop_ended()
        self.count.acknowledged, self.count.events = self._judge.judged_writes, self._judge.judged_events

    def close(self) -> None:
        if self._etcd is not None:
            self._etcd.remove()
