"""What every controller is given: shared caches, its own identity, a voice, time and chance."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from pathlib import Path

from shirube.api.gvr import GVR
from shirube.client.events import EventRecorder
from shirube.client.informer import Informer, InformerFactory
from shirube.client.rest import Client
from shirube.controllers.projections import PROJECTIONS, ownership_only
from shirube.controllers.table import EVERYTHING, Row
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock


class Context:
    """`reader` follows collections for all; `client_of(account)` is the identity that a controller writes with.

    `of(row)` is the same for one controller, which can do only what its row of the table says.
    """

    def __init__(
        self,
        reader: Client,
        client_of: Callable[[str], Client],
        *,
        clock: Clock = SYSTEM,
        chance: Chance | None = None,
        cluster_cidr: str = "10.244.0.0/16",
        node_mask: int = 24,
        node_mask_v6: int = 64,
        service_cidr: str = "",
        node_monitor_grace: float = 40.0,
        root_ca: Path | None = None,
        signing_cert: Path | None = None,
        signing_key: Path | None = None,
        service_account_key: Path | None = None,
        local_path_directory: str = "/var/lib/shirube/local-path",
        legacy_token_clean_up: float = 365 * 24 * 3600.0,
    ) -> None:
        self.reader = reader
        self._client_of = client_of
        self._row: Row | None = None
        self.clock = clock
        self.chance = chance or Chance()
        self.cluster_cidr = cluster_cidr
        self.node_mask = node_mask
        self.node_mask_v6 = node_mask_v6
        self.service_cidr = service_cidr
        self.node_monitor_grace = node_monitor_grace
        self.root_ca = root_ca
        self.signing_cert = signing_cert
        self.signing_key = signing_key
        self.service_account_key = service_account_key
        self.local_path_directory = local_path_directory
        self.legacy_token_clean_up = legacy_token_clean_up
        self.factory = InformerFactory(reader, chance=self.chance)
        self._recorders: dict[str, EventRecorder] = {}
        self._closing: list[Callable[[], Awaitable[None]]] = []

    def of(self, row: Row) -> Context:
        """The context of one controller: everything is shared, nothing goes beyond its row."""
        own = copy.copy(self)
        own._row = row
        return own

    def client_of(self, account: str) -> Client:
        if self._row is not None and account not in self._row.accounts:
            raise ValueError(f"{self._row.name} acts as {account}, which its row of the table does not say")
        return self._client_of(account)

    def informer(self, gvr: GVR, *, metadata_only: bool = False) -> Informer:
        """The process's one informer of this collection, with what the projections table leaves of it.

        `metadata_only`: names, owners and finalizers are enough for this one, and all there is if nobody asked before.
        """
        self._check_watched(gvr)
        projection = ownership_only if metadata_only else PROJECTIONS.get(gvr)
        return self.factory.informer(gvr, projection=projection, metadata_only=metadata_only)

    def _check_watched(self, gvr: GVR) -> None:
        row = self._row
        if row is not None and gvr not in row.watches and EVERYTHING not in row.watches:
            raise ValueError(f"{row.name} watches {gvr.resource}, which its row of the table does not say")

    def recorder(self, component: str, account: str) -> EventRecorder:
        if component not in self._recorders:
            self._recorders[component] = EventRecorder(self.client_of(account), component, clock=self.clock)
        return self._recorders[component]

    def on_close(self, function: Callable[[], Awaitable[None]]) -> None:
        self._closing.append(function)

    async def close(self, seconds: float = 1.0) -> None:
        """Stop; each recorder has so long to write what it still has to say."""
        for recorder in self._recorders.values():
            await recorder.close(seconds)
        for function in self._closing:
            await function()
