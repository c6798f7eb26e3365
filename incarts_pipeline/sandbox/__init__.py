"""A local Incarts with the API's contract, for demos, tests and trials.

Each thing that the real API doesn't publish is a switch of `SandboxConfig`. Under `/_sandbox/` it
can be steered from outside: GET `audit`, GET `requests`, POST `reconfigure`, POST `fail_next`.
"""

from incarts_pipeline.sandbox.config import ApiKey, Faults, Limit, SandboxConfig
from incarts_pipeline.sandbox.server import Sandbox, SandboxProcess, serve
from incarts_pipeline.sandbox.store import Audit

__all__ = [
    "ApiKey",
    "Audit",
    "Faults",
    "Limit",
    "Sandbox",
    "SandboxConfig",
    "SandboxProcess",
    "serve",
]
