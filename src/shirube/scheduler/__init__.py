"""Which node each pod runs on: columns of nodes, vectors of decisions.

`pod` reads what matters of a pod, `columns` keeps the nodes as NumPy arrays, `plugins` answer for all nodes at once,
`decide` combines them, `queue` says which pod is next, `main` follows the API and binds. Names, scores, reasons and
events are kube-scheduler's.
"""
