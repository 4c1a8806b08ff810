"""Streams on the wire: exec, attach and port-forward. State machines from bytes to bytes, no I/O.

`spdy` and `websocket` frame; `channels` names the remote-command protocols; `remote_command` and `port_forward`
translate what clients speak (WebSocket) to what container runtimes speak (SPDY/3.1). The node agent moves the
bytes (`kubelet/streaming_relay.py`).
"""
