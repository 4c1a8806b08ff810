"""OpenAPI v3: one document per group version, as kubectl (explain, dry-run checks) and generators read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shirube.api.openapi import parameters
from shirube.api.openapi.operations import TEXT, Operation, PathItem, path_items
from shirube.api.openapi.schemas import V2_REF, V3_REF, Kinds, name_of, references
from shirube.api.openapi.version2 import Document, hoist
from shirube.api.resources import Resource

_SECURITY: Final = {
    "BearerToken": {
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
        "description": "Bearer Token authentication",
    }
}
_UNAUTHORIZED: Final = {"description": "Unauthorized"}
_ANSWERS: Final = {"200": "OK", "201": "Created", "202": "Accepted"}


def document(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> Document:
    """A whole document."""
    components: Document = {"securitySchemes": _SECURITY}
    if schemas:
        components["schemas"] = dict(sorted(schemas.items()))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": components,
    }


def complete(paths: Mapping[str, Any], own: Mapping[str, Any], schemas: Mapping[str, Any]) -> Document:
    """A document of these paths with every schema that they, and their `own` schemas, refer to."""
    found = dict(own)
    queue = [*references(dict(paths)), *references(dict(own))]
    while queue:
        name = queue.pop()
        if name not in found and name in schemas:
            found[name] = schemas[name]
            queue += references(schemas[name])
    return document(paths, found)


def resource_paths(resource: Resource, kinds: Kinds, *, custom: bool = False) -> Document:
    """The paths of one resource."""
    return {item.path: _path(item, kinds) for item in path_items(resource, custom=custom)}


def _path(item: PathItem, kinds: Kinds) -> Document:
    shared, own = hoist(item)
    made: Document = {m: _operation(operation, own[m], kinds) for m, operation in item.operations.items()}
    if shared:
        made["parameters"] = _sorted(shared)
    return made


def _sorted(keys: Iterable[str]) -> list[Document]:
    found = sorted((parameters.parameter(key) for key in keys), key=lambda p: p.name)
    return [_parameter(p) for p in found]


def _parameter(parameter: parameters.Parameter) -> Document:
    made: Document = {"name": parameter.name, "in": parameter.place, "description": parameter.description}
    if parameter.place == "path":
        made["required"] = True
    made["schema"] = {"type": parameter.type, "uniqueItems": True}
    return made


def _operation(operation: Operation, own: tuple[str, ...], kinds: Kinds) -> Document:
    group, version, kind = operation.gvk
    made: Document = {
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "responses": {
            **{
                code: {"description": _ANSWERS[code], "content": _content(operation.produces, gvk, kinds)}
                for code, gvk in operation.answers.items()
            },
            "401": _UNAUTHORIZED,
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    }
    if own:
        made["parameters"] = _sorted(own)
    if operation.body is not None:
        made["requestBody"] = {"content": _content(operation.consumes, operation.body, kinds)}
        if operation.body_required:
            made["requestBody"]["required"] = True
    return made


def _content(media: Iterable[str], gvk: tuple[str, str, str], kinds: Kinds) -> Document:
    schema = {"type": "string"} if gvk == TEXT else {"$ref": V3_REF + name_of(kinds, gvk)}
    return {kind: {"schema": schema} for kind in media}


def from_v2_paths(paths: Mapping[str, Any]) -> Document:
    """Paths without parameters of their own, as v2 has them, in v3's form."""
    return {path: {m: _from_v2(op) for m, op in item.items()} for path, item in paths.items()}


def _from_v2(operation: Any) -> Any:
    if isinstance(operation, list):  # of parameters: a log's path
        return [_parameter(parameters.parameter(p["$ref"].rpartition("/")[2])) for p in operation]
    made = {k: v for k, v in operation.items() if k not in ("consumes", "produces", "schemes", "responses")}
    made["responses"] = {}
    for code, answer in operation["responses"].items():
        converted = {"description": answer["description"]}
        if schema := answer.get("schema"):
            if "$ref" in schema:
                schema = {"$ref": V3_REF + schema["$ref"].removeprefix(V2_REF)}
            converted["content"] = {media: {"schema": schema} for media in operation["produces"]}
        made["responses"][code] = converted
    return made
