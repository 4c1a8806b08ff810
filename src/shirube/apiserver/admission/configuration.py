"""AdmissionConfiguration (`apiserver.config.k8s.io/v1`): what plugins are told, in one file, when the server starts.

Each entry names a plugin and has its configuration inline (`configuration`) or in a file of its own (`path`, relative
to this one). The file is read once, as upstream reads it: a server that decides differently was started differently.
Stricter than upstream, which passes over what it does not know: unknown fields and keys that are set twice, plugins
that are named twice, do not exist or cannot be configured are errors that name the file and the field.
See "How do I configure admission controllers?" in the upstream documentation of kube-apiserver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shirube.api import decode
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.table import EVERY
from shirube.apiserver.configuration_file import ConfigurationError, Fields, of_kind, value_of

KINDS = (
    ("apiserver.config.k8s.io/v1", "AdmissionConfiguration"),
    ("apiserver.k8s.io/v1alpha1", "AdmissionConfiguration"),
)


def load(path: Path) -> dict[str, Any]:
    """Configurations by the names of plugins. Raises ConfigurationError."""
    data = _bytes(path)
    try:
        return read(data, path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"cannot use {path}: {error}") from error


def read(data: bytes, directory: Path) -> dict[str, Any]:
    """Configurations by the names of plugins; `directory` is where paths begin. Raises ConfigurationError."""
    made: dict[str, Any] = {}
    for entry in _entries(data):
        name = entry.text("name", required=True)
        plugin = _configurable(entry, name)
        if name in made:
            raise ConfigurationError(f'{entry.at("name")}: Duplicate value: "{name}"')
        made[name] = _configuration(entry, plugin, directory)
    return made


def files(data: bytes, directory: Path) -> list[Path]:
    """The files that entries name. Raises ConfigurationError."""
    return [directory / path for entry in _entries(data) if (path := entry.text("path"))]


def _entries(data: bytes) -> list[Fields]:
    fields = of_kind(_strict(data), "", KINDS)
    entries = fields.objects("plugins")
    fields.done()
    return entries


def _configurable(entry: Fields, name: str) -> type[Plugin]:
    plugin = next((p for p in EVERY if p.name == name), None)
    if plugin is not None and plugin.read is not None:
        return plugin
    known = ", ".join(f'"{p.name}"' for p in EVERY if p.read is not None)
    if plugin is not None:
        raise ConfigurationError(
            f"{entry.at('name')}: {name} has nothing to configure; plugins are turned on with "
            f"--enable-admission-plugins; those with a configuration: {known}"
        )
    raise ConfigurationError(f'{entry.at("name")}: Unsupported value: "{name}": supported values: {known}')


def _configuration(entry: Fields, plugin: type[Plugin], directory: Path) -> Any:
    assert plugin.read is not None
    path, inline = entry.text("path"), entry.value("configuration")
    entry.done()
    if path and inline is not None:
        raise ConfigurationError(
            f'{entry.at("path")}: Invalid value: "{path}": cannot be set together with configuration'
        )
    if inline is not None:
        return plugin.read(inline, entry.at("configuration"))
    if not path:
        raise ConfigurationError(f"{entry.at('configuration')}: Required value: or path, for plugin {plugin.name}")
    where = directory / path
    try:
        return plugin.read(_strict(_bytes(where)), "")
    except ConfigurationError as error:
        raise ConfigurationError(f"{entry.at('path')}: {where}: {error}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _strict(data: bytes) -> Any:
    value = value_of(data)
    if twice := decode.yaml_duplicates(data):
        raise ConfigurationError(twice[0])
    return value
