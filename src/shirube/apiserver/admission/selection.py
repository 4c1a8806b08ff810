"""Which plugins a server has: upstream's list, what is on by default, and what was asked for.

`--enable-admission-plugins` and `--disable-admission-plugins` take names with commas between, in any order: plugins
always run in upstream's (`table`). A plugin that the admission configuration configures is on, too, unless it is
disabled (upstream ignores such a configuration in silence). What stands in upstream's list and not here is refused by
name, except for plugins that only do something behind a feature gate that is off: those may be named, as there.
"""

from __future__ import annotations

from collections.abc import Collection

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.table import EVERY, OFF_BY_DEFAULT
from shirube.apiserver.configuration_file import ConfigurationError

# In upstream's list and on by default, but active only with feature gates that are off by default.
GATED = frozenset(("PodGroupProtection", "PodGroupWorkloadExists", "JobValidation"))
# Steps that upstream's server takes outside of its plugins.
OURS = frozenset(
    ("OwnerReferences", "RbacEscalation", "DeviceAdminAccess", "ResourceClaimStatus", "AdmissionExpressions")
)
_BY_NAME = {plugin.name: plugin for plugin in EVERY if plugin.name not in OURS}


def names(text: str) -> list[str]:
    """The names in an option."""
    return [name for part in text.split(",") if (name := part.strip())]


def check(enable: str, disable: str) -> None:
    """Raises ConfigurationError for what is not there, or asked for in both."""
    for option, text in (("enable", enable), ("disable", disable)):
        for name in names(text):
            if name not in _BY_NAME and name not in GATED:
                known = ", ".join(sorted(_BY_NAME.keys() | GATED))
                raise ConfigurationError(
                    f'cannot use --{option}-admission-plugins: admission plugin "{name}" is unknown; known are {known}'
                )
    if both := sorted(set(names(enable)) & set(names(disable))):
        raise ConfigurationError(
            f"cannot use --enable-admission-plugins: {', '.join(both)} is in --disable-admission-plugins, too"
        )


def chosen(enable: str, disable: str, configured: Collection[str]) -> list[type[Plugin]]:
    """The plugins to run, in order. Raises ConfigurationError."""
    check(enable, disable)
    wanted, unwanted = {*names(enable), *configured}, set(names(disable))
    found = [
        plugin
        for plugin in EVERY
        if plugin.name not in unwanted and (plugin.name not in OFF_BY_DEFAULT or plugin.name in wanted)
    ]
    for plugin in found:
        if plugin.must_be_configured and plugin.name not in configured:
            raise ConfigurationError(
                f"cannot turn on admission plugin {plugin.name}: it has no configuration; give it one in the file of "
                "--admission-control-config-file (admission.yaml in the directory of --api-config)"
            )
    return found
