"""Writers and watchers over HTTPS, as clients of an API server that dies again and again.

Each writer owns some ConfigMaps, and steps one that they share by compare-and-write. Each watcher lists, watches,
goes on after its last revision when the connection breaks, and lists anew when it is told that this is too old.
Everything seen goes to the judge.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any, Literal

import aiohttp
import orjson

from .judge import Happened, Judge, State, Told, Violation, Write, steps

PATH = "/api/v1/namespaces/default/configmaps"
PREFIX = "/registry/core/configmaps/default/"
SHARED = "shared"
_NAMES = 8  # objects of each writer
_SHARED_SHARE = 0.25
_BROKEN = (aiohttp.ClientError, OSError, asyncio.TimeoutError)
_PAD = "x" * 400


class Unknown(Exception):
    """No answer came, or one that says nothing about the write."""


class Load:
    def __init__(self, url: str, tls: ssl.SSLContext, judge: Judge, seed: int, writers: int, watchers: int) -> None:
        self._url = url
        self._judge = judge
        self._random = random.Random(seed)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0), timeout=aiohttp.ClientTimeout(total=30)
        )
        self._open = asyncio.Event()
        self._idle = asyncio.Event()
        self._under_way = 0
        self._doubtful: set[str] = set()  # keys with a write that has no answer
        self._held: State = {}
        self.unknown = self.relists = 0
        jobs = [self._write(f"w{n}", random.Random(f"{seed}-{n}")) for n in range(writers)]
        jobs += [self._watch(f"watch-{n}", SHARED if n == 0 else "") for n in range(watchers)]
        self._jobs = [asyncio.create_task(job) for job in jobs]  # noqa: TID251 - not the project's own

    async def close(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._session.close()

    def check(self) -> None:
        """Raises what ended a writer or watcher."""
        for job in self._jobs:
            if job.done():
                job.result()

    def resume(self) -> None:
        """Writers may go on; what was judged tells them how writes without an answer ended."""
        for key in self._doubtful:
            if (now := self._judge.state.get(key)) is not None:
                self._held[key] = now
            else:
                self._held.pop(key, None)
        self._doubtful.clear()
        self._open.set()

    async def pause(self) -> None:
        """No further write begins; returns when none is under way."""
        self._open.clear()
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()

    # Writing

    async def _write(self, who: str, chance: random.Random) -> None:
        number = 0
        while True:
            await self._open.wait()
            number += 1
            self._under_way += 1
            try:
                if chance.random() < _SHARED_SHARE:
                    await self._step(who, f"{who}.{number}")
                else:
                    await self._change(f"{who}-{chance.randrange(_NAMES)}", f"{who}.{number}", chance)
            except Unknown:
                self.unknown += 1
            finally:
                self._under_way -= 1
                self._idle.set()
            await asyncio.sleep(0.02 if self._doubtful else 0)

    async def _change(self, name: str, value: str, chance: random.Random) -> None:
        if name in self._doubtful:
            return
        held = self._held.get(name)
        if held is None:
            await self._send("POST", PATH, name, "PUT", value, _object(name, value))
        elif (what := chance.random()) < 0.25:
            await self._send("DELETE", f"{PATH}/{name}", name, "DELETE", "", None)
        elif what < 0.5:
            await self._send("PATCH", f"{PATH}/{name}", name, "PUT", value, {"data": {"v": value}})
        else:
            await self._send("PUT", f"{PATH}/{name}", name, "PUT", value, _object(name, value, held[0]))

    async def _step(self, who: str, attempt: str) -> None:
        """Compare and write: add one to our own number in the shared object."""
        status, found = await self._request("GET", f"{PATH}/{SHARED}", None)
        if status not in (200, 404):
            raise Unknown
        numbers = steps(found["data"]["v"]) if status == 200 else {}
        numbers[who] = numbers.get(who, 0) + 1
        value = ",".join(f"{name}={n}" for name, n in sorted(numbers.items())) + f";{attempt}"
        if status == 404:
            await self._send("POST", PATH, SHARED, "PUT", value, _object(SHARED, value))
        else:
            revision = int(found["metadata"]["resourceVersion"])
            body = _object(SHARED, value, revision)
            await self._send("PUT", f"{PATH}/{SHARED}", SHARED, "PUT", value, body)

    async def _send(
        self, method: str, path: str, key: str, kind: Literal["PUT", "DELETE"], value: str, body: Any
    ) -> None:
        write = self._judge.begins(key, kind, value)
        try:
            status, answer = await self._request(method, path, body)
        except Unknown:
            self._doubtful.add(key)
            raise
        if status < 300:
            self._answered(write, answer)
        elif status == 409 and key == SHARED:
            self._judge.refused(write)
        elif status in (500, 503, 504):
            self._doubtful.add(key)
            raise Unknown
        else:
            raise Violation(f"{method} {key} (held: {self._held.get(key)}) was refused: {status} {answer}")

    def _answered(self, write: Write, answer: Any) -> None:
        if write.kind == "DELETE":
            self._judge.answered(write, 0)
            self._held.pop(write.key, None)
            return
        revision = int(answer["metadata"]["resourceVersion"])
        if answer["data"]["v"] != write.value:
            raise Violation(f"{write} was answered with {answer['data']['v']}")
        self._judge.answered(write, revision)
        self._held[write.key] = (revision, write.value)

    async def _request(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = orjson.dumps(body) if body is not None else None
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers={"Content-Type": kind}
            ) as answer:
                return answer.status, orjson.loads(await answer.read())
        except (*_BROKEN, orjson.JSONDecodeError) as error:
            raise Unknown from error

    # Watching

    async def _watch(self, name: str, only: str) -> None:
        told: Told | None = None
        chance = random.Random(name)
        while True:
            try:
                if told is None:
                    told = await self._list(name, only)
                if not await self._follow(told, only, chance.randint(1, 5)):
                    self._judge.forget(told)
                    told = None
                    self.relists += 1
            except (*_BROKEN, Unknown):
                await asyncio.sleep(0.02)

    async def _list(self, name: str, only: str) -> Told:
        query = f"?fieldSelector=metadata.name%3D{only}" if only else ""
        status, found = await self._request("GET", PATH + query, None)
        if status != 200:
            raise Unknown
        revision = int(found["metadata"]["resourceVersion"])
        if not only:
            self._judge.listed(name, revision, {o["metadata"]["name"]: _state(o) for o in found["items"]})
        return self._judge.watches(name, revision, only)

    async def _follow(self, told: Told, only: str, seconds: int) -> bool:
        """False when the revision is too old."""
        selector = f"&fieldSelector=metadata.name%3D{only}" if only else ""
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={told.revision}&timeoutSeconds={seconds}{selector}"
        async with self._session.get(self._url + PATH + query) as answer:
            if answer.status == 410:
                return False
            if answer.status != 200:
                raise Unknown
            async for line in answer.content:
                if not line.endswith(b"\n"):
                    break  # cut off in the middle
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    return bool(event["object"]["code"] != 410)
                revision = int(event["object"]["metadata"]["resourceVersion"])
                if event["type"] != "BOOKMARK":
                    told.events.append(_happened(event["type"], revision, event["object"]))
                elif revision < told.revision:
                    raise Violation(f"{told.name}: a bookmark went back from {told.revision} to {revision}")
                told.revision = revision
        return True


def _object(name: str, value: str, revision: int = 0) -> Any:
    meta = {"name": name, **({"resourceVersion": str(revision)} if revision else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value, "pad": _PAD}}


def _state(obj: Any) -> tuple[int, str]:
    return int(obj["metadata"]["resourceVersion"]), obj["data"]["v"]


def _happened(kind: str, revision: int, obj: Any) -> Happened:
    name = obj["metadata"]["name"]
    if kind == "DELETED":
        return Happened(revision, "DELETE", name, "")
    return Happened(revision, "PUT", name, obj["data"]["v"])
