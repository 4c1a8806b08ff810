"""OpenAPI v2 (Swagger): one document with every path and definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from shirube.api.openapi import parameters
from shirube.api.openapi.operations import TEXT, Operation, PathItem, camel_group, path_items, tag
from shirube.api.openapi.schemas import V2_REF, Kinds, name_of
from shirube.api.resources import Resource
from shirube.api.schema.supplement import META

Document = dict[str, Any]

HEAD: Final[Document] = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "v1.36.0"},
    "security": [{"BearerToken": []}],
    "securityDefinitions": {
        "BearerToken": {
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
            "description": "Bearer Token authentication",
        }
    },
}

_UNAUTHORIZED: Final = {"description": "Unauthorized"}
_ANSWERS: Final = {"200": "OK", "201": "Created", "202": "Accepted"}
_READ: Final = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
_READ_CBOR: Final = [*_READ, "application/cbor"]


def shared_parameters() -> Document:
    """The document's `parameters`."""
    shared: Document = {key: _parameter(p) for key, p in parameters.SHARED.items()}
    shared["body-2Y1dVQaQ"] = parameters.body({"$ref": V2_REF + META + "DeleteOptions"}, required=False)
    shared["body-78PwaGsr"] = parameters.body({"$ref": V2_REF + META + "Patch"})
    return shared


def _parameter(parameter: parameters.Parameter) -> Document:
    made: Document = {
        "description": parameter.description,
        "in": parameter.place,
        "name": parameter.name,
        "type": parameter.type,
        "uniqueItems": True,
    }
    if parameter.place == "path":
        made["required"] = True
    return made


def _use(key: str) -> Document:
    if key in parameters.SHARED:
        return {"$ref": f"#/parameters/{key}"}
    return _parameter(parameters.parameter(key))


def _sorted(keys: Iterable[str]) -> list[Document]:
    return [_use(key) for key in sorted(keys, key=lambda k: (parameters.parameter(k).name, k))]


def hoist(item: PathItem) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Parameters that all operations of a path share, and those that each has beyond them."""
    common = set.intersection(*(set(op.parameters) for op in item.operations.values()))
    own = {m: tuple(p for p in op.parameters if p not in common) for m, op in item.operations.items()}
    return (*item.parameters, *common), own


def path_document(item: PathItem, kinds: Kinds) -> Document:
    """The document of one path."""
    shared, own = hoist(item)
    made: Document = {
        method: _operation(operation, own[method], kinds) for method, operation in item.operations.items()
    }
    if shared:
        made["parameters"] = _sorted(shared)
    return made


def _operation(operation: Operation, own: tuple[str, ...], kinds: Kinds) -> Document:
    group, version, kind = operation.gvk
    listed = _sorted(own)
    if operation.body is not None:
        listed.insert(0, _body(operation, kinds))
    made: Document = {
        "description": operation.description,
        "consumes": list(operation.consumes),
        "produces": list(operation.produces),
        "schemes": ["https"],
        "tags": [operation.tag],
        "operationId": operation.id,
        "responses": {
            **{
                code: {"description": _ANSWERS[code], "schema": _schema(gvk, kinds)}
                for code, gvk in operation.answers.items()
            },
            "401": _UNAUTHORIZED,
        },
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    }
    if listed:
        made["parameters"] = listed
    return made


def _body(operation: Operation, kinds: Kinds) -> Document:
    assert operation.body is not None
    if operation.body[2] == "DeleteOptions":
        return {"$ref": "#/parameters/body-2Y1dVQaQ"}
    if operation.body[2] == "Patch":
        return {"$ref": "#/parameters/body-78PwaGsr"}
    return parameters.body(_schema(operation.body, kinds), required=operation.body_required)


def _schema(gvk: tuple[str, str, str], kinds: Kinds) -> Document:
    return {"type": "string"} if gvk == TEXT else {"$ref": V2_REF + name_of(kinds, gvk)}


def resource_paths(resource: Resource, kinds: Kinds, *, custom: bool = False) -> Document:
    """The paths of one resource."""
    return {item.path: path_document(item, kinds) for item in path_items(resource, custom=custom)}


def group_version_paths(group: str, version: str) -> Document:
    """The path of a group version's list of resources."""
    prefix = f"/apis/{group}/{version}/" if group else f"/api/{version}/"
    id_ = f"get{camel_group(group)}{version[:1].upper()}{version[1:]}APIResources"
    return {prefix: _fixed("get available resources", id_, tag(group, version), META + "APIResourceList", _READ_CBOR)}


def group_paths(group: str) -> Document:
    """The path of a group's description."""
    if not group:
        return {
            "/api/": _fixed("get available API versions", "getCoreAPIVersions", "core", META + "APIVersions", _READ)
        }
    id_ = f"get{camel_group(group)}APIGroup"
    return {f"/apis/{group}/": _fixed("get information of a group", id_, tag(group), META + "APIGroup", _READ)}


def fixed_paths() -> Mapping[str, Document]:
    """What a server has beside resources, by the name of its OpenAPI v3 document."""
    info = "io.k8s.apimachinery.pkg.version.Info"
    listing = {"operationId": "logFileListHandler", "schemes": ["https"], "tags": ["logs"]}
    file = {"operationId": "logFileHandler", "schemes": ["https"], "tags": ["logs"]}
    refused = {"responses": {"401": _UNAUTHORIZED}}
    return {
        "apis": {
            "/apis/": _fixed(
                "get available API versions", "getAPIVersions", "apis", META + "APIGroupList", _READ
            )
        },
        "version": {
            "/version/": _fixed(
                "get the version information for this server", "getCodeVersion", "version", info, _READ[:1]
            )
        },
        "logs": {
            "/logs/": {"get": {**listing, **refused}},
            "/logs/{logpath}": {"get": {**file, **refused}, "parameters": [_use("logpath-Noq7euwC")]},
        },
        ".well-known/openid-configuration": {
            "/.well-known/openid-configuration/": _text(
                "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
                "getServiceAccountIssuerOpenIDConfiguration",
                "WellKnown",
                "application/json",
            )
        },
        "openid/v1/jwks": {
            "/openid/v1/jwks/": _text(
                "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
                "getServiceAccountIssuerOpenIDKeyset",
                "openid",
                "application/jwk-set+json",
            )
        },
    }  # fmt: skip


def _fixed(description: str, id_: str, tag_: str, schema: str, media: list[str]) -> Document:
    return {
        "get": {
            "description": description,
            "consumes": media,
            "produces": media,
            "schemes": ["https"],
            "tags": [tag_],
            "operationId": id_,
            "responses": {
                "200": {"description": "OK", "schema": {"$ref": V2_REF + schema}},
                "401": _UNAUTHORIZED,
            },
        }
    }


def _text(description: str, id_: str, tag_: str, media: str) -> Document:
    return {
        "get": {
            "description": description,
            "produces": [media],
            "schemes": ["https"],
            "tags": [tag_],
            "operationId": id_,
            "responses": {"200": {"description": "OK", "schema": {"type": "string"}}, "401": _UNAUTHORIZED},
        }
    }
