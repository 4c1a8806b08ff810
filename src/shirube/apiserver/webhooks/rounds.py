"""Reinvocation: what the first round of mutating admission leaves for the second.

Whoever was called before the object changed, and asks for it, is called again; nobody is called for the first time in
the second round. Webhooks and mutating policies keep their own account each. Follows upstream's reinvocation contexts.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rounds:
    called: set[Hashable] = field(default_factory=set)
    again: set[Hashable] = field(default_factory=set)
    last: bytes = b""  # the object as this plugin left it

    def changed(self) -> None:
        """The object is another one now: those called so far must see it."""
        self.again |= self.called
        self.called = set()
