"""Audit policies (`audit.k8s.io/v1`): how much of which requests is written down. Pure.

The first rule that matches a request decides; without one nothing is written. See "Auditing" in the upstream
documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shirube.api import names
from shirube.apiserver.configuration_file import ConfigurationError, Fields, parse

if TYPE_CHECKING:
    from shirube.apiserver.attributes import Attributes

GROUP, KIND = "audit.k8s.io", "Policy"
NONE, METADATA, REQUEST, REQUEST_RESPONSE = range(4)
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)


class Verdict(NamedTuple):
    """What is to be done about a request."""

    level: int
    omitted: frozenset[str]  # stages
    omit_managed_fields: bool


NOTHING = Verdict(NONE, frozenset(), False)


class GroupResources(NamedTuple):
    group: str
    resources: tuple[str, ...]
    names: frozenset[str]

    def matches(self, a: Attributes) -> bool:
        if self.group != a.group:
            return False
        if not self.resources:
            return True
        if self.names and a.name not in self.names:
            return False
        whole = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
        for wanted in self.resources:
            if wanted in (whole, "*"):
                return True
            if a.subresource and wanted.startswith("*/") and wanted[2:] == a.subresource:
                return True
            if wanted.endswith("/*") and wanted[:-2] == a.resource:
                return True
        return False


class Rule(NamedTuple):
    verdict: Verdict
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[GroupResources, ...]
    urls: tuple[str, ...]

    def matches(self, a: Attributes) -> bool:
        if self.users and a.user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(a.user.groups):
            return False
        if self.verbs and a.verb not in self.verbs:
            return False
        if self.namespaces or self.resources:
            if not a.is_resource or (self.namespaces and a.namespace not in self.namespaces):
                return False
            return not self.resources or any(r.matches(a) for r in self.resources)
        if self.urls:
            return not a.is_resource and any(_path_matches(a.path, url) for url in self.urls)
        return True


def _path_matches(path: str, wanted: str) -> bool:
    return wanted in ("*", path) or (wanted.endswith("*") and path.startswith(wanted.rstrip("*")))


class Policy:
    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules

    def judge(self, a: Attributes) -> Verdict:
        for rule in self._rules:
            if rule.matches(a):
                return rule.verdict
        return NOTHING


def read(data: bytes) -> Policy:
    """Raises ConfigurationError."""
    fields = parse(data, GROUP, KIND, ("v1",))
    omitted = _stages(fields)
    managed = fields.flag("omitManagedFields")
    rules = [_rule(item, omitted, managed) for item in fields.objects("rules")]
    fields.done()
    if not rules:
        raise ConfigurationError("loaded illegal policy with 0 rules")
    return Policy(rules)


def _stages(fields: Fields) -> frozenset[str]:
    stages = fields.texts("omitStages")
    for n, stage in enumerate(stages):
        if stage not in STAGES:
            where = f"{fields.at('omitStages')}[{n}]"
            raise ConfigurationError(f'{where}: Invalid value: "{stage}": allowed stages are {",".join(STAGES)}')
    return frozenset(stages)


def _rule(fields: Fields, omitted: frozenset[str], managed: bool) -> Rule:
    level = fields.text("level", required=True)
    if level not in LEVELS:
        shown = ", ".join(f'"{name}"' for name in sorted(LEVELS))
        raise ConfigurationError(f'{fields.at("level")}: Unsupported value: "{level}": supported values: {shown}')
    verdict = Verdict(LEVELS.index(level), omitted | _stages(fields), fields.flag("omitManagedFields", managed))
    urls, namespaces = fields.texts("nonResourceURLs"), fields.texts("namespaces")
    resources = tuple(_resources(item) for item in fields.objects("resources"))
    rule = Rule(
        verdict,
        frozenset(fields.texts("users")),
        frozenset(fields.texts("userGroups")),
        frozenset(fields.texts("verbs")),
        frozenset(namespaces),
        resources,
        urls,
    )
    fields.done()
    _check_urls(fields, urls)
    if urls and (resources or namespaces):
        where = fields.at("nonResourceURLs")
        raise ConfigurationError(
            f"{where}: Invalid value: rules cannot apply to both regular resources and non-resource URLs"
        )
    return rule


def _check_urls(fields: Fields, urls: tuple[str, ...]) -> None:
    for n, url in enumerate(urls):
        where = f'{fields.at("nonResourceURLs")}[{n}]: Invalid value: "{url}"'
        if url == "*":
            continue
        if not url.startswith("/"):
            raise ConfigurationError(f"{where}: non-resource URL rules must begin with a '/' character")
        if "*" in url[:-1]:
            raise ConfigurationError(f"{where}: non-resource URL wildcards '*' must be the final character of the rule")


def _resources(fields: Fields) -> GroupResources:
    group = fields.text("group")
    found = GroupResources(group, fields.texts("resources"), frozenset(fields.texts("resourceNames")))
    fields.done()
    if group and (wrong := names.is_dns1123_subdomain(group)):
        raise ConfigurationError(f'{fields.at("group")}: Invalid value: "{group}": {wrong[0]}')
    if found.names and not found.resources:
        raise ConfigurationError(
            f"{fields.at('resourceNames')}: Invalid value: using resourceNames requires at least one resource"
        )
    return found
