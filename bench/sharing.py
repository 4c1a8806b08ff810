"""What several figures use: one API server, one cluster; made when first asked for, gone at the end."""

from __future__ import annotations

import contextlib
from functools import cached_property

from bench.cluster import Cluster
from bench.server import Server


class Shared(contextlib.ExitStack):
    @cached_property
    def server(self) -> Server:
        server = Server()
        self.callback(server.close)
        return server

    @cached_property
    def cluster(self) -> Cluster:
        cluster = Cluster()
        self.callback(cluster.close)
        cluster.up()
        return cluster
