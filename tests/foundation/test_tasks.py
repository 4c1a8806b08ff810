import asyncio
import logging

from shirube.foundation.tasks import cancel, spawn


async def test_a_failure_nobody_awaits_is_logged(caplog):
    async def broken():
        raise RuntimeError("boom")

    with caplog.at_level(logging.ERROR, "shirube.tasks"):
        task = spawn(broken(), name="broken")
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert "boom" in caplog.text and "broken" in caplog.text


async def test_cancel_waits_for_clean_up():
    cleaned = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = spawn(work(), name="work")
    await asyncio.sleep(0)
    await cancel(task, None)
    assert cleaned == [True]
