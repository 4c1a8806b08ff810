"""Encryption at rest: what is in the store, what clients see, and keys that come and go."""

from __future__ import annotations

import base64
import secrets
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from tests.apiserver.conftest import ADMIN, Admins, Api

from shirube.apiserver.cannot_decrypt import CannotDecrypt
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.encryption import EncryptedStorage, read
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM
from shirube.storage import open_storage
from shirube.storage.types import Compare, CompareFailed, Delete, Put, Storage

SECRETS = "/api/v1/namespaces/default/secrets"
PLAIN = b"correct horse battery staple"


def key(name: str, size: int = 32) -> dict:
    return {"name": name, "secret": base64.b64encode(name.encode().ljust(size, b"."))[:64].decode()}


def provider(kind: str, *names: str) -> dict:
    return {kind: {"keys": [key(name) for name in names]}} if names else {kind: {}}


def configuration(*providers: dict, resources: tuple[str, ...] = ("secrets",)) -> bytes:
    return orjson.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": list(resources), "providers": list(providers)}],
        }
    )


def secret(name: str, text: bytes = PLAIN) -> dict:
    return {"metadata": {"name": name}, "data": {"password": base64.b64encode(text).decode()}}


@asynccontextmanager
async def server(tmp_path: Path, *providers: dict, resources: tuple[str, ...] = ("secrets",)):
    file = tmp_path / "encryption.yaml"
    file.write_bytes(configuration(*providers, resources=resources))
    async with in_process(Options(data_dir=tmp_path, encryption_config=file), chance=Chance(1)) as running:
        running.context.authenticator = Admins(ADMIN, running.context.authenticator)
        yield Api(running)


async def raw(api: Api, name: str) -> bytes:
    """What the store holds of a secret."""
    held = await api.context.encryption.inner.get(f"/registry/core/secrets/default/{name}")
    return held.value


async def reconfigure(api: Api, tmp_path: Path, *providers: dict) -> bool:
    (tmp_path / "encryption.yaml").write_bytes(configuration(*providers))
    return await api.context.files["encryption"].check()


@pytest.mark.parametrize("kind", ["aesgcm", "aescbc", "secretbox"])
async def test_the_store_has_no_plain_text(tmp_path, kind):
    async with server(tmp_path, provider(kind, "key1"), provider("identity")) as api:
        await api.ok("POST", SECRETS, secret("s"))
        assert (await raw(api, "s")).startswith(f"k8s:enc:{kind}:v1:key1:".encode())
        shown = await api.ok("GET", f"{SECRETS}/s")
        assert base64.b64decode(shown["data"]["password"]) == PLAIN
        listed = await api.ok("GET", SECRETS)
        assert base64.b64decode(listed["items"][0]["data"]["password"]) == PLAIN
        # a read of an old revision comes from the store itself
        version = shown["metadata"]["resourceVersion"]
        await api.ok("DELETE", f"{SECRETS}/s")
        old = await api.ok("GET", f"{SECRETS}?resourceVersion={version}&resourceVersionMatch=Exact")
        assert base64.b64decode(old["items"][0]["data"]["password"]) == PLAIN
    encoded = base64.b64encode(PLAIN)
    for file in tmp_path.glob("store.db*"):
        data = file.read_bytes()
        assert PLAIN not in data and encoded not in data and b"password" not in data, file


async def test_watchers_see_plain_values(tmp_path):
    async with server(tmp_path, provider("aesgcm", "key1")) as api, api.watch(SECRETS) as events:
        await api.ok("POST", SECRETS, secret("s"))
        kind, obj = await events.next()
        assert (kind, base64.b64decode(obj["data"]["password"])) == ("ADDED", PLAIN)
        await api.ok("DELETE", f"{SECRETS}/s")
        kind, obj = await events.next()
        assert (kind, base64.b64decode(obj["data"]["password"])) == ("DELETED", PLAIN)


async def test_other_resources_stay_plain(tmp_path):
    async with server(tmp_path, provider("aesgcm", "key1")) as api:
        await api.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}, "data": {"a": "b"}})
        held = await api.context.encryption.inner.get("/registry/core/configmaps/default/c")
        assert held.value.startswith(b'{"apiVersion"')


