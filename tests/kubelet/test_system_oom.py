import asyncio
import os

from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet.system_oom import SystemOom, Victim, victim

KILL = (
    b"oom-kill:constraint=%s,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/x,task=%s,pid=4711,uid=0\n"
)


def record(constraint=b"CONSTRAINT_NONE", task=b"stress", priority=b"6"):
    return priority + b",1339,5140900,-;" + KILL % (constraint, task) + b" SUBSYSTEM=x\n"


def test_only_the_kernel_tells_of_the_whole_machine():
    assert victim(record()) == Victim("stress", 4711)
    assert victim(record(task=b"a,pid=1 b")) == Victim("a,pid=1 b", 4711)
    assert victim(record(b"CONSTRAINT_MEMCG")) is None
    # 14 is facility 1: a process wrote it.
    assert victim(record(priority=b"14")) is None
    assert victim(b"6,1,2,-;something else\n") is None and victim(b"garbage") is None


async def test_it_is_told_as_an_event_of_the_node(tmp_path):
    pipe = tmp_path / "kmsg"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    told: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
    task = spawn(SystemOom(lambda *said: told.put_nowait(said), pipe).run(), name="oom")
    try:
        os.write(writer, record())
        async with asyncio.timeout(60):
            said = await told.get()
        assert said == ("Warning", "SystemOOM", "System OOM encountered, victim process: stress, pid: 4711")
    finally:
        await cancel(task)
        os.close(writer)


async def test_without_the_log_there_is_nothing_to_do(tmp_path):
    await SystemOom(lambda *_: None, tmp_path / "none").run()
