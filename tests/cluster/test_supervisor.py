"""The supervisor as a process of its own, with programs as children."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import orjson
import pytest
from tests.cluster.conftest import NAME
from tests.forking import forked
from tests.ports import free_port
from tests.waiting import eventually

from shirube.cluster import cgroups, control
from shirube.cluster.supervisor import ChildSpec, Supervisor

GROUP = f"/{NAME}-supervisor/children"


@pytest.fixture
def supervisor(tmp_path):
    """Starts a supervisor with the given children; ends it and whatever it left."""
    cgroups.create(GROUP)
    started = []

    def start(**children: list[str]) -> Path:
        path = tmp_path / "control.sock"
        specs = [ChildSpec(name, tmp_path / f"{name}.log", GROUP, argv=argv) for name, argv in children.items()]
        pid = forked(lambda: Supervisor(path, specs).run())
        started.append(pid)
        eventually(lambda: _answers(path), "the supervisor answers", 5)
        return path

    yield start
    for pid in started:
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert cgroups.processes(GROUP) == set()
    cgroups.remove(GROUP)


def _answers(path: Path):
    try:
        return control.ask(path, "status")["ok"]
    except control.NotRunning:
        return False


def child(path: Path, name: str):
    return next(c for c in control.ask(path, "status")["children"] if c["name"] == name)


pytestmark = pytest.mark.cluster


def test_what_dies_is_started_again_and_says_how_it_ended(supervisor):
    path = supervisor(a=["/bin/sleep", "1000"], b=["/bin/sh", "-c", "exit 3"])
    first = eventually(lambda: child(path, "a")["pid"], "a runs")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child(path, "a")["pid"] not in (0, first), "a runs again")
    assert child(path, "a")["last_exit"] == "signal 9"
    eventually(lambda: child(path, "b")["restarts"] >= 2, "b was restarted")
    assert child(path, "b")["last_exit"] == "exit status 3"


def test_output_goes_to_the_log(supervisor, tmp_path):
    supervisor(talker=["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 1000"])
    log = tmp_path / "talker.log"
    eventually(lambda: log.exists() and log.read_text() == "out\nerr\n", "both lines are in the log")


def test_children_end_with_a_killed_supervisor(tmp_path):
    cgroups.create(GROUP)
    path = tmp_path / "control.sock"
    spec = ChildSpec("a", tmp_path / "a.log", GROUP, argv=["/bin/sleep", "1000"])
    pid = forked(lambda: Supervisor(path, [spec]).run())
    eventually(lambda: _answers(path) and child(path, "a")["pid"], "a runs", 5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    eventually(lambda: not cgroups.processes(GROUP), "a has ended", 5)
    cgroups.remove(GROUP)


def test_a_listening_socket_is_passed_and_closed(supervisor):
    path, port = supervisor(), free_port()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(orjson.dumps({"op": "listen", "address": "127.0.0.1", "port": port, "protocol": "TCP"}))
        answer, descriptors, _, _ = socket.recv_fds(connection, 1000, 1)
    assert orjson.loads(answer) == {"ok": True}
    with socket.socket(fileno=descriptors[0]) as passed:
        assert passed.getsockname() == ("127.0.0.1", port)
        socket.create_connection(("127.0.0.1", port), timeout=30).close()
    control.ask(path, "close", address="127.0.0.1", port=port, protocol="TCP")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"operation": "listen", "address": "0.0.0.0", "port": 1, "protocol": "TCP"}, "only loopback"),
        ({"operation": "listen", "address": "127.0.0.1", "port": 1, "protocol": "SCTP"}, "cannot publish protocol"),
        ({"operation": "listen", "address": "127.0.0.1"}, "bad request"),
        ({"operation": "dance"}, "unknown operation"),
    ],
)
def test_bad_requests_are_refused_with_a_reason(supervisor, arguments, why):
    with pytest.raises(control.ControlError, match=why):
        control.ask(supervisor(), **arguments)
