"""Odd requests, and what upstream says to them."""

from __future__ import annotations

import pytest

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY, MERGE, STRATEGIC, JSON_PATCH = (
    "apply-patch+yaml",
    "merge-patch+json",
    "strategic-merge-patch+json",
    "json-patch+json",
)
APPLIED = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: z\n"
DECODING = "error decoding patch: "
TWICE = b'{"data":{"a":"1","a":"2"},"metadata":{"labels":{"l":"1","l":"2"}}}'
STRICT = 'strict decoding error: duplicate field "data.a", duplicate field "metadata.labels.l"'


def raw(body):
    return {"raw": body} if isinstance(body, bytes) else {"body": body}


@pytest.fixture
async def one(api):
    await api.ok("POST", CONFIGMAPS, {"metadata": {"name": "x"}})
    return api


@pytest.mark.parametrize(
    ("kind", "query", "body", "status", "message"),
    [
        (MERGE, "", b"{", 400, f"{DECODING}unexpected end of JSON input"),
        (
            MERGE,
            "",
            b"[]",
            400,
            f"{DECODING}json: cannot unmarshal array into Go value of type map[string]interface {{}}",
        ),
        (JSON_PATCH, "", b"{}", 400, f"{DECODING}json: cannot unmarshal object into Go value of type []interface {{}}"),
        (
            MERGE,
            "",
            {"metadata": {"name": "y"}},
            400,
            "the name of the object (y) does not match the name on the URL (x)",
        ),
        (
            STRATEGIC,
            "",
            {"metadata": {"namespace": "o"}},
            400,
            "the namespace of the object (o) does not match the namespace on the request (default)",
        ),
        (
            MERGE,
            "fieldValidation=Loud",
            {},
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Loud": '
            'supported values: "Ignore", "Strict", "Warn"',
        ),
        (
            MERGE,
            "fieldManager=" + "a" * 129,
            {},
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes',
        ),
    ],
)
async def test_patches_that_are_none(one, kind, query, body, status, message):
    answer = await one.patch(f"{CONFIGMAPS}/x?{query}", **raw(body), kind=kind)
    assert (answer.status, answer.message) == (status, message)


@pytest.mark.parametrize("kind", [MERGE, STRATEGIC])
async def test_what_a_patch_says_twice(one, kind):
    refused = await one.patch(f"{CONFIGMAPS}/x?fieldValidation=Strict", raw=TWICE, kind=kind)
    assert refused.status == 422 and refused.message.endswith(STRICT)
    assert refused.message.startswith(' "" is invalid: patch: Invalid value: ')
    # of a merge patch upstream shows what came out
    assert ("creationTimestamp" in refused.message) == (kind == MERGE)
    told = await one.patch(f"{CONFIGMAPS}/x", raw=TWICE, kind=kind)
    warnings = [v for k, v in told.headers if k.lower() == "warning"]
    assert warnings == [f'299 - "duplicate field \\"{path}\\""' for path in ("data.a", "metadata.labels.l")]
    assert told.json["data"] == {"a": "2"}
    quiet = await one.patch(f"{CONFIGMAPS}/x?fieldValidation=Ignore", raw=TWICE, kind=kind)
    assert quiet.status == 200 and not [k for k, _ in quiet.headers if k.lower() == "warning"]


async def test_operations_that_say_something_twice(one):
    body = b'[{"op":"add","path":"/data","value":{"a":"1","a":"2"}}]'
    refused = await one.patch(f"{CONFIGMAPS}/x?fieldValidation=Strict", raw=body, kind=JSON_PATCH)
    assert refused.status == 422 and refused.message.endswith('duplicate field "[0].value.a"')


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        (
            "",
            APPLIED + b"foo: 1\n",
            500,
            "failed to create typed patch object (/z; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            "&fieldValidation=Ignore",
            APPLIED + b"  namespace: default\n  labls: {}\nfoo: 1\n",
            500,
            "failed to create typed patch object (default/z; /v1, Kind=ConfigMap): errors:\n"
            "  .metadata.labls: field not declared in schema\n  .foo: field not declared in schema",
        ),
        (
            "&fieldValidation=Strict",
            APPLIED + b'data:\n  a: "1"\n  a: "2"\n',
            400,
            'error strict decoding YAML: yaml: unmarshal errors:\n  line 7: key "a" already set in map',
        ),
        (
            "",
            APPLIED + b"  uid: u\n",
            409,
            'Operation cannot be fulfilled on configmaps "z": uid mismatch: the provided object specified uid u, '
            "and no existing object was found",
        ),
        ("", APPLIED.replace(b": z", b": q"), 400, "the name of the object (q) does not match the name on the URL (z)"),
    ],
)
async def test_what_cannot_be_applied(api, query, body, status, message):
    answer = await api.patch(f"{CONFIGMAPS}/z?fieldManager=m{query}", raw=body, kind=APPLY)
    assert (answer.status, answer.message) == (status, message)
    assert (await api.get(f"{CONFIGMAPS}/z")).status == 404


