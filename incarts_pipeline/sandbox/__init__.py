"""Sandbox: a local Incarts with the API's contract, for demos, tests and trials.

Each thing that the real API doesn't publish is a switch of `SandboxConfig`. `Sandbox` runs in a
thread of the caller's process, `SandboxProcess` in one of its own, and
`python -m incarts_pipeline.sandbox` until a signal.

A running sandbox can be steered from outside, under `/_sandbox/`:

| call | does |
|---|---|
| `GET audit` | counts what was made, and what was made twice, as `Audit` |
| `GET requests` | lists the last 100,000 requests, as `Logged` |
| `POST reconfigure` | changes switches: `{"latency": 0.1, "faults": {"lost_after": 0.05}}` |
| `POST fail_next` | lets the next requests fail: `{"kind": "late", "times": 1, "where": "sku-1"}` |

All want `Authorization: Bearer TOKEN`, with the `INCARTS_SANDBOX_TOKEN` that is printed at the
start, or `Sandbox.token`. Requests of web pages are refused, under whatever name they come.
Those that change something take JSON alone, and answer 400 with `{"error": text}` to what they
don't understand.
"""

from incarts_pipeline.sandbox.app import Logged
from incarts_pipeline.sandbox.audit import Audit, Repeated
from incarts_pipeline.sandbox.config import ApiKey, Fault, Faults, Limit, SandboxConfig
from incarts_pipeline.sandbox.options import config_from_options
from incarts_pipeline.sandbox.process import SandboxProcess
from incarts_pipeline.sandbox.server import Sandbox, environment, serve

__all__ = [
    "ApiKey",
    "Audit",
    "Fault",
    "Faults",
    "Limit",
    "Logged",
    "Repeated",
    "Sandbox",
    "SandboxConfig",
    "SandboxProcess",
    "config_from_options",
    "environment",
    "serve",
]
