"""Ray with two tasks at a time, on this machine alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_TRIES = 3
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",
    "RAY_agent_register_timeout_ms": "120000",  # an agent that starts beside others takes its time
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # elsewhere this has it listen on 127.0.0.1 alone
}


def why_not() -> str | None:
    """Return why Ray can't be started, None where it can."""
    return None if importlib.util.find_spec("ray") else "Ray isn't installed"


@contextmanager
def cluster() -> Iterator[Any]:
    """Yield the module `ray`, with two tasks at a time."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    warnings.filterwarnings("ignore", module=r"ray\b")
    folder = tempfile.mkdtemp(prefix="ray-")  # short, as sockets have their names in it
    import ray

    try:
        _start(ray, folder)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(ray: Any, folder: str) -> None:
    """Start Ray, which gives its node 30 seconds; skip the test where that is never enough."""
    for _ in range(_TRIES):
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=200_000_000,
                log_to_driver=False,
                _temp_dir=folder,
            )
            return
        except Exception as error:  # it has no kind of its own
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    pytest.skip("Ray can't be started while the machine is so busy")
