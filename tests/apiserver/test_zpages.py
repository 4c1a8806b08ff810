"""/statusz and /flagz."""

from __future__ import annotations


async def test_statusz_and_flagz_say_what_runs(api):
    status = await api.get("/statusz")
    assert status.status == 200 and status.content_type.startswith("text/plain")
    text = status.raw.decode()
    assert text.startswith("\nkube-apiserver statusz\nWarning: ")
    assert "Up: 0 hr 00 min" in text and "/healthz" in text
    flags = (await api.get("/flagz")).raw.decode()
    assert "listen-port=6443\n" in flags and "sockets" not in flags