async def test_undeclared_fields_are_told_by_the_keys_of_lists(api):
    port = {"containerPort": 80, "hostport": 1}
    pod = {"containers": [{"name": "c", "image": "i", "ports": [port]}], "tolerations": [{"keyy": "a"}]}
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": pod}}}
    answer = await api.patch(f"{DEPLOYMENTS}/d?fieldManager=m", applied, kind=APPLY)
    start = "failed to create typed patch object (/; apps/v1, Kind=Deployment): errors:\n"
    below = ".spec.template.spec"
    assert answer.message == (
        f'{start}  {below}.containers[name="c"].ports[containerPort=80,protocol="TCP"].hostport: '
        f"field not declared in schema\n  {below}.tolerations[0].keyy: field not declared in schema"
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
        (b'{"a', "couldn't get version/kind; json parse error: unexpected end of JSON input ({\"a)"),
        (
            b"[1]",
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type "
            "struct { APIVersion string; Kind string } (5b315d)",
        ),
    ],
)
async def test_bodies_that_are_no_objects(api, body, why):
    answer = await api.post(CONFIGMAPS, raw=body)
    assert (answer.status, answer.message) == (
        400,
        f"the object provided is unrecognized (must be of type ConfigMap): {why}",
    )


@pytest.mark.parametrize(
    ("method", "options"), [("POST", "CreateOptions"), ("PUT", "UpdateOptions"), ("PATCH", "PatchOptions")]
)
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("dryRun=Some", 'dryRun: Unsupported value: "Some": supported values: "All"'),
        ("fieldManager=a%00b", 'fieldManager: Invalid value: "a\\x00b": should only contain printable characters'),
        (
            "fieldValidation=Loud",
            'fieldValidation: Unsupported value: "Loud": supported values: "Ignore", "Strict", "Warn"',
        ),
    ],
)
async def test_wrong_options_of_every_write(one, method, options, query, why):
    path = CONFIGMAPS if method == "POST" else f"{CONFIGMAPS}/x"
    more = {"content_type": "application/merge-patch+json"} if method == "PATCH" else {}
    answer = await one.call(method, f"{path}?{query}", {"metadata": {"name": "x"}}, **more)
    assert (answer.status, answer.message) == (422, f'{options}.meta.k8s.io "" is invalid: {why}')


MATCH = "resourceVersionMatch"


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("sendInitialEvents=true", 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        (f"{MATCH}=Exact", 422, f"{MATCH}: Forbidden: {MATCH} is forbidden unless resourceVersion is provided"),
        (
            f"{MATCH}=Exact&resourceVersion=0",
            422,
            f'{MATCH}: Forbidden: {MATCH} "exact" is forbidden for resourceVersion "0"',
        ),
        (
            f"{MATCH}=Newest&resourceVersion=1",
            422,
            f'{MATCH}: Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            f"{MATCH}=Exact&resourceVersion=1&continue=x",
            422,
            f"{MATCH}: Forbidden: {MATCH} is forbidden when continue is provided",
        ),
        (
            "resourceVersion=x",
            422,
            'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
        ),
        (
            f"watch=1&{MATCH}=NotOlderThan",
            422,
            f"{MATCH}: Forbidden: {MATCH} is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            f"{MATCH}: Forbidden: sendInitialEvents requires setting {MATCH} to NotOlderThan",
        ),
        (
            f"watch=1&sendInitialEvents=true&{MATCH}=Exact",
            422,
            f'{MATCH}: Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
        ("resourceVersion=1&continue=x", 400, "specifying resource version is not allowed when using continue"),
        ("limit=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("watch=1&timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("labelSelector=a+b", 400, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'"),
    ],
)
async def test_what_cannot_be_listed_or_watched(api, query, status, message):
    answer = await api.get(f"{CONFIGMAPS}?{query}")
    start = 'ListOptions.meta.k8s.io "" is invalid: ' if status == 422 else ""
    assert (answer.status, answer.message) == (status, start + message)


async def test_openapi_in_protobuf_is_known_again_by_its_etag(api):
    media = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    first = await api.get("/openapi/v2", accept=media)
    headers = {k.lower(): v for k, v in first.headers}
    assert first.status == 200 and first.content_type == media.replace("@", ".") and headers["vary"] == "Accept"
    again = await api.get("/openapi/v2", accept=media, if_none_match=headers["etag"])
    assert (again.status, again.raw) == (304, b"")
    assert (await api.get("/openapi/v2", accept="text/foo")).status == 406


@pytest.mark.parametrize("accept", ["text/plain", "application/json;as=Nothing;v=v1;g=meta.k8s.io"])
async def test_what_cannot_be_answered_in(api, accept):
    answer = await api.get(CONFIGMAPS, accept=accept)
    known = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert (answer.status, answer.message) == (406, f"only the following media types are accepted: {known}")
