"""Who asks: the outcome of authentication, as `user.Info` upstream. Immutable, cheap to share and to hash by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANONYMOUS = "system:anonymous"
ALL_AUTHENTICATED = "system:authenticated"
ALL_UNAUTHENTICATED = "system:unauthenticated"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


# The server itself, for what it writes on its own account (bootstrap objects, allocators). Never on the wire.
SERVER = User("system:apiserver", groups=(MASTERS, ALL_AUTHENTICATED))
