"""`status` of ValidatingAdmissionPolicies: which generation has been looked at, and what `type_checking` says of it.

`typeChecking` is there also when it has nothing to say, which is how clients know that the check is over. Policies are
looked at again when what they match changes.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from shirube.api.errors import ApiError
from shirube.api.gvr import VALIDATINGADMISSIONPOLICIES
from shirube.apiserver.policies import type_checking
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
LOOK = 0.5  # seconds between two looks at whether something changed

_logger = log.get("policies")


async def keep(server: ServerContext) -> None:
    """Until cancelled."""
    seen: Any = None
    while True:
        revision = (server.reader.revision(VALIDATINGADMISSIONPOLICIES), server.table.generation)
        if revision != seen:
            try:
                await settle(server)
                seen = revision
            except (ApiError, StorageError) as error:
                _logger.warning("cannot keep the status of policies", error=str(error))
        await asyncio.sleep(LOOK)


async def settle(server: ServerContext) -> None:
    """Write what is missing. Raises ApiError, StorageError."""
    for obj in server.reader.list(VALIDATINGADMISSIONPOLICIES):
        found = type_checking.warnings(obj, server.table)
        change = functools.partial(_observed, warnings=found)
        if change(obj) is None:
            continue
        try:
            name = obj["metadata"]["name"]
            await server.store.guaranteed_update(VALIDATINGADMISSIONPOLICIES, "", name, change, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _observed(obj: Json, warnings: list[Json]) -> Json | None:
    """The policy with its status; None when it has it."""
    status, generation = obj.get("status") or {}, obj["metadata"].get("generation", 1)
    checking = {"expressionWarnings": warnings} if warnings else {}
    if status.get("observedGeneration") == generation and status.get("typeChecking") == checking:
        return None
    return {**obj, "status": {**status, "observedGeneration": generation, "typeChecking": checking}}
