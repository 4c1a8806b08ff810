"""Conversion webhooks: who converts the objects of a definition between its versions.

A `ConversionReview` (apiextensions.k8s.io/v1) carries all objects of one answer. The webhook may change labels and
annotations; the rest of metadata is the object's own and put back. What it answers is checked before it is
believed. Errors become the message of the request that needed the conversion, worded as upstream's.
Follows apiextensions-apiserver ``pkg/apiserver/conversion``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.apiserver.webhooks.calling import Caller, CallFailed

if TYPE_CHECKING:
    from shirube.api.crd.served import Converter
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

REVIEW = "apiextensions.k8s.io/v1"
TIMEOUT = 30.0  # seconds, as upstream
MAX_OBJECTS = 500  # in one review: longer lists are asked in pieces
_EDITABLE = ("labels", "annotations")


def converter_of(server: ServerContext, definition: Json) -> Converter | None:
    """None where only the apiVersion changes. Raises ValueError for reviews that we do not speak."""
    conversion = definition["spec"].get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return None
    webhook = conversion["webhook"]
    return WebhookConverter(Caller(server), webhook["clientConfig"], webhook.get("conversionReviewVersions") or [])


class WebhookConverter:
    """Asks the webhook of one definition."""

    def __init__(self, caller: Caller, config: Json, versions: list[str]) -> None:
        self._caller = caller
        self._config = config
        self._versions = versions

    async def convert(self, objects: Sequence[Json], api_version: str) -> list[Json]:
        """Raises ApiError 500 with the reason."""
        made: list[Json] = []
        for start in range(0, len(objects), MAX_OBJECTS):
            made += await self._some(objects[start : start + MAX_OBJECTS], api_version)
        return made

    async def _some(self, objects: Sequence[Json], api_version: str) -> list[Json]:
        first = objects[0]
        shown = f"{first['apiVersion']}, Kind={first['kind']}"
        uid = self._caller.uid()
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)}
        review = {"kind": "ConversionReview", "apiVersion": REVIEW, "request": request}
        try:
            if "v1" not in self._versions:
                raise ConversionFailed(f"the webhook speaks {', '.join(self._versions)}, and this server v1")
            answer = await self._caller.call(self._config, orjson.dumps(review), TIMEOUT)
            converted = read_answer(answer, uid)
            if len(converted) != len(objects):
                raise ConversionFailed(f"returned {len(converted)} objects, expected {len(objects)}")
        except CallFailed as error:
            # The caller says "failed to call webhook: …" for admission; here upstream names the kind instead.
            raise _failed(f"failed: {str(error).removeprefix('failed to call webhook: ')}", shown) from error
        except ConversionFailed as error:
            text = str(error)
            raise _failed(text if text.startswith("returned ") else f"failed: {text}", shown) from error
        for index, (before, after) in enumerate(zip(objects, converted, strict=True)):
            if why := invalid_answer(before, after, api_version):
                raise _failed(f"returned invalid converted object at index {index}: {why}", shown)
        return [restored(before, after) for before, after in zip(objects, converted, strict=True)]


class ConversionFailed(Exception):
    """The webhook answered, but not with what was asked for."""


def _failed(why: str, kind: str) -> errors.ApiError:
    return errors.ApiError(500, "", f"conversion webhook for {kind} {why}")


def read_answer(data: bytes, uid: str) -> list[Any]:
    """The converted objects in an answer. Raises ConversionFailed."""
    try:
        review = orjson.loads(data)
    except ValueError as error:
        raise ConversionFailed(f"the answer is no JSON: {error}") from error
    if not isinstance(review, dict) or (review.get("kind"), review.get("apiVersion")) != ("ConversionReview", REVIEW):
        found = (review.get("kind"), review.get("apiVersion")) if isinstance(review, dict) else (None, None)
        raise ConversionFailed(f"expected {REVIEW}, Kind=ConversionReview, got {found[1]}, Kind={found[0]}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise ConversionFailed("no response provided")
    if response.get("uid") != uid:
        raise ConversionFailed(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else ""
    if status != "Success":
        message = result.get("message") if isinstance(result, dict) else ""
        raise ConversionFailed(message or f'response.result.status was "{status or ""}", expected "Success"')
    converted = response.get("convertedObjects")
    return converted if isinstance(converted, list) else []


def invalid_answer(before: Json, after: Any, api_version: str) -> str:
    """Why a converted object is not one of the object that was sent; "" when it is."""
    if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
        return "it is not an object with metadata"
    if after.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {after.get('apiVersion', '')})"
    if after.get("kind") != before["kind"]:
        return f"invalid kind (expected {before['kind']}, received {after.get('kind', '')})"
    for field, name in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        old, new = before["metadata"].get(field, ""), after["metadata"].get(field, "")
        if old != new:
            return f"must have the same {name}: {old} != {new}"
    return ""


def restored(before: Json, after: Json) -> Json:
    """The converted object with the metadata that a webhook may not change as it was."""
    meta = {key: value for key, value in before["metadata"].items() if key not in _EDITABLE}
    for key in _EDITABLE:
        given = after["metadata"].get(key)
        if isinstance(given, dict) and given:
            meta[key] = given
    return {**after, "metadata": meta}
