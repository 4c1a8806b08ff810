"""How simulated processes reach the API server: straight into the server's `handle`, with a little time on the way.

A `Process` is what shares a fate: its clients' requests stop when it dies. `Wire` implements `client.rest.Transport`
for one user of one process. Each request takes a seeded moment there and back, so the order in which processes act
differs from seed to seed as it does on a network. Who asks is believed (`Identities`): authentication is tested
elsewhere and signatures would differ from run to run; authorisation and admission are the real ones.

A process may be told to die at one of its writes (`Death`): before the write is sent, or after it took effect and
before the answer comes back. Events, tokens and reviews are not counted: nothing is built on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shirube.apiserver.authentication import Authenticator
from shirube.apiserver.user import User
from shirube.client.rest import Client, unreachable
from shirube.foundation.chance import Chance
from shirube.serving.messages import Headers, Peer, Request, Response
from shirube.simulation.load import Serving

WHO = "x-simulated-user"
_UNCOUNTED = ("events", "token", "subjectaccessreviews", "selfsubjectaccessreviews", "tokenreviews")


class Identities:
    """In the place of the server's authenticator: whoever says who it is, is."""

    def __init__(self, real: Authenticator) -> None:
        self.tokens, self.audiences = real.tokens, real.audiences
        self._users: dict[str, User] = {}

    async def authenticate(self, headers: Headers, peer: Peer, remarks: object = None) -> User:
        name = headers.get(WHO) or "system:anonymous"
        user = self._users.get(name)
        if user is None:
            user = self._users[name] = User(name, groups=(*_groups(name), "system:authenticated"))
        return user


def _groups(name: str) -> tuple[str, ...]:
    if name == "kubernetes-admin":
        return ("system:masters",)
    if name.startswith("system:node:"):
        return ("system:nodes",)
    if name.startswith("system:serviceaccount:"):
        return ("system:serviceaccounts", "system:serviceaccounts:" + name.split(":")[2])
    return ()


class Call(NamedTuple):
    method: str
    path: str
    status: int


class Death(NamedTuple):
    """Where a process dies: at its write number `write` (from 1), which takes effect or does not."""

    write: int
    applied: bool


@dataclass(slots=True)
class Process:
    name: str
    death: Death | None = None
    calls: list[Call] = field(default_factory=list)  # writes that took effect or were refused, when `record` is on
    record: bool = False
    writes: int = 0
    cut_off: bool = False  # its machine is away: requests fail as on a network that is down
    dead: asyncio.Event = field(default_factory=asyncio.Event)


class Answer:
    """What came back, as `client.rest` reads it."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {k.title(): v for k, v in response.headers}
        self._body = response.body

    async def read(self) -> bytes:
        if isinstance(self._body, bytes):
            return self._body
        return b"".join([chunk async for chunk in self._body])

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self._body, bytes):
            yield self._body
            return
        try:
            async for chunk in self._body:
                if chunk:
                    yield chunk
        finally:
            await self._body.aclose()  # type: ignore[attr-defined]

    def close(self) -> None:
        """The body is closed by whoever iterates over it."""


class Wire:
    """Implements `client.rest.Transport`."""

    def __init__(self, server: Callable[[], Serving], process: Process, user: str, chance: Chance) -> None:
        """`server` is asked anew for each request: it may have been started again."""
        self._server, self._process, self._user, self._chance = server, process, user, chance

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        process = self._process
        await self._pass()
        path, _, query = target.partition("?")
        counted = method != "GET" and path.rsplit("/", 1)[-1] not in _UNCOUNTED and not _about_events(path)
        if counted:
            process.writes += 1
            if process.death == Death(process.writes, False):
                await self._die()
        request = Request.of(method, target, [*headers.items(), (WHO, self._user)], body or b"")
        response = await self._server().handle(request)
        if not isinstance(response, Response):
            raise unreachable("tunnels do not exist in a simulation")
        if counted:
            if process.record:
                process.calls.append(Call(method, path, response.status))
            if process.death == Death(process.writes, True):
                await self._die()
        if "watch=true" not in query:
            await self._pass()
        return Answer(response)

    async def _pass(self) -> None:
        """On the way. Who is dead sends nothing more."""
        if self._process.dead.is_set():
            await asyncio.Event().wait()
        await asyncio.sleep(self._chance.uniform(0.0002, 0.002))
        if self._process.dead.is_set():
            await asyncio.Event().wait()
        if self._process.cut_off:
            raise unreachable("the network is down")

    async def _die(self) -> None:
        self._process.dead.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing is held open."""


def _about_events(path: str) -> bool:
    parts = path.split("/")
    return "events" in parts[-2:]


def client(server: Callable[[], Serving], process: Process, user: str, chance: Chance) -> Client:
    return Client(Wire(server, process, user, chance), process.name)


def account(name: str) -> str:
    """The user of a controller's own service account."""
    return f"system:serviceaccount:kube-system:{name}"
