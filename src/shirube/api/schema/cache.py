"""Where the compiled schemas are, and reading rows from them.

The folder is `share/shirube/schema-<hash>` below `sys.prefix` (below the user's cache folder when that cannot be
written), named by a hash of all that goes in: this package's sources, the tables of resources, the size of the
published definitions, and the interpreter. A changed row or a new release of the definitions is a new folder;
nothing is ever changed in place.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import marshal
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

RELEASE = "v1.36.0"
_API = Path(__file__).parent.parent
_INPUTS = ("schema/*.py", "groups/*.py", "openapi/*.py", "resources.py", "discovery.py")


class Index(NamedTuple):
    """What is compiled: where each definition's row is, and which definition a kind has."""

    definitions: dict[str, tuple[int, int]]
    kinds: dict[tuple[str, str, str], str]


def source_file() -> Path:
    """The file of published definitions; the package itself is not imported."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "cannot compile the API schemas: the package kubernetes-validate is not installed; run `make setup`"
        )
    file = Path(spec.origin).parent / "kubernetes-json-schema" / f"{RELEASE}-local" / "_definitions.json"
    if not file.is_file():
        raise RuntimeError(
            f"cannot compile the API schemas: kubernetes-validate has no definitions of {RELEASE} at {file}"
        )
    return file


@functools.cache
def folder() -> Path:
    """The folder of this version of the schemas, whether it is there or not."""
    digest = hashlib.sha256(f"{RELEASE} {source_file().stat().st_size} {sys.version}".encode())
    for pattern in _INPUTS:
        for file in sorted(_API.glob(pattern)):
            digest.update(file.read_bytes())
    name = f"schema-{digest.hexdigest()[:16]}"
    shared = Path(sys.prefix) / "share" / "shirube"
    if (shared / name / "index").is_file() or _writable(shared):
        return shared / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shirube" / name


def _writable(path: Path) -> bool:
    existing = next(p for p in (path, *path.parents) if p.exists())
    return os.access(existing, os.W_OK)


def ready() -> Path:
    """The folder, compiled now when it is not there (a fifth of a second, once per installation)."""
    path = folder()
    if not (path / "index").is_file():
        from shirube.api.schema.compile import build  # the compiler stays out of processes that never need it

        build(path)
    return path


@functools.cache
def index() -> Index:
    return Index(**marshal.loads((ready() / "index").read_bytes()))  # noqa: S302 - our own file


@functools.cache
def _types_file() -> int:
    # Kept open: a newer program may forget this folder while we run.
    return os.open(ready() / "types", os.O_RDONLY | os.O_CLOEXEC)


def row(name: str) -> dict[str, Any]:
    """The compiled row of a definition. KeyError when there is none of that name."""
    offset, length = index().definitions[name]
    return marshal.loads(os.pread(_types_file(), length, offset))  # noqa: S302 - our own file


def document(name: str) -> bytes:
    """An OpenAPI fragment or document by its path below `openapi/`."""
    return (ready() / "openapi" / name).read_bytes()
