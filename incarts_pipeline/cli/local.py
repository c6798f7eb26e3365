"""Command `incarts sandbox`: the local Incarts."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from incarts_pipeline.errors import MappingError, SettingsError


def sandbox(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 lets the system choose.")
    ] = 0,
    state: Annotated[
        Path | None, typer.Option("--state", help="A file in which links survive a restart.")
    ] = None,
    faults: Annotated[
        float, typer.Option("--faults", min=0, max=1, help="Share of requests that fail somehow.")
    ] = 0.0,
    limit: Annotated[str | None, typer.Option("--limit", help="Rate limit like 300/10s.")] = None,
    limit_kind: Annotated[
        str,
        typer.Option(
            "--limit-kind", help="fixed, anchored, sliding_log, sliding_counter or bucket."
        ),
    ] = "fixed",
    idempotency_window: Annotated[
        str, typer.Option("--idempotency-window", help="How long keys are remembered.")
    ] = "24h",
    latency: Annotated[float, typer.Option("--latency", min=0, help="Seconds per request.")] = 0.0,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Any switch of SandboxConfig, as a JSON object."),
    ] = None,
) -> None:
    """Run a local Incarts until Ctrl-C; prints the environment that points at it."""
    from incarts_pipeline.settings import parse_duration

    try:
        from incarts_pipeline.sandbox import SandboxConfig, serve
        from incarts_pipeline.sandbox.server import environment
    except ImportError as error:
        raise MappingError(
            f"The sandbox needs {error.name}.", fix="pip install 'incarts-pipeline[sandbox]'"
        ) from error
    changes: dict[str, Any] = {
        "faults": faults,
        "latency": latency,
        "idempotency_window": parse_duration(idempotency_window),
    }
    if limit is not None:
        requests, _, seconds = limit.partition("/")
        changes["limits"] = [
            {
                "kind": limit_kind,
                "requests": int(requests),
                "seconds": parse_duration(seconds or "1s"),
            }
        ]
    try:
        switches = SandboxConfig().with_changes(changes | json.loads(config or "{}"))
    except (ValueError, TypeError) as error:
        raise MappingError(f"--config: {error}.") from error

    def ready(base_url: str, token: str) -> None:
        for assignment in environment(switches, base_url, token).split():
            # Its own key and token, made up for whoever started it; all else is shown safe.
            sys.stdout.write(f"export {assignment}\n")
        sys.stdout.flush()

    try:
        serve(switches, port=port, state=state, ready=ready)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SettingsError(
            f"Port {port} is in use.", fix="Choose another --port, or leave it out."
        ) from error
