"""The node agent: pods bound to this node become containers of a CRI runtime, and their state goes back.

`agent.py` composes it, `pod_worker.py` drives one pod, `plan.py` decides (pure), the rest does one thing each.
"""