async def test_keys_are_rotated_while_the_server_runs(tmp_path):
    async with server(tmp_path, provider("aesgcm", "old")) as api:
        await api.ok("POST", SECRETS, secret("s"))
        assert await reconfigure(api, tmp_path, provider("aesgcm", "new", "old"))
        assert b":new:" not in await raw(api, "s")
        # rewriting what is there, unchanged, moves it to the new key
        shown = await api.ok("GET", f"{SECRETS}/s")
        again = await api.ok("PUT", f"{SECRETS}/s", shown)
        assert again["metadata"]["resourceVersion"] != shown["metadata"]["resourceVersion"]
        assert (await raw(api, "s")).startswith(b"k8s:enc:aesgcm:v1:new:")
        # and once more changes nothing
        third = await api.ok("PUT", f"{SECRETS}/s", again)
        assert third["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
        # the old key may go now
        assert await reconfigure(api, tmp_path, provider("aesgcm", "new"))
    async with server(tmp_path, provider("aesgcm", "new")) as api:
        shown = await api.ok("GET", f"{SECRETS}/s")
        assert base64.b64decode(shown["data"]["password"]) == PLAIN


async def test_a_store_is_encrypted_and_decrypted_by_rewriting(tmp_path):
    async with server(tmp_path, provider("identity")) as api:
        await api.ok("POST", SECRETS, secret("s"))
        assert (await raw(api, "s")).startswith(b'{"apiVersion"')
        for providers, begins in (
            ((provider("secretbox", "key1"), provider("identity")), b"k8s:enc:secretbox:v1:key1:"),
            ((provider("identity"), provider("secretbox", "key1")), b'{"apiVersion"'),
        ):
            assert await reconfigure(api, tmp_path, *providers)
            await api.ok("PUT", f"{SECRETS}/s", await api.ok("GET", f"{SECRETS}/s"))
            assert (await raw(api, "s")).startswith(begins)


async def test_a_missing_key_is_named_and_hurts_nobody_else(tmp_path):
    async with server(tmp_path, provider("aesgcm", "lost")) as api:
        await api.ok("POST", SECRETS, secret("s"))
    async with server(tmp_path, provider("aesgcm", "other"), provider("identity")) as api:
        for target in (SECRETS, f"{SECRETS}/s"):
            answer = await api.get(target)
            assert answer.status == 500
            assert answer.message == (
                'Internal error occurred: unable to transform key "/registry/core/secrets/default/s": '
                "no matching key was found for the provided AES transformer"
            )
        assert (await api.get("/readyz")).status == 200
        await api.ok("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "c"}})
        assert len((await api.ok("GET", "/api/v1/namespaces"))["items"]) >= 4
        # the key comes back: no restart is needed
        assert await reconfigure(api, tmp_path, provider("aesgcm", "other", "lost"))
        cache = api.context.caches.of(api.context.table.by_path("", "v1", "secrets"))
        await cache._fill()  # instead of waiting a second for the next try
        assert [e.key for e in cache.entries()] == ["/registry/core/secrets/default/s"]


async def test_a_configuration_that_is_wrong_leaves_the_old_one(tmp_path):
    async with server(tmp_path, provider("aesgcm", "key1")) as api:
        (tmp_path / "encryption.yaml").write_text("kind: Nonsense\n")
        assert not await api.context.files["encryption"].check()
        text = (await api.get("/metrics")).raw.decode()
        assert 'apiserver_encryption_config_controller_automatic_reloads_total{status="failure"} 1.0' in text
        await api.ok("POST", SECRETS, secret("s"))
        assert (await raw(api, "s")).startswith(b"k8s:enc:aesgcm:v1:key1:")


@asynccontextmanager
async def store(tmp_path: Path, data: bytes):
    inner = await open_storage(str(tmp_path / "store.db"), SYSTEM)
    try:
        yield EncryptedStorage(inner, read(data))
    finally:
        await inner.close()


async def test_a_value_under_another_key_does_not_open(tmp_path):
    async with store(tmp_path, configuration(provider("aesgcm", "key1"))) as storage:
        await storage.commit((), (Put("/registry/core/secrets/default/a", PLAIN),))
        sealed = (await storage.inner.get("/registry/core/secrets/default/a")).value
        await storage.inner.commit((), (Put("/registry/core/secrets/default/b", sealed),))
        with pytest.raises(CannotDecrypt, match='default/b": cipher: message authentication failed'):
            await storage.get("/registry/core/secrets/default/b")


@pytest.mark.parametrize("kind", ["aesgcm", "secretbox"])
async def test_a_changed_value_does_not_open(tmp_path, kind):
    async with store(tmp_path, configuration(provider(kind, "key1"))) as storage:
        place = "/registry/core/secrets/default/a"
        await storage.commit((), (Put(place, PLAIN),))
        sealed = bytearray((await storage.inner.get(place)).value)
        sealed[-1] ^= 1
        await storage.inner.commit((), (Put(place, bytes(sealed)),))
        with pytest.raises(CannotDecrypt):
            await storage.get(place)


async def test_the_whole_storage_interface(tmp_path):
    place = "/registry/core/secrets/default/a"
    async with store(tmp_path, configuration(provider("aesgcm", "key1"))) as storage:
        first = await storage.commit((Compare(place, 0),), (Put(place, PLAIN),))
        with pytest.raises(CompareFailed) as failed:
            await storage.commit((Compare(place, 0),), (Put(place, b"x"),))
        assert failed.value.current.value == PLAIN
        second = await storage.commit((Compare(place, first),), (Put(place, b"new"),))
        assert (await storage.get(place, first)).value == PLAIN
        assert [kv.value for kv in (await storage.range("/registry/", revision=first)).items] == [PLAIN]
        third = await storage.commit((), (Delete(place),))
        async with storage.watch("/registry/core/secrets/", first - 1) as events:
            seen = []
            while events.revision < third:
                seen += [(e.kind, e.value, e.prev_value) for e in await anext(events)]
        assert seen == [("PUT", PLAIN, None), ("PUT", b"new", None), ("DELETE", b"", b"new")]
        assert second < third == await storage.current_revision()
    missing = {n for n in vars(Storage) if not n.startswith("_")} - set(dir(EncryptedStorage))
    assert not missing, "the store around the store lacks what stores do"


NAMES = [
    ("secrets", "/registry/core/secrets/ns/a", True),
    ("secrets", "/registry/core/secretsx/ns/a", False),
    ("secrets", "/registry/apps/secrets/ns/a", False),
    ("*.", "/registry/core/configmaps/ns/a", True),
    ("*.", "/registry/apps/deployments/ns/a", False),
    ("*.apps", "/registry/apps/deployments/ns/a", True),
    ("*.*", "/registry/apps/deployments/ns/a", True),
    ("*.*", "/registry/example.com/foos/ns/a", True),
    ("foos.example.com", "/registry/example.com/foos/ns/a", True),
    ("foos.example.com", "/registry/example.com/bars/ns/a", False),
]


@pytest.mark.parametrize(("resource", "place", "encrypted"), NAMES)
def test_resources_are_named_as_upstream_names_them(resource, place, encrypted):
    rules = read(configuration(provider("aesgcm", "key1"), resources=(resource,)))
    assert rules.of(place).seal(b"{}", place).startswith(b"k8s:enc:") is encrypted


def test_the_first_entry_that_matches_holds():
    document = orjson.loads(configuration(provider("aesgcm", "key1"), resources=("configmaps",)))
    document["resources"].append({"resources": ["*.*"], "providers": [provider("secretbox", "all")]})
    document["resources"].insert(0, {"resources": ["events"], "providers": [provider("identity")]})
    rules = read(orjson.dumps(document))
    for resource, begins in (("events", b"{}"), ("configmaps", b"k8s:enc:aesgcm"), ("secrets", b"k8s:enc:secretbox")):
        assert rules.of(f"/registry/core/{resource}/a/b").seal(b"{}", "k").startswith(begins)


BAD = [
    (configuration(resources=("secrets",)), "at least one provider is required"),
    (configuration(provider("identity"), resources=()), "at least one resource is required"),
    (configuration({"aesgcm": {"keys": []}}), "at least one keys is required"),
    (
        configuration({"aesgcm": {"keys": [{"name": "a", "secret": "c2hvcnQ="}]}}),
        r"got 5, expected one of \[16 24 32\]",
    ),
    (configuration({"secretbox": {"keys": [{"name": "a", "secret": "c2hvcnQ="}]}}), r"expected one of \[32\]"),
    (configuration({"aesgcm": {"keys": [{"name": "a", "secret": "!!"}]}}), "secrets must be base64 encoded"),
    (configuration({"aesgcm": {"keys": [{"secret": "c2hvcnQ="}]}}), r"keys\[0\].name: Required value"),
    (configuration({"aesgcm": {"keys": []}, "identity": {}}), "more than one provider specified"),
    (configuration({"rot13": {}}), "does not contain any of the expected providers"),
    (configuration({"kms": {"name": "x"}}), "key management services are not supported"),
    (configuration(provider("identity"), resources=("*",)), r"use '\*\.' to encrypt"),
    (configuration(provider("identity"), resources=("secrets.*",)), "across groups is not supported"),
    (configuration(provider("identity"), resources=("Secrets",)), "should not contain capital letters"),
    (configuration(provider("identity"), resources=("events.events.k8s.io",)), "Use 'events' instead"),
    (configuration(provider("identity"), resources=("secrets", "*.")), "overlapping resources"),
    (configuration(provider("identity"), resources=("secrets", "secrets")), "cannot be specified multiple times"),
    (b"{}", "use kind EncryptionConfiguration in apiserver.config.k8s.io/v1"),
    (b"", "the file is empty"),
    (b'{"apiVersion":"apiserver.config.k8s.io/v1","kind":"EncryptionConfiguration"}', "at least one resources"),
]


@pytest.mark.parametrize(("data", "why"), BAD)
def test_what_is_wrong_is_said(data, why):
    with pytest.raises(ConfigurationError, match=why):
        read(data)


def test_errors_never_show_a_key():
    shown = secrets.token_hex(8)
    data = configuration({"aesgcm": {"keys": [{"name": "a", "secret": shown + "!"}]}})
    with pytest.raises(ConfigurationError) as caught:
        read(data)
    assert shown not in str(caught.value)


async def test_a_server_does_not_start_with_a_wrong_configuration(tmp_path):
    file = tmp_path / "encryption.yaml"
    file.write_text("nonsense")
    with pytest.raises(ConfigurationError, match=f"cannot use {file}"):
        async with in_process(Options(data_dir=tmp_path, encryption_config=file)):
            pass
