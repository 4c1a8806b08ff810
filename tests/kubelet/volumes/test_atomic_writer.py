import os

import pytest

from shirube.kubelet.volumes.atomic_writer import File, UnsafePath, write


def read(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in directory.rglob("*")
        if p.is_file() and not str(p.relative_to(directory)).startswith("..")
    }


def test_files_are_links_through_data(tmp_path):
    assert write(tmp_path, {"a": File(b"1", 0o644), "b/c": File(b"2", 0o400)}, 1e9)
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "b") == "..data/b"
    assert os.readlink(tmp_path / "..data").startswith("..2001_09_09_")
    assert (tmp_path / "b/c").read_bytes() == b"2"
    assert (tmp_path / "b/c").stat().st_mode & 0o777 == 0o400


def test_an_update_swaps_everything_and_cleans_up(tmp_path):
    write(tmp_path, {"a": File(b"1", 0o644), "gone": File(b"", 0o644)}, 1e9)
    old = (tmp_path / "..data").resolve()
    assert write(tmp_path, {"a": File(b"2", 0o644), "new": File(b"3", 0o644)}, 1e9)
    assert (tmp_path / "a").read_bytes() == b"2" and (tmp_path / "new").read_bytes() == b"3"
    assert not (tmp_path / "gone").is_symlink() and not old.exists()
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("..2")]) == 1


def test_nothing_is_written_when_nothing_changed(tmp_path):
    files = {"a": File(b"1", 0o644)}
    write(tmp_path, files, 1e9)
    before = os.readlink(tmp_path / "..data")
    assert not write(tmp_path, files, 2e9)
    assert os.readlink(tmp_path / "..data") == before
    assert write(tmp_path, {"a": File(b"1", 0o600)}, 2e9)


def test_what_a_crash_left_is_overcome(tmp_path):
    write(tmp_path, {"a": File(b"1", 0o644)}, 1e9)
    (tmp_path / "..data_tmp").symlink_to("..nowhere")
    (tmp_path / "..2001_half").mkdir()
    write(tmp_path, {"a": File(b"2", 0o644)}, 1e9)
    assert (tmp_path / "a").read_bytes() == b"2" and not (tmp_path / "..2001_half").exists()


def test_a_group_may_read(tmp_path):
    write(tmp_path, {"a": File(b"1", 0o600)}, 1e9, group=os.getgid())
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "..data"])
def test_paths_stay_inside(tmp_path, path):
    with pytest.raises(UnsafePath):
        write(tmp_path, {path: File(b"", 0o644)}, 1e9)
