"""Old tokens in Secrets: which are marked, which are deleted, which are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.live import live
from tests.waiting import until

from shirube.api.gvr import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS
from shirube.controllers.legacy_service_account_token_cleaner import (
    INVALID_SINCE,
    LAST_USED,
    LOOK_SECONDS,
    TRACKING,
    day_begins,
    lists,
    look_again,
    mounted,
    step,
    tracked_long_enough,
    unused,
)
from shirube.foundation.clock import SYSTEM, parse_rfc3339, rfc3339, utc_day

DAY, YEAR = 86400.0, 365 * 86400.0
NOW = parse_rfc3339("2026-06-15T12:00:00Z")
TYPE = "kubernetes.io/service-account-token"
NAME = "legacy-serviceaccount-token-cleaner-controller"


def secret(age: float, labels: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    made = {"name": "old", "namespace": "ns", "creationTimestamp": rfc3339(NOW - age), **metadata}
    return {"type": TYPE, "metadata": {**made, "labels": labels} if labels else made}


@pytest.mark.parametrize(
    ("since", "enough"),
    [("2025-06-14", True), ("2025-06-15", False), ("2025-06-16", False), ("", False), ("20250101", False)],
)
def test_nothing_is_judged_before_uses_have_been_noted_for_long(since: str, enough: bool):
    assert tracked_long_enough(since, NOW, YEAR) == enough


@pytest.mark.parametrize(
    ("one", "old"),
    [
        (secret(YEAR + 1), True),
        (secret(YEAR), False),
        (secret(10), False),
        ({**secret(2 * YEAR), "type": "Opaque"}, False),
        (secret(2 * YEAR, deletionTimestamp=rfc3339(NOW)), False),
        (secret(2 * YEAR, {LAST_USED: "2025-06-14"}), True),
        (secret(2 * YEAR, {LAST_USED: "2025-06-15"}), False),
        (secret(2 * YEAR, {LAST_USED: "long ago"}), False),  # it cannot be told
        (secret(2 * YEAR, {LAST_USED: "20250101"}), False),
    ],
)
def test_unused_is_what_is_old_and_without_a_note_of_use(one: dict[str, Any], old: bool):
    assert unused(one, NOW, YEAR) == old


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ({}, "mark"),
        ({INVALID_SINCE: "nonsense"}, "mark"),
        ({INVALID_SINCE: "2026-06-14"}, ""),
        ({INVALID_SINCE: "2025-06-15"}, ""),
        ({INVALID_SINCE: "2025-06-14"}, "delete"),
    ],
)
def test_marked_first_and_deleted_a_period_later(labels: dict[str, str], what: str):
    assert step(secret(3 * YEAR, labels), NOW, YEAR) == what


@given(
    period=st.floats(DAY, 2 * YEAR),
    used=st.lists(st.floats(0, 6 * YEAR), max_size=6),
    horizon=st.just(6 * YEAR),
)
def test_no_token_goes_without_a_period_of_warning_nor_one_in_use(period: float, used: list[float], horizon: float):
    """Daily sweeps over six years; a use is noted when it happens, also of a token that is marked invalid."""
    labels: dict[str, str] = {}
    uses, marked = sorted(used), None
    last = 0.0
    for number in range(int(horizon / DAY)):
        now = NOW + number * DAY
        while uses and uses[0] <= now - NOW:
            last = uses.pop(0)
            labels[LAST_USED] = utc_day(NOW + last)
        one = secret(0, labels)
        if not unused(one, now, period):
            continue
        assert now - NOW - last > period, "it has been used, or made, within the period"
        what = step(one, now, period)
        if what == "mark":
            marked = now
            labels[INVALID_SINCE] = utc_day(now)
        elif what == "delete":
            assert marked is not None
            assert now - marked > period, "its owner had as long to bring it back"
            return


def test_each_token_is_looked_at_daily_and_when_it_comes_of_age():
    assert look_again(secret(10), NOW, YEAR) == LOOK_SECONDS
    assert look_again(secret(2 * YEAR), NOW, YEAR) == LOOK_SECONDS
    soon = look_again(secret(YEAR - 60), NOW, YEAR)
    assert soon == 61
    assert unused(secret(YEAR - 60), NOW + soon, YEAR)


@given(st.floats(0, 4e9))
def test_days_compare_as_text(seconds: float):
    begun = day_begins(utc_day(seconds))
    assert begun is not None
    assert begun <= seconds < begun + DAY
    assert (utc_day(seconds) < utc_day(seconds + DAY)) and day_begins(utc_day(seconds) + "T00") is None


def test_every_place_in_which_a_pod_names_a_secret_counts():
    container = {"env": [{"valueFrom": {"secretKeyRef": {"name": "e"}}}, {"value": "x"}]}
    reference = {"secretRef": {"name": "r"}}
    volumes = [
        {"name": "v", "secret": {"secretName": "s"}},
        {"name": "v", "projected": {"sources": [{"secret": {"name": "p"}}, {"configMap": {"name": "no"}}]}},
        {"name": "v", "azureFile": {"secretName": "a"}},
        {"name": "v", "csi": {"nodePublishSecretRef": {"name": "c"}}},
        *({"name": "v", kind: reference} for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO")),
        {"name": "v", "emptyDir": {}},
    ]
    spec = {
        "imagePullSecrets": [{"name": "i"}],
        "containers": [container],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "f"}}, {"configMapRef": {"name": "no"}}]}],
        "volumes": volumes,
    }
    assert set(mounted({"spec": spec})) - {""} == set("eifspacr")


def test_an_account_lists_its_own_tokens_only():
    account = {"metadata": {"uid": "u"}, "secrets": [{"name": "old"}]}
    assert lists(account, secret(0))
    assert lists(account, secret(0, annotations={"kubernetes.io/service-account.uid": "u"}))
    assert not lists(account, secret(0, annotations={"kubernetes.io/service-account.uid": "another"}))
    assert not lists({**account, "secrets": []}, secret(0))


class Moved:
    """The calendar shows a later day; the stopwatch goes on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return SYSTEM.now() + self.ahead

    def monotonic(self) -> float:
        return SYSTEM.monotonic()


