"""One module, one controller: a `reconcile(key)` that drives the world to the spec.

`main` has the table of them and runs them in one process behind one Lease. A controller gets a `Context`
(informers shared by all, a client with its own service account, an event recorder). It looks at the shared
caches, makes a plan with pure functions, and carries it out through its client. It keeps nothing that it
could not rebuild from a list; running it twice, late, or after a crash is harmless.

Beside the controllers: `context`, `credentials`, `projections` (what the shared caches keep), `ownership`
(controllerRefs, adoption), `expectations` (writes that the cache has not shown yet), `pods` (readiness,
ranking), `pod_control` (pods from templates).
"""
