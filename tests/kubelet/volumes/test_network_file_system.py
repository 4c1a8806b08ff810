import time

import pytest

from shirube.kubelet.volumes.network_file_system import _run


async def test_a_helper_that_leaves_a_process_behind_holds_up_nobody():
    began = time.monotonic()
    status, said = await _run(["sh", "-c", "cat; echo said; sleep 15 & exit 3"], b"given and ", 10)
    assert (status, said) == (3, "given and said") and time.monotonic() - began < 10


async def test_one_that_hangs_is_ended():
    with pytest.raises(TimeoutError):
        await _run(["sleep", "20"], b"", 0.05)
