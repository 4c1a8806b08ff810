"""How every component talks to the API: REST client, informers, work queues, leader election, events.

`config` finds the server and the credentials, `rest` speaks to it, `informer` keeps a copy of a collection
(list and watch), `work_queue` and `controller` turn its changes into calls of `reconcile`, `leader_election`
keeps one instance active, `events` tells people what happened. Imports `api` and the foundation, nothing
else: any component built on it can run in another process, on another machine, or against another server.
"""
