"""What a client wants to be answered with: media type and transformation, from the Accept header.

`application/json;as=Table;v=v1;g=meta.k8s.io` asks for rows to print, `as=PartialObjectMetadata` for metadata
alone (`…List` for collections). The first clause, by quality and order, that can be satisfied wins; none is 406.
Go clients send `application/vnd.kubernetes.protobuf,application/json`. Parsed headers are few and remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from shirube.api import errors

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
ACCEPTED = (JSON, YAML, PROTOBUF)
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


class Accepted(NamedTuple):
    media: str = JSON
    transform: str = ""  # "", "Table", "PartialObjectMetadata"
    version: str = ""  # meta.k8s.io version of the transformation

    @property
    def plain(self) -> bool:
        return self.media == JSON and not self.transform


PLAIN = Accepted()
TRANSFORMS = {"Table": "Table", "PartialObjectMetadata": "", "PartialObjectMetadataList": ""}


def media_type(header: str | None) -> str:
    """The bare media type of a Content-Type header, lower-case; "" without one."""
    return header.partition(";")[0].strip().lower() if header else ""


@lru_cache(maxsize=512)
def _clauses(header: str) -> tuple[tuple[str, dict[str, str]], ...]:
    clauses = []
    for i, text in enumerate(header.split(",")):
        media, *rest = text.split(";")
        options = {}
        for option in rest:
            name, _, value = option.partition("=")
            options[name.strip().lower()] = value.strip().strip('"')
        try:
            quality = float(options.get("q", "1"))
        except ValueError:
            quality = 0.0
        if media.strip() and quality > 0:
            clauses.append((-quality, i, media.strip().lower(), options))
    return tuple((media, options) for _, _, media, options in sorted(clauses, key=lambda c: c[:2]))


@lru_cache(maxsize=512)
def _negotiate(header: str, transforms: bool, protobuf: bool) -> Accepted | None:
    for media, options in _clauses(header):
        if media in ("*/*", "application/*"):
            media = JSON
        if media not in ACCEPTED or (media == PROTOBUF and not protobuf):
            continue
        transform = options.get("as", "")
        if not transform:
            return Accepted(media)
        version = options.get("v", "v1")
        if (
            not transforms
            or transform not in TRANSFORMS
            or options.get("g", "meta.k8s.io") != "meta.k8s.io"
            or version not in ("v1", "v1beta1")
        ):
            continue
        if transform == "Table" and media == PROTOBUF:
            continue
        return Accepted(media, "Table" if transform == "Table" else "PartialObjectMetadata", version)
    return None


def accepted(header: str | None, *, transforms: bool = True, protobuf: bool = True) -> Accepted:
    """`transforms`: whether the answer can be a table or metadata; `protobuf`: whether its kind has a message.
    Raises ApiError 406."""
    if header is None or header == "*/*" or header == JSON:
        return PLAIN
    found = _negotiate(header, transforms, protobuf)
    if found is None:
        if not header.strip():
            return PLAIN
        raise errors.not_acceptable(ACCEPTED)
    return found


def acceptable(header: str | None, offers: tuple[str, ...]) -> str | None:
    """For documents with media types of their own: the offer that the header prefers; None: none of them."""
    if not header:
        return offers[0]
    for media, _ in _clauses(header):
        if media in ("*/*", "application/*"):
            return offers[0]
        if media in offers:
            return media
    return None


def discovery_clause(header: str | None) -> str:
    """For aggregated discovery: "v2" or "v2beta1" when that is preferred over the classic documents, else ""."""
    for media, options in _clauses(header) if header else ():
        if media not in (JSON, PROTOBUF, "*/*", "application/*"):
            continue
        if options.get("as") == "APIGroupDiscoveryList" and options.get("g") == "apidiscovery.k8s.io":
            if media == JSON and options.get("v") in ("v2", "v2beta1"):
                return options["v"]
            continue
        if media != PROTOBUF and "as" not in options:
            return ""
    return ""
