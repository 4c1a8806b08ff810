"""Conversion webhooks: who converts the objects of a definition between its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shirube.api.crd.served import Converter
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]


def converter_of(server: ServerContext, definition: Json) -> Converter | None:
    """None where only the apiVersion changes."""
    return None
