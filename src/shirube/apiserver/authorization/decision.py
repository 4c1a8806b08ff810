"""What an authoriser answers."""

from __future__ import annotations

from typing import NamedTuple


class Decision(NamedTuple):
    allowed: bool
    reason: str = ""
    final: bool = False  # a refusal that no other authoriser is asked about
