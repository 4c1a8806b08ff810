"""`--runtime-config`: which API versions are served that are off by default.

The syntax is upstream's, KEY=VALUE pairs with commas between: `api/all`, `api/beta`, `api/alpha`, `api/ga`,
`GROUP/VERSION` and `GROUP/VERSION/RESOURCE`, each `=true` or `=false` (nothing: true). The narrower key decides. What
is on by default cannot be turned off: the control plane itself needs it. Keys that mean nothing here are refused, so
that nobody believes to have turned on what is not there.
"""

from __future__ import annotations

from shirube.api.resources import BUILTIN, OPTIONAL, Resource

_STABILITY = {"api/ga": "", "api/beta": "beta", "api/alpha": "alpha"}
_VALUES = {"": True, "true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class RuntimeConfigError(ValueError):
    """The option cannot be understood, or asks for what is not there."""


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
        found[key] = _VALUES[value.lower()]
        _check(key, found[key])
    return found


def _check(key: str, on: bool) -> None:
    why = ""
    if key == "api/all" or key in _STABILITY:
        if not on and key in ("api/all", "api/ga"):
            why = "what is on by default is needed by the control plane and cannot be turned off"
    elif any(key in _names(resource) for resource in BUILTIN):
        if not on:
            why = "it is on by default, the control plane needs it"
    elif not any(key in _names(resource) for resource in OPTIONAL):
        keys = ", ".join(["api/all", *_STABILITY, *known()])
        why = f"there is no such API here; what can be turned on: {keys}"
    if why:
        raise RuntimeConfigError(f"cannot use --runtime-config {key}={str(on).lower()}: {why}")


def _names(resource: Resource) -> tuple[str, str]:
    return resource.group_version, f"{resource.group_version}/{resource.name}"


def served(text: str) -> list[Resource]:
    """Which resources to serve beside those that always are. Raises RuntimeConfigError."""
    config = parse(text)
    return [resource for resource in OPTIONAL if _on(resource, config)]


def _on(resource: Resource, config: dict[str, bool]) -> bool:
    group_version, whole = _names(resource)
    stability = next((key for key, word in _STABILITY.items() if word and word in resource.version), "api/ga")
    for key in (whole, group_version, stability, "api/all"):
        if key in config:
            return config[key]
    return False
