"""What every room stands on: time, chance, tasks, logging, the process around a component.

Imports nothing of ours. Components take a `Clock` and a `Chance`; tests and the simulation pass their own.
"""
