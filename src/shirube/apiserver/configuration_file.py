"""Configuration that a server is given as a file (`apiserver.config.k8s.io`, `audit.k8s.io`) and follows.

`parse` reads YAML or JSON under the limits of request bodies and checks apiVersion and kind; `Fields` takes objects
apart and refuses what it does not know, so that a misspelt field is an error instead of a hole. `ConfigurationFile`
looks at the file every few seconds; contents that cannot be used are reported and leave what is in use as it is.
Contents are compared, not times: editors, symbolic links and mounted secrets all work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from shirube.api import decode
from shirube.api.errors import ApiError
from shirube.foundation import log

Json = dict[str, Any]

INTERVAL = 5.0  # seconds between two looks
MAX_BYTES = 1 << 20

_logger = log.get("configuration")


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the text names the field and never a secret."""


class Fields:
    """One object of a configuration, read field by field; `done` refuses what nobody asked for."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise ConfigurationError(f"{path or 'configuration'}: must be an object")
        self._rest: Json = dict(value)
        self.path = path

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        return self._rest.get(name) is not None

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        value = self._rest.pop(name, None)
        if value is None or value == "":
            if required:
                raise ConfigurationError(f"{self.at(name)}: Required value")
            return default
        if not isinstance(value, str):
            raise ConfigurationError(f"{self.at(name)}: must be a string")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._rest.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigurationError(f"{self.at(name)}: must be true or false")
        return value

    def number(self, name: str, default: int | None = None) -> int | None:
        value = self._rest.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigurationError(f"{self.at(name)}: must be a whole number")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._rest.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ConfigurationError(f"{self.at(name)}: must be a list of strings")
        return tuple(value)

    def value(self, name: str) -> Any:
        """Whatever is there, for whoever takes it apart himself."""
        return self._rest.pop(name, None)

    def names(self) -> list[str]:
        """The fields that nobody asked for yet: those of an object whose keys are data."""
        return sorted(self._rest)

    def object(self, name: str) -> Fields | None:
        value = self._rest.pop(name, None)
        return None if value is None else Fields(value, self.at(name))

    def objects(self, name: str) -> list[Fields]:
        value = self._rest.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigurationError(f"{self.at(name)}: must be a list")
        return [Fields(item, f"{self.at(name)}[{n}]") for n, item in enumerate(value)]

    def ignore(self, *names: str) -> None:
        for name in names:
            self._rest.pop(name, None)

    def done(self) -> None:
        if self._rest:
            raise ConfigurationError(f'unknown field "{self.at(min(self._rest))}"')


def parse(data: bytes, group: str, kind: str, versions: Iterable[str]) -> Fields:
    """The fields of the configuration in `data`, apiVersion and kind checked. Raises ConfigurationError."""
    return of_kind(value_of(data), "", [(f"{group}/{version}", kind) for version in versions])


def value_of(data: bytes) -> Any:
    """What the YAML or JSON of a file says. Raises ConfigurationError."""
    if not data.strip():
        raise ConfigurationError("the file is empty")
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"the file is larger than {MAX_BYTES} bytes")
    try:
        return decode.yaml_body(data)
    except ApiError as error:
        raise ConfigurationError(error.message) from error


def of_kind(value: Any, path: str, kinds: Sequence[tuple[str, str]]) -> Fields:
    """The fields of an object that must be one of `kinds`, (apiVersion, kind). Raises ConfigurationError."""
    fields = Fields(value, path)
    found = fields.text("apiVersion"), fields.text("kind")
    if found not in kinds:
        shown = f"apiVersion {found[0]!r}, kind {found[1]!r}"
        known = " or ".join(f"kind {kind} in {api_version}" for api_version, kind in kinds)
        where = f"{path}: " if path else ""
        raise ConfigurationError(f"{where}{shown} is not supported: use {known}")
    fields.ignore("metadata")
    return fields


class ConfigurationFile:
    def __init__(self, path: Path, take: Callable[[bytes], None]) -> None:
        """`take` puts new contents into use or raises ConfigurationError."""
        self._path = path
        self._take = take
        self._seen: bytes | None = None
        self.reloads = {"success": 0, "failure": 0}

    def load(self) -> None:
        """When the server starts: what cannot be used is fatal. Raises ConfigurationError."""
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"cannot read {self._path}: {error.strerror}") from error
        try:
            self._take(data)
        except ConfigurationError as error:
            raise ConfigurationError(f"cannot use {self._path}: {error}") from error
        self._seen = data

    async def check(self) -> bool:
        """Look once; whether something new is in use now."""
        try:
            data = await asyncio.to_thread(self._path.read_bytes)
            if data == self._seen:
                return False
            self._seen = data
            self._take(data)
        except (OSError, ConfigurationError) as error:
            self.reloads["failure"] += 1
            _logger.error(
                "cannot take the new configuration, keeping the old one", file=str(self._path), error=str(error)
            )
            return False
        self.reloads["success"] += 1
        _logger.info("took the new configuration", file=str(self._path))
        return True

    async def keep(self, interval: float = INTERVAL) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self.check()
