"""Validation of a pod's DNS policy and resolver configuration.

Follows core's ``validateDNSPolicy`` and ``validatePodDNSConfig``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, invalid, not_supported, required

Obj = Mapping[str, Any]

_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_MAX_SEARCH_CHARACTERS = 2048
_UNDERSCORED_PATTERN = r"[a-z0-9_]([-_a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*"
_UNDERSCORED = re.compile(_UNDERSCORED_PATTERN)


def _search_messages(search: str) -> list[str]:
    """Search domains may have underscores, as real resolver configurations do."""
    name = search.removesuffix(".")
    if not name and search:
        return []
    messages = [names.max_length(253)] if len(name) > 253 else []
    if not _UNDERSCORED.fullmatch(name):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or "
            "'.', and must start and end with an alphanumeric character"
        )
        messages.append(names.must_match(text, _UNDERSCORED_PATTERN, "example.com"))
    return messages


def validate_dns(out: list[Cause], spec: Obj, path: str) -> None:
    """``dnsPolicy`` and ``dnsConfig`` together: the policy None needs a configuration."""
    policy, config = spec.get("dnsPolicy", ""), spec.get("dnsConfig")
    if policy not in _POLICIES:
        at = f"{path}.dnsPolicy"
        out.append(not_supported(at, policy, _POLICIES) if policy else required(at))
    at = f"{path}.dnsConfig"
    if policy == "None":
        if config is None:
            out.append(required(at, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            out.append(required(f"{at}.nameservers", detail))
            return
    if not config:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _MAX_NAMESERVERS:
        detail = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        out.append(invalid(f"{at}.nameservers", servers, detail))
    for i, server in enumerate(servers):
        out.extend(invalid(f"{at}.nameservers[{i}]", server, m) for m in names.is_ip(server))
    if len(searches) > _MAX_SEARCHES:
        detail = f"must not have more than {_MAX_SEARCHES} search paths"
        out.append(invalid(f"{at}.searches", searches, detail))
    if len(" ".join(searches)) > _MAX_SEARCH_CHARACTERS:
        detail = f"must not have more than {_MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        out.append(invalid(f"{at}.searches", searches, detail))
    for i, search in enumerate(searches):
        out.extend(invalid(f"{at}.searches[{i}]", search, m) for m in _search_messages(search))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            out.append(required(f"{at}.options[{i}]", "must not be empty"))
