"""What leaves the pod network gets the address of the machine that it leaves from. Rules as text; pure."""

from __future__ import annotations

from collections.abc import Sequence

from shirube.foundation.address_family import BOTH, Family

_NAME = "shirube_network"


def script(sources: Sequence[str], inside: Sequence[str]) -> str:
    """Masquerade what comes from `sources` and does not go to `inside` (CIDRs of both families), as one transaction."""
    return "".join(_table(f, f.among(sources), f.among(inside)) for f in BOTH if f.among(sources))


def removal() -> str:
    """Take the rules away."""
    return "".join(f"add table {f.word} {_NAME}\ndelete table {f.word} {_NAME}\n" for f in BOTH)


def _table(family: Family, sources: list[str], inside: list[str]) -> str:
    name, ip = f"{family.word} {_NAME}", family.word
    return "\n".join(
        [
            f"add table {name}",
            f"delete table {name}",
            f"add table {name}",
            f"add chain {name} postrouting {{ type nat hook postrouting priority srcnat; }}",
            f"add rule {name} postrouting {ip} saddr {{ {', '.join(sorted(sources))} }} "
            f"{ip} daddr != {{ {', '.join(sorted(inside))} }} masquerade",
            "",
        ]
    )
