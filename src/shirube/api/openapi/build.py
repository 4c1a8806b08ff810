"""Write the OpenAPI of the built-in resources into the cache, in the pieces that serving needs.

- `v2/definitions`: every definition of what is served by default, the members of a JSON object without its braces;
  `v2/definitions-of/<group version>` what one adds that is served on request
- `v2/paths/<group version>`, `v2/paths/fixed`: members likewise, so that a document is a concatenation
- `v3/<document>`: whole documents, with their hashes in `v3/hashes` (marshal of {document: hash})
- `v3/schemas`: marshal of {definition: schema} of what custom kinds refer to (metadata, status, options)

A file name is the document's with slashes as "__". Runs when the schemas are compiled, not in servers.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from shirube.api.groups import OPTIONAL as OPTIONAL_TABLES
from shirube.api.groups import TABLES
from shirube.api.openapi import schemas, version2, version3
from shirube.api.openapi.pieces import document_hash, document_name, file_name, members
from shirube.api.resources import BUILTIN, OPTIONAL, ResourceTable
from shirube.api.schema import definitions
from shirube.api.schema.supplement import META


def write(folder: Path, defs: definitions.Definitions, kinds: schemas.Kinds) -> None:
    """Write all pieces below `folder`."""
    (folder / "v2" / "paths").mkdir(parents=True)
    (folder / "v2" / "definitions-of").mkdir()
    (folder / "v3").mkdir()
    usual = definitions.reachable(defs, TABLES)
    (folder / "v2" / "definitions").write_bytes(members(_v2_definitions(usual)))
    for table in OPTIONAL_TABLES:
        added = {n: d for n, d in definitions.reachable(defs, (*TABLES, table)).items() if n not in usual}
        name = file_name(document_name(table.group, table.version))
        (folder / "v2" / "definitions-of" / name).write_bytes(members(_v2_definitions(added)))
    (folder / "v2" / "parameters").write_bytes(members(version2.shared_parameters()))
    fixed = {path: item for paths in version2.fixed_paths().values() for path, item in paths.items()}
    (folder / "v2" / "paths" / "fixed").write_bytes(members(fixed))
    for resources in (BUILTIN, OPTIONAL):
        for group in resources.groups():
            for version in resources.versions(group):
                paths = _group_version_paths(resources, group, version, kinds)
                name = file_name(document_name(group, version))
                (folder / "v2" / "paths" / name).write_bytes(members(paths))
    v3_schemas = {name: schemas.v3_definition(name, schema) for name, schema in defs.items()}
    shared = {name: schema for name, schema in v3_schemas.items() if name.startswith(META)}
    (folder / "v3" / "schemas").write_bytes(marshal.dumps(shared))
    hashes = {}
    for name, document in _v3_documents(v3_schemas, kinds):
        data = orjson.dumps(document)
        (folder / "v3" / file_name(name)).write_bytes(data)
        hashes[name] = document_hash(data)
    (folder / "v3" / "hashes").write_bytes(marshal.dumps(hashes))


def _v2_definitions(defs: definitions.Definitions) -> dict[str, Any]:
    return {name: schemas.v2_definition(schema) for name, schema in defs.items()}


def _group_version_paths(table: ResourceTable, group: str, version: str, kinds: schemas.Kinds) -> dict[str, Any]:
    paths = version2.group_version_paths(group, version)
    for resource in table.resources(group, version):
        paths |= version2.resource_paths(resource, kinds)
    return paths


def _v3_documents(v3_schemas: Mapping[str, Any], kinds: schemas.Kinds) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, paths in version2.fixed_paths().items():
        yield name, version3.complete(version3.from_v2_paths(paths), {}, v3_schemas)
    for group in BUILTIN.groups():
        yield (
            document_name(group),
            version3.complete(version3.from_v2_paths(version2.group_paths(group)), {}, v3_schemas),
        )
    for table in (BUILTIN, OPTIONAL):
        for group in table.groups():
            for version in table.versions(group):
                paths = version3.from_v2_paths(version2.group_version_paths(group, version))
                for resource in table.resources(group, version):
                    paths |= version3.resource_paths(resource, kinds)
                yield document_name(group, version), version3.complete(paths, {}, v3_schemas)
