"""The CEL engine's package, imported without its command line, whose consoles and colours take 12 MB of every process
that judges an expression."""

from __future__ import annotations

import sys
from types import ModuleType

sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))

import cel  # noqa: E402

__all__ = ["cel"]
