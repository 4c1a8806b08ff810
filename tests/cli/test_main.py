"""The command line: every command is listed, loads, and fails with one clear message."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from shirube.cli.commands.component import parser
from shirube.cli.main import COMMANDS, shirube_command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(name):
    result = CliRunner().invoke(shirube_command, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "sage: " in result.output


def test_help_lists_every_command():
    output = " ".join(CliRunner().invoke(shirube_command, ["--help"]).output.split())
    for name, text in COMMANDS.items():
        assert name in output and text in output


def test_an_unknown_command_is_a_usage_error():
    result = CliRunner().invoke(shirube_command, ["dance"])
    assert result.exit_code == 2 and "No such command 'dance'" in result.output


def shirube(*arguments, home):
    command = [sys.executable, "-m", "shirube", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"SHIRUBE_HOME": str(home)}, check=False)


def test_expected_errors_are_one_message_without_a_traceback(tmp_path):
    for arguments, message in (
        (["kubeconfig"], "cannot print a kubeconfig: there is no cluster shirube"),
        (["up", "--name", "Bad"], "cannot use cluster name 'Bad'"),
        (["image", "build", str(tmp_path)], "cannot build an image"),
        (["image", "ls"], "is not running; run `shirube up"),
        (["server", "--host", "nonsense"], "--host takes an IP address"),
    ):
        done = shirube(*arguments, home=tmp_path)
        assert done.returncode == 1, arguments
        assert message in done.stderr and "Traceback" not in done.stderr


def test_more_pods_than_the_nodes_hold_are_not_simulated():
    result = CliRunner().invoke(shirube_command, ["simulate", "--nodes", "3", "--pods", "1000"])
    assert result.exit_code == 2
    assert "ask for 270 pods or fewer, or for 12 nodes or more" in " ".join(result.output.split())


def test_a_component_says_in_one_line_that_it_has_no_kubeconfig(tmp_path):
    done = shirube("scheduler", "--kubeconfig", str(tmp_path / "none"), home=tmp_path)
    assert done.returncode == 1
    assert "cannot read kubeconfig" in done.stderr and "Traceback" not in done.stderr


@dataclasses.dataclass
class Options:
    """An example."""

    kubeconfig: Path
    node_ip: str
    port: int = 10250
    leader_elect: bool = True
    sockets: list = dataclasses.field(default_factory=list)
    ca: Path | None = None


def test_flags_are_the_fields_of_the_options():
    parsed = parser("x", Options).parse_args(
        ["--kubeconfig", "/k", "--node-ip", "10.0.0.1", "--no-leader-elect", "--ca", "/c"]
    )
    assert Options(**vars(parsed)) == Options(Path("/k"), "10.0.0.1", leader_elect=False, ca=Path("/c"))
    with pytest.raises(SystemExit):
        parser("x", Options).parse_args(["--kubeconfig", "/k"])
    with pytest.raises(SystemExit):
        parser("x", Options).parse_args(["--kubeconfig", "/k", "--node-ip", "1", "--sockets", "1"])
