"""Plugins that register by a socket: who puts one into ROOT/plugins_registry is asked what it is.

The directory is looked through once a second. A new socket is asked by `GetInfo`, handed to whoever takes plugins of
its type, and told how that went; one that cannot be asked is asked again. A socket that is gone takes its plugin
with it.
Follows https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/device-plugins/ and upstream's
`pluginregistration` v1.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

from shirube.foundation import log
from shirube.kubelet.cri.client import CriError, Runtime
from shirube.kubelet.cri.descriptors import Protocol

_logger = log.get("kubelet.plugins")
_PERIOD = 1.0
_CALL_SECONDS = 5.0


class PluginRefused(Exception):
    """The plugin cannot be used; it is told why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    name: str
    endpoint: str  # path of the socket that it serves on
    versions: tuple[str, ...]


class Takes(Interface):
    """Who works with the plugins of one type."""

    async def plugin_came(self, plugin: Plugin) -> None:
        """Raises PluginRefused."""

    async def plugin_went(self, name: str) -> None: ...


class PluginRegistry:
    def __init__(self, directory: Path, takes: Mapping[str, Takes], changed: Callable[[], None] = lambda: None) -> None:
        """`takes` is by the plugins' type, such as "DRAPlugin"."""
        self._directory = directory
        self._takes = takes
        self._changed = changed
        self._protocol = Protocol("plugin_registration.json")
        # Socket and inode -> (type, name); None for one that was refused.
        self._known: dict[tuple[Path, int], tuple[str, str] | None] = {}
        directory.mkdir(parents=True, exist_ok=True)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_PERIOD)

    async def look(self) -> None:
        found = {(path, path.lstat().st_ino) for path in self._directory.iterdir() if _is_socket(path)}
        for gone in [key for key in self._known if key not in found]:
            await self._remove(gone)
        for key in sorted(found - self._known.keys()):
            try:
                self._known[key] = await self._ask(key[0])
            except CriError as error:
                _logger.info("cannot ask a plugin yet", socket=str(key[0]), error=str(error))

    async def _ask(self, socket: Path) -> tuple[str, str] | None:
        connection = Runtime(str(socket), self._protocol)
        try:
            info = await connection.call("GetInfo", deadline=_CALL_SECONDS)
            plugin = Plugin(info.name, info.endpoint or str(socket), tuple(info.supported_versions))
            why = ""
            try:
                takes = self._takes.get(info.type)
                if takes is None:
                    raise PluginRefused(f"no handler registered for plugin type: {info.type} at socket {socket}")
                await takes.plugin_came(plugin)
            except PluginRefused as error:
                why = str(error)
            _logger.info("plugin registered" if not why else "plugin refused", type=info.type, name=info.name, why=why)
            # Who does not listen to the outcome is registered all the same.
            status = {"plugin_registered": not why, "error": why}
            await connection.call("NotifyRegistrationStatus", deadline=_CALL_SECONDS, **status)
            return None if why else (info.type, info.name)
        finally:
            await connection.close()

    async def _remove(self, key: tuple[Path, int]) -> None:
        known = self._known.pop(key)
        # (Another socket may have registered the same plugin meanwhile, as when it was updated.)
        if known is not None and known not in self._known.values():
            kind, name = known
            _logger.info("plugin is gone", type=kind, name=name)
            await self._takes[kind].plugin_went(name)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False
