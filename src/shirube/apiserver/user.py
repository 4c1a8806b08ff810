"""Who asks: the outcome of authentication, as `user.Info` upstream. Immutable, cheap to share and to hash by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

    def info(self) -> dict[str, Any]:
        """As a UserInfo of authentication.k8s.io, a copy of its own."""
        made: dict[str, Any] = {"username": self.name}
        if self.uid:
            made["uid"] = self.uid
        if self.groups:
            made["groups"] = list(self.groups)
        if self.extra:
            made["extra"] = {key: list(values) for key, values in self.extra.items()}
        return made


# The server itself, for what it writes on its own account (bootstrap objects, allocators). Never on the wire.
SERVER = User("system:apiserver", groups=(MASTERS, ALL_AUTHENTICATED))
