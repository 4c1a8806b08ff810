"""EncryptionConfiguration: which resources are encrypted, by which providers (`apiserver.config.k8s.io/v1`).

For each resource the first entry that names it holds: by name (`secrets`, `foos.example.com`), by group (`*.apps`, `*.`
for the core group) or all (`*.*`). Of its providers the first writes and all read. Resources without an entry are
written as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from shirube.apiserver.cannot_decrypt import CannotDecrypt
from shirube.apiserver.configuration_file import ConfigurationError, parse
from shirube.apiserver.encryption.providers import Identity, Opened, Provider, Unreadable, provider_of

GROUP = "apiserver.config.k8s.io"
KIND = "EncryptionConfiguration"

_CORE = "core"
_OVERLAP = (
    "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will "
    "be masked"
)


@dataclass(frozen=True, slots=True)
class Transformer:
    """The providers of one resource."""

    providers: tuple[Provider, ...]

    def seal(self, value: bytes, key: str) -> bytes:
        return self.providers[0].seal(value, key)

    def open(self, stored: bytes, key: str) -> Opened:
        """Raises CannotDecrypt."""
        failed = "no matching prefix found"
        for n, provider in enumerate(self.providers):
            # Plain values are for the provider without a prefix, wherever it stands in the list.
            if stored.startswith(provider.prefix) and (provider.prefix or not stored.startswith(b"k8s:enc:")):
                try:
                    value, stale = provider.open(stored, key)
                except Unreadable as error:
                    failed = str(error)
                    continue
                return Opened(value, stale or n > 0)
        if failed == "no matching prefix found" and all(isinstance(p, Identity) for p in self.providers):
            failed = "identity transformer tried to read encrypted data"
        raise CannotDecrypt(key, failed)


PLAIN = Transformer((Identity(),))


class Rules:
    """A whole configuration, asked by storage key."""

    def __init__(self, entries: list[tuple[tuple[tuple[str, str], ...], Transformer]]) -> None:
        self._entries = entries
        self._known: dict[str, Transformer] = {}

    def of(self, key: str) -> Transformer:
        """The providers of what is stored under `key` (`/registry/GROUP/RESOURCE/…`)."""
        place = key[: key.find("/", key.find("/", 10) + 1)]  # "/registry/" is 10 long
        found = self._known.get(place)
        if found is None:
            _, _, group, resource = [*place.split("/"), "", ""][:4]
            found = self._known[place] = self._find("" if group == _CORE else group, resource)
        return found

    def _find(self, group: str, resource: str) -> Transformer:
        for named, transformer in self._entries:
            for wanted, name in named:
                if wanted in (group, "*") and name in (resource, "*"):
                    return transformer
        return PLAIN


def read(data: bytes) -> Rules:
    """Raises ConfigurationError."""
    fields = parse(data, GROUP, KIND, ("v1",))
    entries = []
    for entry in fields.objects("resources"):
        names = entry.texts("resources")
        if not names:
            raise ConfigurationError(f"{entry.path}.resources: Required value: at least one resource is required")
        named = tuple(_resource(name, f"{entry.path}.resources[{n}]") for n, name in enumerate(names))
        _check_overlap(named, f"{entry.path}.resources")
        providers = tuple(provider_of(item) for item in entry.objects("providers"))
        if not providers:
            raise ConfigurationError(f"{entry.path}.providers: Required value: at least one provider is required")
        entry.done()
        entries.append((named, Transformer(providers)))
    fields.done()
    if not entries:
        raise ConfigurationError("resources: Required value: at least one resources is required")
    return Rules(entries)


def _resource(text: str, path: str) -> tuple[str, str]:
    """(group, resource) as a configuration names it. Raises ConfigurationError."""
    name, _, group = text.partition(".")
    why = ""
    if text != text.lower():
        why = "resource name should not contain capital letters"
    elif text == "*":
        why = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    elif group == "events.k8s.io":
        why = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead"
    elif group == "*" and name != "*":
        why = "encrypting the same resource across groups is not supported"
    elif not name:
        why = "a resource has a name"
    if why:
        raise ConfigurationError(f'{path}: Invalid value: "{text}": {why}')
    return group, name


def _check_overlap(named: tuple[tuple[str, str], ...], path: str) -> None:
    if len(set(named)) < len(named):
        raise ConfigurationError(f"{path}: Invalid value: the same resource cannot be specified multiple times")
    everything = ("*", "*") in named and len(named) > 1
    groups = {group for group, name in named if name == "*"}
    if everything or any(group in groups and name != "*" for group, name in named):
        raise ConfigurationError(f"{path}: Invalid value: {_OVERLAP}")
