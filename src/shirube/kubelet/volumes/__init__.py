"""Volumes: what a pod's containers mount, made before they start and removed after they ended.

A table of small plugins (`VOLUME_TYPES` in `table.py`); each makes a directory or names a path. `mounts.py`
turns a container's volumeMounts into CRI mounts, `atomic_writer.py` swaps the files of a whole volume at once.
"""
