"""HTTP/1.1 and TLS on asyncio, for every socket that we answer: the API, the node agent, metrics.

`http.Server` runs a handler; `messages` are what it sees; `protocol` is one connection, `framing` the heads of
answers, `raw` what remains after an upgrade; `http_client` asks for upgrades elsewhere; `tls` makes contexts.
Imports nothing of ours but `foundation`.
"""
