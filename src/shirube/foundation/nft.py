"""Handing a transaction to nftables: all of it takes effect at once, or nothing does."""

from __future__ import annotations

import asyncio


class NftError(Exception):
    """nft refused a transaction; the message is its own."""


async def apply(script: str, timeout: float = 30.0) -> None:
    """Run `nft -f -` on `script` in this process's network namespace."""
    process = await asyncio.create_subprocess_exec(
        "nft",
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    try:
        async with asyncio.timeout(timeout):
            _, said = await process.communicate(script.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        first = said.decode(errors="replace").strip().splitlines()[:3]
        raise NftError("cannot program nftables: " + " / ".join(first))