async def test_two_years_in_the_life_of_tokens(tmp_path: Path):
    """Of four old tokens one is marked and deleted: not that made by hand, that mounted, that in use."""
    clock = Moved()
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only=NAME, clock=clock) as controllers:
            (cleaner,) = (c for c in controllers if c.name == NAME)
            names = ("auto", "mounted", "used")
            references = [{"name": name} for name in names]
            account = await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "robot"}}, "default")
            await admin.update(SERVICEACCOUNTS, {**account, "secrets": references})
            annotations = {"kubernetes.io/service-account.name": "robot"}
            for name in ("by-hand", *names):
                made = {"metadata": {"name": name, "annotations": annotations}, "type": TYPE}
                await admin.create(SECRETS, made, "default")
            volume = {"name": "token", "secret": {"secretName": "mounted"}}
            spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [volume]}
            await admin.create(PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")

            async def cached(condition: Any = lambda found: True) -> bool:
                held = [cleaner._secrets.store.get("default", name) for name in ("by-hand", *names)]
                return all(found is not None and condition(found) for found in held)

            async def swept(days: float) -> dict[str, str]:
                clock.ahead = days * DAY
                await admin.patch(
                    SECRETS, "used", {"metadata": {"labels": {LAST_USED: utc_day(clock.now())}}}, "default"
                )

                async def seen() -> bool:
                    held = cleaner._secrets.store.get("default", "used")
                    return bool((held["metadata"].get("labels") or {}).get(LAST_USED) == utc_day(clock.now()))

                await until(seen, 10)
                for name in ("by-hand", *names):
                    await cleaner.reconcile(f"default/{name}")
                left = (await admin.list(SECRETS, "default"))["items"]
                return {s["metadata"]["name"]: (s["metadata"].get("labels") or {}).get(INVALID_SINCE, "") for s in left}

            await until(cached, 10)
            unmarked = dict.fromkeys(("by-hand", *names), "")
            assert await swept(365) == unmarked, "uses have not been noted for a whole year yet"
            marked = {**unmarked, "auto": utc_day(SYSTEM.now() + 368 * DAY)}
            assert await swept(368) == marked

            async def labelled() -> bool:
                held = cleaner._secrets.store.get("default", "auto")
                return INVALID_SINCE in (held["metadata"].get("labels") or {})

            await until(labelled, 10)
            assert await swept(368 + 365) == marked
            await admin.delete(CONFIGMAPS, TRACKING, "kube-system")
            assert await swept(368 + 367) == marked, "nobody knows since when uses are noted"
            since = {"metadata": {"name": TRACKING}, "data": {"since": utc_day(SYSTEM.now())}}
            await admin.create(CONFIGMAPS, since, "kube-system")
            assert await swept(368 + 367) == {name: "" for name in unmarked if name != "auto"}
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]
