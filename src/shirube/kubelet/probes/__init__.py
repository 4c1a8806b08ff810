"""Probes: `verdict.py` counts (pure), `check.py` looks once, `prober.py` runs them for running containers."""
