"""`--runtime-config`: which APIs a server serves.

The syntax is upstream's, KEY=VALUE pairs with commas between: `api/all`, `api/ga`, `api/beta`, `api/alpha`,
`GROUP/VERSION` and `GROUP/VERSION/RESOURCE` (of the core group `v1`, also written `/v1` or `api/v1`), each `=true` or
`=false` (nothing: true). The narrower key decides. Keys that mean nothing here are refused, so that nobody believes to
have turned on or off what is not there, and so is `api/all=false` alone, which would leave nothing.

What is off is not routed, not in discovery or OpenAPI, and no kind that parameters or bodies could be of. The server
itself goes on reading and writing it: its namespaces, roles and flow schemas hold whether somebody may look at them or
not, and objects that are stored stay and come back with the API. `ServedTable` is that difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from shirube.api.gvr import GVR
from shirube.api.resources import BUILTIN, OPTIONAL, Resource, ResourceTable

_STABILITY = {"api/ga": "", "api/beta": "beta", "api/alpha": "alpha"}
_VALUES = {"": True, "true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class RuntimeConfigError(ValueError):
    """The option cannot be understood, or asks for what is not there."""


class ServedTable(ResourceTable):
    """A table of which some resources are kept for the server's own use: `by_gvr` and iteration know them, what asks
    by path, kind, group or version does not."""

    def __init__(self, served: Iterable[Resource], kept: Iterable[Resource]) -> None:
        super().__init__(served)
        self._kept = {resource.gvr: resource for resource in kept}

    def copy(self) -> ServedTable:
        made = ServedTable(self._by_path.values(), self._kept.values())
        made._fixed_groups = self._fixed_groups
        return made

    def by_gvr(self, gvr: GVR) -> Resource | None:
        return super().by_gvr(gvr) or self._kept.get(gvr)

    def __iter__(self) -> Iterator[Resource]:
        return chain(self._by_path.values(), self._kept.values())


def known() -> list[str]:
    """The group versions that can be turned on."""
    return sorted({resource.group_version for resource in OPTIONAL})


def parse(text: str) -> dict[str, bool]:
    """The option as a table; of two that say the same the later counts. Raises RuntimeConfigError."""
    found: dict[str, bool] = {}
    for pair in (part.strip() for part in text.split(",")):
        if not pair:
            continue
        key, _, value = pair.partition("=")
        if value.lower() not in _VALUES:
            raise RuntimeConfigError(f"cannot use --runtime-config {pair}: {value!r} is neither true nor false")
        key = _key(key)
        found[key] = _VALUES[value.lower()]
        _check(key, found[key])
    if found == {"api/all": False}:
        raise RuntimeConfigError(
            "cannot use --runtime-config api/all=false: it would leave nothing to serve; say what is on beside it"
        )
    return found


def _key(text: str) -> str:
    """The core group has three names."""
    for prefix in ("/", "api/"):
        rest = text.removeprefix(prefix)
        if rest != text and (rest == "v1" or rest.startswith("v1/")):
            return rest
    return text


def _check(key: str, on: bool) -> None:
    if key == "api/all" or key in _STABILITY:
        return
    if not any(key in _names(resource) for resource in chain(BUILTIN, OPTIONAL)):
        keys = ", ".join(["api/all", *_STABILITY, *known()])
        said = f"{key}={str(on).lower()}"
        raise RuntimeConfigError(
            f"cannot use --runtime-config {said}: there is no such API here; what can be turned on: {keys}"
        )


def _names(resource: Resource) -> tuple[str, str]:
    return resource.group_version, f"{resource.group_version}/{resource.name}"


def served(text: str) -> list[Resource]:
    """Which resources to serve beside those that are by default. Raises RuntimeConfigError."""
    config = parse(text)
    return [resource for resource in OPTIONAL if _on(resource, config, False)]


def turned_off(text: str) -> list[Resource]:
    """Which resources not to serve of those that are by default. Raises RuntimeConfigError."""
    config = parse(text)
    return [resource for resource in BUILTIN if not _on(resource, config, True)]


def table_of(text: str) -> ResourceTable:
    """The table of a server with that option. Raises RuntimeConfigError."""
    off = {resource.gvr: resource for resource in turned_off(text)}
    table = ServedTable((r for r in BUILTIN if r.gvr not in off), off.values()) if off else BUILTIN.copy()
    for resource in served(text):
        table.add(resource)
    return table


def _on(resource: Resource, config: dict[str, bool], by_default: bool) -> bool:
    group_version, whole = _names(resource)
    stability = next((key for key, word in _STABILITY.items() if word and word in resource.version), "api/ga")
    for key in (whole, group_version, stability, "api/all"):
        if key in config:
            return config[key]
    return by_default
