"""Servers whose admission is configured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver.conftest import ADMIN, Admins, Api

from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock

Start = Callable[..., AbstractAsyncContextManager[Api]]
DOCUMENT = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}


def configuration(path: Path, **plugins: Any) -> Path:
    """An AdmissionConfiguration with these configurations of plugins."""
    entries = [{"name": name, "configuration": value} for name, value in plugins.items()]
    path.write_text(yaml.safe_dump({**DOCUMENT, "plugins": entries}))
    return path


@pytest.fixture
def start(tmp_path, signing_key) -> Start:
    """`start(on="…", off="…", PLUGIN=configuration)`: a server of an administrator who can create pods."""

    @contextlib.asynccontextmanager
    async def server(on: str = "", off: str = "", clock: Clock = SYSTEM, **plugins: Any) -> AsyncIterator[Api]:
        options = Options(
            data_dir=tmp_path,
            service_account_key=signing_key,
            enable_admission_plugins=on,
            disable_admission_plugins=off,
            admission_control_config_file=configuration(tmp_path / "admission.yaml", **plugins) if plugins else None,
        )
        async with in_process(options, clock=clock, chance=Chance(1)) as made:
            made.context.authenticator = Admins(ADMIN, made.context.authenticator)
            api = Api(made)
            if "AlwaysDeny" not in on:
                account = {"metadata": {"name": "default"}}
                await api.ok("POST", "/api/v1/namespaces/default/serviceaccounts", account)
            yield api

    return server
