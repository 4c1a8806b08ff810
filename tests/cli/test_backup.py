"""`shirube backup` and `restore` of a store that is named by itself."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from click.testing import CliRunner

from shirube.cli.commands.backup import command as backup
from shirube.cli.commands.restore import command as restore
from shirube.storage import open_storage
from shirube.storage.types import Put, StorageError


async def _write(path: Path) -> None:
    store = await open_storage(str(path))
    await store.commit((), (Put("/registry/a", b"1"),))
    await store.close()


async def _read(path: Path) -> bytes:
    store = await open_storage(str(path))
    try:
        held = await store.get("/registry/a")
        assert held is not None
        return held.value
    finally:
        await store.close()


def test_there_and_back(tmp_path: Path):
    source, target, file = tmp_path / "a.db", tmp_path / "b.db", tmp_path / "backup"
    asyncio.run(_write(source))
    runner = CliRunner()
    said = runner.invoke(backup, [str(file), "--store", str(source)], catch_exceptions=False)
    assert said.output.startswith(f"1 objects at revision 2 are in {file} (")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = runner.invoke(restore, [str(file), "--store", str(target)], catch_exceptions=False)
    assert said.output == f"1 objects restored into {target}\n"
    assert asyncio.run(_read(target)) == b"1"
    again = runner.invoke(restore, [str(file), "--store", str(target)])
    assert isinstance(again.exception, StorageError)
    assert "--overwrite" in str(again.exception)
    assert runner.invoke(restore, [str(file), "--store", str(target), "--overwrite"]).exit_code == 0


def test_a_command_line_that_says_two_things():
    said = CliRunner().invoke(restore, ["x", "--store", "a.db", "--datastore", "etcd"])
    assert said.exit_code == 2
    assert "exclude each other" in said.output
