"""`status` of ValidatingAdmissionPolicies: which generation has been looked at.

Expressions are compiled when they are written, so there is nothing to warn of here: `typeChecking` is there, and
empty, which is how clients know that the check is over. Types of the objects that a policy matches are not checked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from shirube.api.errors import ApiError
from shirube.api.gvr import VALIDATINGADMISSIONPOLICIES
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
LOOK = 0.5  # seconds between two looks at whether something changed

_logger = log.get("policies")


async def keep(server: ServerContext) -> None:
    """Until cancelled."""
    seen = -1
    while True:
        revision = server.reader.revision(VALIDATINGADMISSIONPOLICIES)
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
        if _observed(obj) is None:
            continue
        try:
            name = obj["metadata"]["name"]
            await server.store.guaranteed_update(VALIDATINGADMISSIONPOLICIES, "", name, _observed, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _observed(obj: Json) -> Json | None:
    """The policy with its status; None when it has it."""
    status, generation = obj.get("status") or {}, obj["metadata"].get("generation", 1)
    if status.get("observedGeneration") == generation and "typeChecking" in status:
        return None
    return {**obj, "status": {**status, "observedGeneration": generation, "typeChecking": {}}}
