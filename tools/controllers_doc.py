"""docs/controllers.md from the controllers' table: what each does, what it watches, as whom it acts.

.venv/bin/python tools/controllers_doc.py            writes it
.venv/bin/python tools/controllers_doc.py --check    fails when it is stale
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from shirube.controllers.table import CONTROLLERS, EVERYTHING, Row

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "controllers.md"
_HEAD = """# Controllers

Made of the table in `src/shirube/controllers/table.py` by `tools/controllers_doc.py`: do not edit. Each controller is
one module with one `reconcile`; names are upstream's (`--controllers`), and each acts through ServiceAccounts of
`kube-system` with the roles `system:controller:ACCOUNT`. What it watches it reads from caches that all of them share.

| controller | what it does | watches | acts as |
| --- | --- | --- | --- |
"""


def _does(row: Row) -> str:
    """How its module begins; where several share a module, its class."""
    module = importlib.import_module(f"shirube.controllers.{row.module}")
    shared = sum(other.module == row.module for other in CONTROLLERS) > 1
    text = inspect.cleandoc((shared and vars(getattr(module, row.factory)).get("__doc__")) or module.__doc__ or "")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def _watches(row: Row) -> str:
    return ", ".join("everything (metadata)" if gvr == EVERYTHING else gvr.resource for gvr in row.watches)


def document() -> str:
    lines = [
        f"| [{row.name}](../src/shirube/controllers/{row.module}.py) | {_does(row)} | {_watches(row)} | "
        f"{', '.join(row.accounts) or 'the process itself'} |"
        for row in CONTROLLERS
    ]
    return _HEAD + "\n".join(lines) + "\n"


def main() -> int:
    text = document()
    if "--check" not in sys.argv:
        DOCUMENT.write_text(text)
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        print("docs/controllers.md is stale: run .venv/bin/python tools/controllers_doc.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
