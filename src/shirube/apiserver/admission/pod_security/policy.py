"""Which standard, in which version, the modes of Pod Security go by: labels of namespaces, and defaults for the rest.

The defaults, and who is exempt, come from the admission configuration (PodSecurityConfiguration). Labels that are wrong
are read as upstream reads them: enforcing becomes restricted, auditing and warning are off. Where a namespace enforces
a stricter standard than it warns of, and does not say what to warn of, it is warned of what is enforced.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from shirube.api import names
from shirube.apiserver.configuration_file import ConfigurationError, Fields, of_kind

Json = dict[str, Any]
PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)")
KINDS = tuple(
    (f"pod-security.admission.config.k8s.io/{version}", "PodSecurityConfiguration")
    for version in ("v1", "v1beta1", "v1alpha1")
)


class Standard(NamedTuple):
    level: str = "privileged"
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


class Policy(NamedTuple):
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


class Configuration(NamedTuple):
    defaults: Policy = Policy()
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def of_labels(labels: Json, defaults: Policy) -> Policy:
    """What holds in a namespace of these labels."""
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults
    enforce = Standard(_level(labels, "enforce", defaults.enforce, "restricted"), _version(labels, "enforce", defaults))
    audit = Standard(_level(labels, "audit", defaults.audit, "privileged"), _version(labels, "audit", defaults))
    warn = Standard(_level(labels, "warn", defaults.warn, "privileged"), _version(labels, "warn", defaults))
    said = labels.get(PREFIX + "enforce") in LEVELS and PREFIX + "warn" not in labels
    if said and LEVELS.index(enforce.level) > LEVELS.index(warn.level):
        version = warn.version if f"{PREFIX}warn-version" in labels else enforce.version
        warn = Standard(enforce.level, version)
    return Policy(enforce, audit, warn)


def _level(labels: Json, mode: str, default: Standard, wrong: str) -> str:
    level = labels.get(PREFIX + mode)
    if level is None:
        return default.level
    return str(level) if level in LEVELS else wrong


def _version(labels: Json, mode: str, defaults: Policy) -> str:
    version = labels.get(f"{PREFIX}{mode}-version")
    if version is None:
        return str(getattr(defaults, mode).version)
    return version if VERSION.fullmatch(version) else "latest"


def read_configuration(value: Any, where: str) -> Configuration:
    """Raises ConfigurationError."""
    fields = of_kind(value, where, KINDS)
    defaults = fields.object("defaults") or Fields({}, fields.at("defaults"))
    policy = Policy(*(Standard(_read_level(defaults, mode), _read_version(defaults, mode)) for mode in MODES))
    defaults.done()
    exempt = fields.object("exemptions") or Fields({}, fields.at("exemptions"))
    made = Configuration(
        policy,
        _once(exempt, "usernames", lambda name: [] if name else ["must not be empty"]),
        _once(exempt, "runtimeClasses", names.is_dns1123_subdomain),
        _once(exempt, "namespaces", names.is_dns1123_label),
    )
    exempt.done()
    fields.done()
    return made


def _read_level(fields: Fields, mode: str) -> str:
    level = fields.text(mode, "privileged")
    if level not in LEVELS:
        raise ConfigurationError(f'{fields.at(mode)}: Invalid value: "{level}": must be one of {", ".join(LEVELS)}')
    return level


def _read_version(fields: Fields, mode: str) -> str:
    name = f"{mode}-version"
    version = fields.text(name, "latest")
    if not VERSION.fullmatch(version):
        raise ConfigurationError(f'{fields.at(name)}: Invalid value: "{version}": must be "latest" or "v1.x"')
    return version


def _once(fields: Fields, name: str, wrong: Any) -> frozenset[str]:
    given = fields.texts(name)
    for n, each in enumerate(given):
        where = f"{fields.at(name)}[{n}]"
        if why := wrong(each):
            raise ConfigurationError(f'{where}: Invalid value: "{each}": {", ".join(why)}')
        if each in given[:n]:
            raise ConfigurationError(f'{where}: Duplicate value: "{each}"')
    return frozenset(given)
