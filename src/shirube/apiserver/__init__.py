"""Request to storage: the API server. Its heart is `handle.ApiServer.handle(Request) -> Response`, without I/O.

The way of a request, module by module: `handle` (the pipeline), `request_info` and `params` (what is asked),
`authentication`, `authorization`, `routes` (who answers), `resource` (verbs), `decoding`, `write` with `create`,
`update`, `patch`, `delete` (and `admission`, `allocation` within), `listing`, `watching`, `encoding` with
`negotiation`. Beside it: `caches` over `watch_cache` (what is read), `store` (objects for the server's own use),
`subresources` (what is not simply stored), `bootstrap`, `housekeeping`, `health`, `metrics`, `discovery_cache`. `main`
joins them.
"""
