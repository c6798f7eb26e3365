"""Command `incarts sandbox`: the local Incarts."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from incarts_pipeline.cli import screen
from incarts_pipeline.errors import MappingError, SettingsError
from incarts_pipeline.text import suggest

if TYPE_CHECKING:
    from incarts_pipeline.sandbox import SandboxConfig

_LIST = "list"  # in place of a JSON object


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
        typer.Option(
            "--config",
            help=f"Any other switch, as a JSON object; `--config {_LIST}` tells all of them.",
        ),
    ] = None,
) -> None:
    """Run a local Incarts until Ctrl-C; prints the environment that points at it."""
    if config == _LIST:
        _tell_switches()
        return
    given = {
        "faults": str(faults),
        "latency": str(latency),
        "idempotency_window": idempotency_window,
        "limit": f"{limit}:{limit_kind}" if limit is not None else None,
        "config": config,
    }
    _serve(_switches(given), port, state)


def _tell_switches() -> None:
    """Print every switch, its default and what it means."""
    from incarts_pipeline.sandbox.switches import switches

    rows = [((one.name, "bold"), one.default, one.meaning) for one in switches()]
    screen.tell_table("Switches of --config", ("switch", "default", "meaning"), rows)
    screen.say("""for example: incarts sandbox --config '{"stall_seconds": 2, "seed": 7}'""")


def _switches(given: Mapping[str, str | None]) -> SandboxConfig:
    """Return the switches that the options ask for; raises MappingError."""
    from incarts_pipeline.sandbox import SandboxConfig, config_from_options
    from incarts_pipeline.settings import parse_duration

    try:
        window = str(parse_duration(given["idempotency_window"] or "24h"))
        limit = given["limit"]
        return config_from_options(
            {**given, "idempotency_window": window, "limit": [limit] if limit else None}
        )
    except (ValueError, TypeError) as error:
        unknown = str(error).partition(":")[0]
        known = SandboxConfig.model_fields
        near = suggest(unknown, known) if unknown not in known and unknown.isidentifier() else ""
        raise MappingError(
            f"--config, or another switch: {error}.{near}",
            fix=f"`incarts sandbox --config {_LIST}` tells what there is.",
        ) from error


def _serve(switches: SandboxConfig, port: int, state: Path | None) -> None:
    from incarts_pipeline.sandbox import environment, serve

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
