"""`python -m shirube.cluster.supervise NAME`: the supervisor's process. Started by `up`, not by hand."""

from __future__ import annotations

import sys

from setproctitle import setproctitle

from shirube.cluster import components
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec
from shirube.cluster.supervisor import Supervisor, open_listener
from shirube.foundation import log


def main(name: str) -> int:
    log.configure()
    setproctitle(f"shirube-supervisor {name}")
    cluster = ClusterLayout.of(name)
    spec = ClusterSpec.load(cluster.spec)
    if spec is None:
        print(f"cannot supervise {name}: {cluster.spec} does not exist; run `shirube up`", file=sys.stderr)
        return 1
    api_socket = open_listener(spec.publish_address, spec.api_port)
    children = components.children(cluster, spec, api_socket)
    components.import_shared()
    return Supervisor(
        cluster.control_socket, children, lambda number: components.node_children(cluster.node(number), spec)
    ).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
