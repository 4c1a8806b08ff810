"""The container runtime interface, v1: messages made at run time from a table of field numbers, a gRPC
client for any CRI runtime, and containerd's event stream.

Knows nothing of pods: what is asked for comes in as plain dicts, what is answered goes out as messages.
"""
