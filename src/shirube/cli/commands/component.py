"""Each component alone, in the foreground: `shirube kubelet --kubeconfig … --node-name …`.

The flags are the fields of the component's `Options`, so that they cannot differ from what it knows.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import types
import typing
from pathlib import Path
from typing import Any

import click

from shirube.foundation import process

_MODULES = {
    "apiserver": "shirube.apiserver.main",
    "controllers": "shirube.controllers.main",
    "scheduler": "shirube.scheduler.main",
    "kubelet": "shirube.kubelet.main",
    "network": "shirube.cluster.node_network",
}
_PLAIN = (str, int, float, Path)


def command(name: str) -> click.Command:
    @click.command(name, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        module = importlib.import_module(_MODULES[name])
        options = module.Options(**vars(parser(name, module.Options).parse_args(arguments)))
        sys.exit(process.run(lambda stop: module.run(options, stop), f"shirube-{name}"))

    return run


def parser(name: str, options: type) -> argparse.ArgumentParser:
    """Flags from a dataclass: `node_ip: str` is `--node-ip`; booleans are `--x` and `--no-x`."""
    made = argparse.ArgumentParser(f"shirube {name}", description=(options.__doc__ or "").strip().splitlines()[0])
    hints = typing.get_type_hints(options)
    for field in dataclasses.fields(options):
        kind = _plain_type(hints[field.name])
        if kind is None:
            continue
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        arguments: dict[str, Any] = {"dest": field.name, "required": required}
        if not required:
            arguments["default"] = argparse.SUPPRESS
        arguments |= {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        made.add_argument("--" + field.name.replace("_", "-"), **arguments)
    return made


def _plain_type(hint: Any) -> type | None:
    """What a flag parses to; None for what has no text form (sockets, mappings)."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [k for k in typing.get_args(hint) if k is not type(None)]
        return next((k for k in (Path, str, int, float) if k in kinds), None)
    return hint if hint is bool or hint in _PLAIN else None
