"""The files of configMap, secret, downwardAPI and projected volumes. Pure.

`references`, `token_sources` and `trust_sources` say what to fetch first; `files` makes the files from it. What is
missing and not optional is a `PayloadError`, told as FailedMount.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shirube.kubelet import downward
from shirube.kubelet import pod as pods
from shirube.kubelet.environment import Reference
from shirube.kubelet.volumes.atomic_writer import File

DEFAULT_MODE = 0o644
KINDS = ("configMap", "secret", "downwardAPI", "projected")


class PayloadError(Exception):
    """The volume's content cannot be made yet."""


@dataclass(frozen=True, slots=True)
class Fetched:
    objects: Mapping[Reference, Mapping[str, Any]]
    tokens: Sequence[str]  # one for each of token_sources(volume), in order
    node: downward.NodeFacts
    pod_ips: tuple[str, ...]
    anchors: Sequence[bytes] = ()  # one for each of trust_sources(volume), in order


def _sources(volume: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """(kind, source) of a volume; several for a projected one. Secrets say `secretName` or `name`."""
    for kind in ("configMap", "secret", "downwardAPI"):
        if volume.get(kind) is not None:
            yield kind, volume[kind]
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield from ((kind, source[kind]) for kind in source if source[kind] is not None)


def _name(kind: str, source: Mapping[str, Any]) -> str:
    return source.get("secretName") or source.get("name") or ""


def references(volume: Mapping[str, Any]) -> list[Reference]:
    plural = {"configMap": "configmaps", "secret": "secrets"}
    return [(plural[kind], _name(kind, source)) for kind, source in _sources(volume) if kind in plural]


def token_sources(volume: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [source for kind, source in _sources(volume) if kind == "serviceAccountToken"]


def trust_sources(volume: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [source for kind, source in _sources(volume) if kind == "clusterTrustBundle"]


def files(pod: pods.Pod, volume: Mapping[str, Any], fetched: Fetched) -> dict[str, File]:
    """The volume's files by relative path. Raises PayloadError."""
    whole = next(volume[kind] for kind in KINDS if volume.get(kind) is not None)
    mode = whole.get("defaultMode")
    mode = DEFAULT_MODE if mode is None else mode
    tokens, anchors = iter(fetched.tokens), iter(fetched.anchors)
    found: dict[str, File] = {}
    for kind, source in _sources(volume):
        match kind:
            case "configMap" | "secret":
                found.update(_object_files(pod, kind, source, fetched, mode))
            case "downwardAPI":
                found.update(_downward_files(pod, source, fetched, mode))
            case "serviceAccountToken":
                found[source["path"]] = _token_file(pod, next(tokens), mode)
            case "clusterTrustBundle":
                found[source["path"]] = File(next(anchors), mode)
            case _:
                raise PayloadError(f"projected volume source {kind} is not supported yet")
    return found


def _object_files(pod: pods.Pod, kind: str, source: Mapping[str, Any], fetched: Fetched, mode: int) -> dict[str, File]:
    name, optional = _name(kind, source), bool(source.get("optional"))
    plural = "configmaps" if kind == "configMap" else "secrets"
    obj = fetched.objects.get((plural, name))
    if obj is None:
        if optional:
            return {}
        raise PayloadError(f'{plural[:-1]} "{name}" not found')
    content = dict(_content(plural, obj))
    items = source.get("items")
    if not items:
        return {key: File(data, mode) for key, data in sorted(content.items())}
    found: dict[str, File] = {}
    for item in items:
        if item["key"] not in content:
            if optional:
                continue
            word = "configmap" if kind == "configMap" else "secret"
            raise PayloadError(f"{word} references non-existent {word.removesuffix('map')} key: {item['key']}")
        given = item.get("mode")
        found[item["path"]] = File(content[item["key"]], mode if given is None else given)
    return found


def _content(plural: str, obj: Mapping[str, Any]) -> Iterable[tuple[str, bytes]]:
    for key, text in (obj.get("data") or {}).items():
        yield key, base64.b64decode(text or "") if plural == "secrets" else (text or "").encode()
    for key, text in (obj.get("binaryData") or {}).items():
        yield key, base64.b64decode(text or "")


def _downward_files(pod: pods.Pod, source: Mapping[str, Any], fetched: Fetched, mode: int) -> dict[str, File]:
    found: dict[str, File] = {}
    for item in source.get("items") or ():
        given = item.get("mode")
        try:
            if (ref := item.get("fieldRef")) is not None:
                text = downward.pod_field(pod, ref["fieldPath"], fetched.node, fetched.pod_ips)
            else:
                text = downward.resource_field(pod, item["resourceFieldRef"], "", fetched.node)
        except downward.FieldError as error:
            raise PayloadError(str(error)) from error
        found[item["path"]] = File(text.encode(), mode if given is None else given)
    return found


def _token_file(pod: pods.Pod, token: str, mode: int) -> File:
    """Readable by whom the containers run as: its user when they all run as one, else everybody in the pod."""
    users = {(c.get("securityContext") or {}).get("runAsUser", _pod_user(pod)) for _, c in pods.containers(pod)}
    user = users.pop() if len(users) == 1 else None
    group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    if user is not None or group is not None:
        mode = 0o600
    return File(token.encode(), mode, user)


def _pod_user(pod: pods.Pod) -> int | None:
    return (pod["spec"].get("securityContext") or {}).get("runAsUser")
