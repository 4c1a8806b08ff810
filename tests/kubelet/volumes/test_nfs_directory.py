import os
from pathlib import Path

import pytest

from shirube.kubelet.volumes import nfs_directory
from shirube.kubelet.volumes.nfs_directory import ExportError, mount_command, work

VOLUME = "pvc-1"


@pytest.fixture
def share(tmp_path: Path):
    top = tmp_path / "share"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    yield top, fd
    os.close(fd)


def do(fd: int, action: str, directory: str = "ns/data", **more: str) -> None:
    target = f"{os.path.dirname(directory)}/archived-data"
    work({"action": action, "directory": directory, "volume": VOLUME, "target": target, **more}, fd)


def test_made_once_whoever_comes_first(share):
    top, fd = share
    do(fd, "make", permissions="0777")
    assert (top / "ns/data").stat().st_mode & 0o7777 == 0o777 and (top / "ns").stat().st_mode & 0o022 == 0
    (top / "ns/data/file").write_text("kept")
    (top / "ns/data").chmod(0o700)
    do(fd, "make", permissions="0777")
    assert (top / "ns/data").stat().st_mode & 0o7777 == 0o700, "it is in use: its owner may have chosen"
    do(fd, "make", "other", permissions="0")
    assert (top / "other").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("action", ["make", "archive", "set aside"])
@pytest.mark.parametrize("link", ["ns", "ns/data"])
def test_no_link_on_the_export_is_followed(share, tmp_path, action, link):
    top, fd = share
    outside = tmp_path / "outside"
    (outside / "data").mkdir(parents=True)
    (outside / "data/file").write_text("kept")
    (top / link).parent.mkdir(exist_ok=True)
    (top / link).symlink_to(outside if link == "ns" else outside / "data")
    with pytest.raises(OSError):
        do(fd, action, permissions="0777")
    assert (outside / "data/file").read_text() == "kept" and os.listdir(outside) == ["data"]


def test_set_aside_and_emptied(share, tmp_path):
    top, fd = share
    kept = tmp_path / "kept"
    kept.write_text("")
    (top / "ns/data/deep").mkdir(parents=True)
    (top / "ns/data/deep/link").symlink_to(kept)
    do(fd, "set aside")
    do(fd, "set aside")  # died before the answer
    assert os.listdir(top / "ns") == [] and (top / ".deleted-pvc-1/deep").is_dir()
    (top / "ns/data").mkdir()  # a new claim of the same name
    do(fd, "empty")
    do(fd, "empty")
    assert sorted(os.listdir(top)) == ["ns"] and (top / "ns/data").is_dir() and kept.exists()


def test_what_an_earlier_attempt_left_is_emptied_first(share):
    top, fd = share
    (top / ".deleted-pvc-1/half").mkdir(parents=True)
    (top / "ns/data/rest").mkdir(parents=True)
    do(fd, "set aside")
    assert os.listdir(top / ".deleted-pvc-1") == ["rest"]


def test_archived_beside_where_it_was(share):
    top, fd = share
    (top / "ns/data").mkdir(parents=True)
    (top / "ns/data/file").write_text("kept")
    do(fd, "archive")
    do(fd, "archive")
    assert os.listdir(top / "ns") == ["archived-data"] and (top / "ns/archived-data/file").read_text() == "kept"


def test_what_was_never_made_is_removed_already(share):
    top, fd = share
    for action in ("archive", "set aside", "empty"):
        do(fd, action)
    assert os.listdir(top) == []
    with pytest.raises(ExportError):
        do(fd, "format")


def test_a_server_is_no_option():
    assert mount_command("fd00::1", "/x", "/at", ["ro", "nfsvers=4"])[3:] == [
        "-o",
        "ro,nfsvers=4",
        "--",
        "[fd00::1]:/x",
        "/at",
    ]
    with pytest.raises(ExportError):
        mount_command("-oexec", "/x", "/at", [])


def test_what_a_node_lacks_is_said_before_and_after(monkeypatch):
    monkeypatch.setattr(nfs_directory, "kernel_has_client", lambda: False)
    monkeypatch.setattr(nfs_directory, "_HELPERS", ())
    assert "the kernel of this node has no NFS client" in nfs_directory.hindrance()
    monkeypatch.setattr(nfs_directory, "_HELPERS", ("/",))
    assert nfs_directory.hindrance() == "", "a helper may mount without the kernel's client"
    assert "the kernel of this node has no NFS client" in nfs_directory.explained("no such device")
    monkeypatch.setattr(nfs_directory, "kernel_has_client", lambda: True)
    assert nfs_directory.explained("access denied") == "access denied"
    monkeypatch.setattr(nfs_directory, "_HELPERS", ())
    assert nfs_directory.hindrance() == "" and "no mount.nfs" in nfs_directory.explained("wrong fs type")
