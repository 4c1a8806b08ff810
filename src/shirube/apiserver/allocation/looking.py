"""What looks after allocation beside the requests: again and again, whatever the store says meanwhile."""

from __future__ import annotations

import asyncio
from typing import Protocol

from shirube.api.errors import ApiError
from shirube.foundation import log
from shirube.storage.types import StorageError

_logger = log.get("allocation")


class Looking(Protocol):
    async def look(self) -> None:
        """Raises StorageError, ApiError (the caches are not current)."""

    async def close(self) -> None: ...


async def keep_looking(who: Looking, at: str, seconds: float) -> None:
    """Until cancelled. `at`: what is looked after, for the log."""
    try:
        while True:
            try:
                await who.look()
            except (StorageError, ApiError) as error:
                _logger.warning(f"cannot look after {at}", error=str(error))
            await asyncio.sleep(seconds)
    finally:
        await who.close()
