"""What leaves the pod network gets the address of the machine that it leaves from. Rules as text; pure."""

from __future__ import annotations

from collections.abc import Iterable

TABLE = "ip shirube_network"


def script(sources: Iterable[str], inside: Iterable[str]) -> str:
    """Masquerade what comes from `sources` and does not go to `inside` (CIDRs), as one transaction."""
    outside = ", ".join(sorted(inside))
    return "\n".join(
        [
            f"add table {TABLE}",
            f"delete table {TABLE}",
            f"add table {TABLE}",
            f"add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}",
            f"add rule {TABLE} postrouting ip saddr {{ {', '.join(sorted(sources))} }} "
            f"ip daddr != {{ {outside} }} masquerade",
            "",
        ]
    )
