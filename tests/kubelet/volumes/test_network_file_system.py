import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.waiting import until

from shirube.kubelet.volumes.network_file_system import _run, on_export
from shirube.kubelet.volumes.volume import VolumeError


async def test_a_helper_that_leaves_a_process_behind_holds_up_nobody():
    began = time.monotonic()
    status, said = await _run(["sh", "-c", "cat; echo said; sleep 30 & exit 3"], b"given and ", 25)
    assert (status, said) == (3, "given and said") and time.monotonic() - began < 25


async def test_one_that_hangs_is_ended():
    with pytest.raises(TimeoutError):
        await _run(["sleep", "20"], b"", 0.05)


@pytest.fixture
def mount(tmp_path, monkeypatch):
    """Stands in for mount(8): a script, which the program that works on the export finds first."""

    def stand_in(script: str) -> None:
        program = tmp_path / "bin" / "mount"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\nfor at; do :; done\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return stand_in


@pytest.mark.cluster
async def test_what_is_done_on_an_export_leaves_no_mount(tmp_path, mount):
    share = tmp_path / "share"
    share.mkdir()
    mount(f'exec /usr/bin/mount --bind {share} "$at"')
    before = Path("/proc/self/mounts").read_text()
    make = {"action": "make", "directory": "ns/data", "permissions": "0770"}
    await on_export(tmp_path, "server", "/export", (), make)
    assert (share / "ns/data").stat().st_mode & 0o7777 == 0o770
    (share / "ns/link").symlink_to("/etc")
    with pytest.raises(VolumeError, match=r"cannot make directory ns/link/x of server:/export: .*link"):
        await on_export(tmp_path, "server", "/export", (), {**make, "directory": "ns/link/x"})
    assert Path("/proc/self/mounts").read_text() == before and os.listdir(tmp_path / "nfs-export") == []


@pytest.mark.cluster
async def test_a_server_that_does_not_answer_is_given_up_with_all_that_waits_for_it(tmp_path, mount):
    mount("exec sleep 1234")
    make = {"action": "make", "directory": "x", "permissions": "0"}
    with pytest.raises(VolumeError, match="no answer from server:/export in 2 s"):
        await on_export(tmp_path, "server", "/export", (), make, 2.0)
    await until(lambda: not _waiting(), 5, "the one that waited has ended")


def _waiting() -> list[Path]:
    return [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\0001234\0" in _read(p)]


def _read(path: Path) -> bytes:
    with suppress(OSError):  # it has just ended
        return path.read_bytes()
    return b""


@pytest.mark.cluster
async def test_what_mount_says_is_passed_on(tmp_path, mount):
    mount("echo access denied by server >&2; exit 32")
    with pytest.raises(VolumeError, match=r"mount failed: exit status 32: .* access denied by server"):
        await on_export(tmp_path, "server", "/export", (), {"action": "make", "directory": "x", "permissions": "0"})
