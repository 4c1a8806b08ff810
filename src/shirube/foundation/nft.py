"""Handing a transaction to nftables: all of it takes effect at once, or nothing does."""

from __future__ import annotations

from shirube.foundation.programs import ProgramError, run


class NftError(Exception):
    """nft refused a transaction; the message is its own."""


async def apply(script: str, timeout: float = 30.0) -> None:
    """Run `nft -f -` on `script` in this process's network namespace."""
    try:
        await run("nft", "-f", "-", given=script, timeout=timeout)
    except ProgramError as error:
        raise NftError(f"cannot program nftables: {error}") from error
